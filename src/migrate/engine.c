#include <signal.h>
#include <string.h>

#include "base/str.h"
#include "migrate/migration.h"
#include "migrate/step_functions.h"
#include "migrate/steps.h"

static int64_t deadline_of(const struct migration *m, const struct step *step)
{
	int64_t ms;

	memcpy(&ms, (const char *)&m->opt->timeouts + step->deadline, sizeof(ms));
	return ms;
}

static void tell(const struct migration *m, const struct step *step, enum step_state state)
{
	m->report->step(m->report->arg, step, state);
}

/* A test that wants a fault at a certain moment finds us stopped there: before a step, or with
 * "/begun" and "/acted" behind its name in the middle of it. */
static void halt_for_test(const struct migration *m, const struct step *step, const char *where)
{
	_autofree_ char *here = str_printf("%s%s", step->name, where);

	if (m->opt->halt_before && str_eq(m->opt->halt_before, here))
		raise(SIGSTOP);
}

/* What is known to have failed, or been asked for by a signal, before a step begins. A
 * destination that is gone is not told to run: that can still be undone. */
static int last_look(struct migration *m, const struct step *step, struct err *err)
{
	loop_poll(m->loop);
	if (step->cancellable && loop_signal(m->loop))
		return err_set(err, ERR_INTERRUPTED, "interrupted");
	return m->switched ? 0 : migration_check_alive(m, err);
}

static int run_step(struct migration *m, const struct step *step, struct err *err)
{
	int ret;

	halt_for_test(m, step, "");
	if (last_look(m, step, err) < 0)
		return -1;
	tell(m, step, STEP_BEGUN);
	m->begun[step - steps] = true;
	halt_for_test(m, step, "/begun");
	if (!step->waits)
		loop_shield(m->loop, true);
	ret = step->run(m, deadline_of(m, step), err);
	if (!step->waits)
		loop_shield(m->loop, false);
	halt_for_test(m, step, "/acted");
	tell(m, step, ret < 0 ? STEP_FAILED : STEP_DONE);
	return ret < 0 ? err_wrap(err, "%s", step->name) : 0;
}

/* Takes back one step; what cannot be taken back is remembered, and the others go on. */
static void undo_step(struct migration *m, const struct step *step)
{
	struct err err;

	if (!m->begun[step - steps] || !step->undo)
		return;
	tell(m, step, STEP_UNDOING);
	if (step->undo(m, deadline_of(m, step), &err) < 0)
		problems_add(&m->left_behind, "%s: %s", step->name, err.text);
	else
		m->begun[step - steps] = false;
	tell(m, step, STEP_UNDONE);
}

static void undo_all(struct migration *m)
{
	loop_shield(m->loop, true);
	for (size_t i = steps_count; i-- > 0;)
		undo_step(m, &steps[i]);
	loop_shield(m->loop, false);
}

int undo_each_disk(struct migration *m,
		   int (*undo)(struct migration *m, struct disk *disk, int64_t timeout_ms,
			       struct err *err),
		   int64_t timeout_ms, struct err *err)
{
	int ret = 0;

	for (size_t i = 0; i < m->disks.count; i++) {
		struct err one;

		if (undo(m, &m->disks.list[i], timeout_ms, &one) == 0)
			continue;
		if (ret < 0)
			problems_add(&m->left_behind, "%s", err->text);
		*err = one;
		ret = -1;
	}
	return ret;
}

/* The source may have ended by itself: what is said of the guest must not be a guess. */
static void see_source(struct migration *m)
{
	loop_poll(m->loop);
	if (!m->src.qmp || qmp_alive(m->src.qmp))
		return;
	m->source_lost = true;
	problems_add(&m->left_behind,
		     "source: its QEMU has ended, or its monitor has closed our connection; look "
		     "whether the guest still runs (%s)",
		     m->opt->source);
}

static void see_side(struct migration *m, struct side *side, const char *socket)
{
	struct qmp_status status;

	if (!socket) /* by hand, the other host's */
		return;
	if (!qmp_alive(side->qmp) || qmp_status_query(side->qmp, &status, NULL) < 0)
		problems_add(&m->seen, "%s: its QEMU %s (%s)", side->name,
			     side == &m->dst && m->dst_quit ? "has ended" : "cannot be asked",
			     socket);
	else
		problems_add(&m->seen, "%s: its guest is \"%s\" (%s)", side->name, status.state,
			     socket);
}

/* Whoever has to look is told what each side was like. */
static void see_sides(struct migration *m)
{
	see_side(m, &m->src, m->opt->source);
	see_side(m, &m->dst, m->opt->dst.socket);
}

void steps_undo(struct migration *m)
{
	m->undone_for = ERR_FAILED;
	undo_all(m);
	see_source(m);
	if (m->left_behind.count)
		see_sides(m);
}

int steps_run(struct migration *m, enum phase first, enum phase last, struct err *err)
{
	for (size_t i = 0; i < steps_count; i++) {
		if (steps[i].phase < first || steps[i].phase > last || !step_applies(&steps[i], m))
			continue;
		if (run_step(m, &steps[i], err) == 0)
			continue;
		if (m->switched)
			err->kind = ERR_HUMAN;
		else if (err->kind == ERR_REFUSED && steps[i].phase != PHASE_BEGIN)
			err->kind = ERR_FAILED;
		if (!m->switched) {
			m->undone_for = err->kind;
			undo_all(m);
			see_source(m);
		}
		if (m->switched || m->left_behind.count)
			see_sides(m);
		return -1;
	}
	return 0;
}
