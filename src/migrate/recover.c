/* What is done with a migration whose vmferry has died, by what both sides are like.
 *
 *                        the destination's QEMU
 *   `cont` may have      holds the guest   waits            gone            not known
 *   been sent:           finish            a human looks    a human looks   a human looks
 *     and the source runs: a human looks, but when the other one is gone: a human has decided so
 *   was not sent, and the source's QEMU
 *     has handed over    finish            undo             undo            a human looks
 *     has not            undo              go on, or undo   undo            undo, on the source
 *     is gone            finish            undo             undo            a human looks
 *   the source's QEMU is not known: a human looks
 *
 * "Undo" lets the guest run on the source, if it is there. A source that has not sent the last
 * of the guest can do so whatever the other side is: nobody can run a part of a guest. One that
 * has, only if `cont` was surely not sent, and that is known by the record alone: so with the
 * other side not known it may have been somebody else's, and a human looks.
 */
#include "migrate/recover.h"

#include <stdio.h>

#include "base/str.h"
#include "migrate/look.h"
#include "migrate/nbd.h"
#include "migrate/step_functions.h"

enum action {
	ACTION_RESUME,
	ACTION_TIDY, /* undo on the source alone; what is over there may be the last of the guest */
	ACTION_UNDO,
	ACTION_LOOK, /* a human looks */
	ACTION_DROP, /* there is nothing left to do anything about */
};

struct plan {
	enum action action;
	size_t row;      /* ACTION_RESUME: from here */
	const char *why; /* ACTION_LOOK, ACTION_DROP */
};

static struct plan resume(const char *step)
{
	return (struct plan){.action = ACTION_RESUME, .row = step_row(step)};
}

static struct plan undo(void)
{
	return (struct plan){.action = ACTION_UNDO};
}

static struct plan look(const char *why)
{
	return (struct plan){.action = ACTION_LOOK, .why = why};
}

/* The destination's QEMU has taken all of the guest in. */
static bool dst_holds_guest(const struct migration *m, const struct found *found)
{
	return found->dst == SEEN_THERE && !str_eq(m->dst.status.state, "inmigrate") &&
	       (m->dst.status.running || str_eq(found->dst_migration.status, "completed"));
}

static bool src_handed_over(const struct found *found)
{
	return str_eq(found->src_migration.status, "completed");
}

/* `run` is done again unless it is on record that it was done: who has paused the guest since
 * then is not us. */
static struct plan plan_switched(const struct migration *m, const struct found *found)
{
	size_t row = record_row(&m->record);

	if (found->src == SEEN_THERE && m->src.status.running && found->dst == SEEN_GONE)
		return (struct plan){.action = ACTION_TIDY};
	if (found->src == SEEN_THERE && m->src.status.running)
		return look("the guest runs on the source, and was told to run over there, too: "
			    "end the one that is not to be (`quit`)");
	if (dst_holds_guest(m, found)) {
		if (row < step_row("run"))
			row = step_row("run");
		else if (m->record.state == RECORD_DONE)
			row++;
		return (struct plan){.action = ACTION_RESUME, .row = row};
	}
	if (found->src == SEEN_THERE || found->dst == SEEN_UNKNOWN)
		return look("whether the guest has run over there is not known, and the source is "
			    "left as it is");
	return (struct plan){.action = ACTION_DROP,
			     .why = "the guest was handed over, and neither side has it any more: "
				    "what it wrote last is on the destination's disks"};
}

/* Do all mirrors run, or are they through? */
static bool mirrors_are_well(const struct migration *m)
{
	for (size_t i = 0; !m->in_stream && i < m->disks.count; i++)
		if (!m->disks.list[i].has_job || m->disks.list[i].error[0])
			return false;
	return true;
}

/* The copy goes on in QEMU whether we are there or not. */
static struct plan plan_copying(const struct migration *m, const struct found *found)
{
	const char *status = found->src_migration.status;
	size_t row = record_row(&m->record);
	bool begun = row > step_row("mirror") ||
		     (row == step_row("mirror") && m->record.state == RECORD_DONE);

	if (found->dst != SEEN_THERE || !str_eq(m->dst.status.state, "inmigrate") ||
	    m->record.state == RECORD_UNDOING || !begun || stops_first(m) || !mirrors_are_well(m))
		return undo();
	if (str_eq(status, "pre-switchover"))
		return resume("detach");
	if (row > step_row("ram"))
		return str_eq(status, "device") ? resume("switchover") : undo();
	if (row == step_row("ram"))
		return qmp_migration_active(status) ? resume("ram") : undo();
	return qmp_migration_active(status) ? undo() : resume("copy");
}

static struct plan plan_not_switched(struct migration *m, const struct found *found)
{
	bool both = found->src == SEEN_THERE && m->src.status.running;

	if (found->dst == SEEN_THERE && m->dst.status.running && both)
		return look("the guest runs on BOTH sides: end the one that is not to be (`quit`) "
			    "at once");
	if (found->src == SEEN_THERE && !src_handed_over(found))
		return plan_copying(m, found);
	if (dst_holds_guest(m, found))
		return both ? undo() : resume("switchover");
	if (found->dst == SEEN_UNKNOWN || found->dst == SEEN_OTHER)
		return both ? undo()
			    : look("whether somebody runs the guest over there is not known, and "
				   "the source is left as it is");
	return undo();
}

static struct plan make_plan(struct migration *m, const struct found *found)
{
	if (record_row(&m->record) == steps_count)
		return look("it was begun by another version of vmferry, whose steps are not ours");
	if (found->src == SEEN_UNKNOWN)
		return look("what the source does is not known");
	return m->switched ? plan_switched(m, found) : plan_not_switched(m, found);
}

/* --- acting --- */

static bool dst_settled(struct migration *m)
{
	return str_eq(m->dst.migration_status, "completed") ||
	       str_eq(m->dst.migration_status, "failed");
}

/* What the source has sent is still being taken in over there. */
static void await_taken_in(struct migration *m, struct found *found)
{
	struct err ignored;

	if (found->src != SEEN_THERE || !src_handed_over(found) || found->dst != SEEN_THERE ||
	    !str_eq(m->dst.status.state, "inmigrate"))
		return;
	side_await(&m->dst, "the guest to be taken in over there", m->opt->timeouts.switchover_ms,
		   dst_settled, &ignored);
	if (qmp_status_query(m->dst.qmp, &m->dst.status, &ignored) < 0 ||
	    qmp_migration_query(m->dst.qmp, &found->dst_migration, &ignored) < 0)
		found->dst = SEEN_UNKNOWN;
}

/* What an earlier process has begun: on a side that is gone there is nothing to take back. */
static void mark_begun(struct migration *m, const struct found *found)
{
	size_t row = record_row(&m->record);

	for (size_t i = 0; i <= row && i < steps_count; i++)
		m->begun[i] = (found->src == SEEN_THERE && step_applies(&steps[i], m)) ||
			      steps[i].phase == PHASE_PREPARE;
}

static int resume_from(struct migration *m, const struct found *found, size_t row, struct err *err)
{
	bool src_gone = found->src != SEEN_THERE;

	if (row < steps_count)
		migration_note(m, "goes on with \"%s\": %s", steps[row].name, steps[row].meaning);
	if (src_gone)
		snprintf(m->src.migration_status, sizeof(m->src.migration_status), "completed");
	if (steps_resume(m, row, src_gone ? PHASE_FINISH : PHASE_CONFIRM, err) == 0)
		return 0;
	if (m->outcome != RECORD_BACK)
		return -1;
	migration_note(m, "%s", err->text);
	return 0;
}

static int undo_begun(struct migration *m, const struct found *found, struct err *err)
{
	migration_note(m, "undoes what was begun");
	m->dst_quit = found->dst == SEEN_GONE || found->dst == SEEN_OTHER;
	m->dst_unreachable = found->dst == SEEN_UNKNOWN;
	if (m->dst_unreachable)
		problems_add(&m->left_behind,
			     "%s; what is left there is undone when it can be "
			     "reached (`vmferry recover`)",
			     found->dst_words);
	steps_undo(m);
	if (m->outcome != RECORD_BACK)
		return err_set(err, ERR_HUMAN, "not all could be undone");
	if (found->src != SEEN_THERE)
		return err_set(err, ERR_HUMAN,
			       "the source's QEMU has ended before the guest was handed over: it "
			       "runs nowhere, and its disks are the source's");
	return 0;
}

/* Its files may hold what the guest wrote over there. */
static int tidy_source(struct migration *m, const struct found *found, struct err *err)
{
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (disk->made_inode)
			migration_note(m, "%s: %s stays: the guest may have run there", m->dst.name,
				       disk->dst_path);
		disk->making = false;
		disk->made_inode = 0;
	}
	m->switched = false;
	return undo_begun(m, found, err);
}

static int leave(struct migration *m, const struct found *found, const char *why, struct err *err)
{
	problems_add(&m->seen, "%s", found->src_words);
	problems_add(&m->seen, "%s", found->dst_words);
	return err_set(err, ERR_HUMAN,
		       "%s; nothing was changed. If the guest runs on %s, `quit` on %s ends the "
		       "source's; if its QEMU there is surely gone, `cont` on %s runs it here. "
		       "Then %s can go",
		       why, m->dst.name, m->opt->source, m->opt->source, journal_path(m->journal));
}

static int drop(struct migration *m, const char *why, struct err *err)
{
	record_end(m, RECORD_MOVED);
	return err_set(err, ERR_HUMAN, "%s", why);
}

int migration_recover(struct migration *m, struct err *err)
{
	struct found found;
	struct plan plan;
	int ret = -1;

	loop_shield(m->loop, true);
	recover_look(m, &found);
	await_taken_in(m, &found);
	migration_note(m, "%s", found.src_words);
	migration_note(m, "%s", found.dst_words);
	mark_begun(m, &found);
	if (found.src == SEEN_THERE && m->listening.address)
		adopt_connections(m);
	plan = make_plan(m, &found);
	loop_shield(m->loop, false);
	if (plan.action == ACTION_RESUME)
		ret = resume_from(m, &found, plan.row, err);
	else if (plan.action == ACTION_UNDO)
		ret = undo_begun(m, &found, err);
	else if (plan.action == ACTION_TIDY)
		ret = tidy_source(m, &found, err);
	else if (plan.action == ACTION_LOOK)
		ret = leave(m, &found, plan.why, err);
	else
		ret = drop(m, plan.why, err);
	found_deinit(&found);
	return ret;
}
