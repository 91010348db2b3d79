#include <signal.h>
#include <string.h>

#include "base/str.h"
#include "migrate/migration.h"
#include "migrate/record.h"
#include "migrate/reopen.h"
#include "migrate/retry.h"
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

/* A test that wants a fault at a certain moment finds us stopped there: before a step, or
 * "STEP/begun", when it is on record, or "STEP/acted", when only that is not on record. */
static void halt_for_test(const struct migration *m, const struct step *step, const char *moment)
{
	const char *wanted = m->opt->halt_before;
	size_t len = strlen(step->name);

	if (wanted && strncmp(wanted, step->name, len) == 0 && str_eq(wanted + len, moment))
		raise(SIGSTOP);
}

/* What is known to have failed, or been asked for by a signal, before a step begins. A
 * destination that is gone is not told to run: that can still be undone. */
static int last_look(struct migration *m, const struct step *step, struct err *err)
{
	loop_poll(m->loop);
	if (step->cancellable && loop_signal(m->loop))
		return err_set(err, ERR_INTERRUPTED, "interrupted");
	if (m->switched || migration_check_alive(m, err) == 0)
		return 0;
	if (!reopen_may_help(m) || reopen_destination(m, err) < 0)
		return -1;
	return migration_check_alive(m, err);
}

/* Without a record of what is about to be done it is not done, as long as that can be helped. */
static int put_on_record(struct migration *m, const struct step *step, enum record_state state,
			 struct err *err)
{
	if (record_step(m, step, state, err) == 0)
		return 0;
	if (step->cancellable)
		return -1;
	migration_note(m, "%s", err->text);
	return 0;
}

static int act(struct migration *m, const struct step *step, struct err *err)
{
	int ret;

	if (!step->waits)
		loop_shield(m->loop, true);
	ret = step->run(m, deadline_of(m, step), err);
	if (!step->waits)
		loop_shield(m->loop, false);
	return ret;
}

static int run_step(struct migration *m, const struct step *step, struct err *err)
{
	int ret;

	halt_for_test(m, step, "");
	if (last_look(m, step, err) < 0)
		return -1;
	tell(m, step, STEP_BEGUN);
	m->begun[step - steps] = true;
	ret = put_on_record(m, step, RECORD_BEGUN, err);
	halt_for_test(m, step, "/begun");
	if (ret == 0)
		ret = act(m, step, err);
	halt_for_test(m, step, "/acted");
	if (ret == 0)
		ret = put_on_record(m, step, RECORD_DONE, err);
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
	record_undoing(m);
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
	if (qmp_alive(side->qmp) && qmp_status_query(side->qmp, &status, NULL) == 0) {
		problems_add(&m->seen, "%s: its guest is \"%s\" (%s)", side->name, status.state,
			     socket);
		return;
	}
	problems_add(&m->seen, "%s: its QEMU %s (%s)", side->name,
		     side == &m->dst && m->dst_quit ? "has ended" : "cannot be asked", socket);
	m->source_silent = m->source_silent || side == &m->src;
}

/* Whoever has to look is told what each side was like. */
static void see_sides(struct migration *m)
{
	see_side(m, &m->src, m->opt->source);
	see_side(m, &m->dst, m->opt->dst.socket);
}

static void undo_for(struct migration *m, enum err_kind kind)
{
	m->undone_for = kind;
	undo_all(m);
	see_source(m);
	if (m->left_behind.count)
		see_sides(m);
	else
		record_end(m, RECORD_BACK);
}

void steps_undo(struct migration *m)
{
	undo_for(m, ERR_FAILED);
}

static int failed(struct migration *m, const struct step *step, struct err *err)
{
	if (m->switched) {
		err->kind = ERR_HUMAN;
		see_sides(m);
		return -1;
	}
	if (err->kind == ERR_REFUSED && step->phase != PHASE_BEGIN)
		err->kind = ERR_FAILED;
	undo_for(m, err->kind);
	return -1;
}

static bool is_due(const struct migration *m, const struct step *step)
{
	return step_applies(step, m) && (!m->retrying || step->again);
}

static int run_from(struct migration *m, size_t row, enum phase first, enum phase last,
		    struct err *err)
{
	for (size_t i = row; i < steps_count; i++) {
		if (steps[i].phase < first || steps[i].phase > last || !is_due(m, &steps[i]))
			continue;
		if (run_step(m, &steps[i], err) == 0)
			continue;
		if (retry_after(m, &steps[i], err) == 0)
			return run_from(m, 0, first, last, err);
		return failed(m, &steps[i], err);
	}
	return 0;
}

int steps_run(struct migration *m, enum phase first, enum phase last, struct err *err)
{
	if (run_from(m, 0, first, last, err) < 0)
		return -1;
	if (last == PHASE_CONFIRM)
		record_end(m, RECORD_MOVED);
	return 0;
}

int steps_resume(struct migration *m, size_t row, enum phase last, struct err *err)
{
	if (run_from(m, row, PHASE_BEGIN, last, err) < 0)
		return -1;
	record_end(m, RECORD_MOVED);
	return 0;
}
