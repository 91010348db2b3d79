/* The migration capabilities and parameters that a move needs, set and taken back. Only
 * what was off before is taken back. */
#include <stdio.h>

#include "migrate/handover.h"
#include "migrate/keys.h"
#include "migrate/step_functions.h"

static const struct {
	bool dst;
	enum qmp_cap cap;
} wanted[] = {
	{true, QMP_MIG_EVENTS},
	{true, QMP_MIG_LATE_ACTIVATE},
	{true, QMP_MIG_RETURN_PATH},
	{false, QMP_MIG_EVENTS},
	{false, QMP_MIG_PAUSE},
	/* The source says "completed" only after the destination has taken everything in. */
	{false, QMP_MIG_RETURN_PATH},
};

#define WANTED_COUNT (sizeof(wanted) / sizeof(wanted[0]))

/* Through TLS, with the disks in the stream, a cancelled migration of 7.2 does not end where there
 * is a return path: "cancelling" for ever in 4 of some 30 (its thread waits in qio_channel_wait()
 * to write); without TLS in none of 10, without a return path in none of 36. What the return path
 * is for we see by ourselves, for both sides have to say "completed". */
static bool does_harm(struct migration *m, enum qmp_cap cap)
{
	return cap == QMP_MIG_RETURN_PATH && m->in_stream && keys_object(m);
}

/* Which of the wanted ones are off. */
static int find_off(struct migration *m, bool dst, struct err *err)
{
	struct side *side = dst ? &m->dst : &m->src;

	for (size_t i = 0; i < WANTED_COUNT; i++) {
		bool on;

		if (wanted[i].dst != dst || !qmp_can(&side->caps, wanted[i].cap) ||
		    does_harm(m, wanted[i].cap))
			continue;
		if (qmp_capability_get(side->qmp, qmp_cap_name(wanted[i].cap), &on, err) < 0)
			return -1;
		if (!on)
			m->capabilities_set |= 1u << i;
	}
	return 0;
}

static int switch_on(struct migration *m, bool dst, struct err *err)
{
	struct side *side = dst ? &m->dst : &m->src;

	for (size_t i = 0; i < WANTED_COUNT; i++)
		if (wanted[i].dst == dst && (m->capabilities_set & 1u << i) &&
		    qmp_capability_set(side->qmp, qmp_cap_name(wanted[i].cap), true, err) < 0)
			return -1;
	return 0;
}

static int take_back(struct migration *m, bool dst, struct err *err)
{
	struct side *side = dst ? &m->dst : &m->src;

	int ret = 0;

	for (size_t i = 0; i < WANTED_COUNT; i++) {
		if (wanted[i].dst != dst || !(m->capabilities_set & 1u << i))
			continue;
		if (qmp_capability_set(side->qmp, qmp_cap_name(wanted[i].cap), false, err) < 0)
			ret = -1;
		else
			m->capabilities_set &= ~(1u << i);
	}
	return ret;
}

/* `stop` has the effect of -S, should the destination have been started without. */
int step_hold(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	if (qmp_stop(m->dst.qmp, err) < 0 || find_off(m, true, err) < 0 ||
	    migration_record(m, err) < 0)
		return -1;
	return switch_on(m, true, err);
}

int hold_was_released(struct migration *m, bool *released, struct err *err)
{
	*released = false;
	for (size_t i = 0; i < WANTED_COUNT; i++) {
		bool on;

		if (!wanted[i].dst || !(m->capabilities_set & 1u << i))
			continue;
		if (qmp_capability_get(m->dst.qmp, qmp_cap_name(wanted[i].cap), &on, err) < 0)
			return -1;
		*released = *released || !on;
	}
	return 0;
}

static int take_back_on_destination(struct migration *m, struct err *err)
{
	return take_back(m, true, err);
}

/* A QEMU can wait for a migration only once in its life: this one is of no more use. */
static int end_used_destination(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (end_destination(m, timeout_ms, err) < 0)
		return -1;
	m->incoming = false;
	if (!m->started_dst)
		migration_note(
			m,
			"%s: its waiting QEMU was ended, for it can wait only once; start it "
			"again before the next try",
			m->dst.name);
	return 0;
}

int undo_hold(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (m->incoming && !m->switched)
		return end_used_destination(m, timeout_ms, err);
	return undo_on_destination(m, take_back_on_destination, err);
}

/* RAM is sent at full speed unless the user says otherwise: QEMU's own limit of 128 MiB/s
 * would only lengthen the time in which disks have to be kept equal. */
#define UNLIMITED (1ull << 40)

/* QEMU's own 300 ms are what it then really takes (a guest dirtying 32 MB/s, 10.0: pause of
 * 123 ms, with 50 ms 16; medians). A guest whose RAM does not converge with it gets QEMU's
 * limit back: see relax_downtime(). */
#define FIRST_DOWNTIME_LIMIT_MS 50

/* QEMU wants a name for TLS over a connection that it was given (seen on 5.2), but without
 * certificates it says nothing. */
static int set_parameters(struct migration *m, struct err *err)
{
	const char *name = keys_certificate_name(m);
	struct qmp_parameters wanted_now = m->src_parameters;

	wanted_now.max_bandwidth = m->opt->bandwidth ? m->opt->bandwidth : UNLIMITED;
	if (m->opt->downtime_limit_ms)
		wanted_now.downtime_limit_ms = m->opt->downtime_limit_ms;
	else if (wanted_now.downtime_limit_ms > FIRST_DOWNTIME_LIMIT_MS)
		wanted_now.downtime_limit_ms = FIRST_DOWNTIME_LIMIT_MS;
	if (keys_object(m)) {
		snprintf(wanted_now.tls, sizeof(wanted_now.tls), "%s", keys_object(m));
		snprintf(wanted_now.tls_name, sizeof(wanted_now.tls_name), "%s",
			 name ? name : "vmferry");
	}
	return qmp_parameters_set(m->src.qmp, &wanted_now, keys_object(m), err);
}

/* By hand: who has stopped the guest, for confirm to see. */
static int leave_note(struct migration *m, struct err *err)
{
	char note[64];
	bool there;

	if (!m->by_hand)
		return 0;
	handover_note_of(m, note, sizeof(note));
	if (qmp_note_find(m->src.qmp, note, &there, err) < 0)
		return -1;
	return there ? 0 : qmp_note_leave(m->src.qmp, note, err);
}

static int remove_note(struct migration *m, struct err *err)
{
	char note[64];
	bool there;

	if (!m->by_hand)
		return 0;
	handover_note_of(m, note, sizeof(note));
	if (qmp_note_find(m->src.qmp, note, &there, err) < 0)
		return -1;
	return there ? qmp_note_remove(m->src.qmp, note, err) : 0;
}

int step_settings(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	if (leave_note(m, err) < 0 || find_off(m, false, err) < 0 ||
	    qmp_parameters_get(m->src.qmp, &m->src_parameters, err) < 0)
		return -1;
	m->parameters_set = true;
	if (migration_record(m, err) < 0 || switch_on(m, false, err) < 0)
		return -1;
	return set_parameters(m, err);
}

int undo_settings(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	if (m->parameters_set &&
	    qmp_parameters_set(m->src.qmp, &m->src_parameters, keys_object(m), err) < 0)
		return -1;
	m->parameters_set = false;
	if (take_back(m, false, err) < 0)
		return -1;
	return remove_note(m, err);
}
