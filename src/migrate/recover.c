/* What is done with a migration whose vmferry has died, by what both sides are like.
 *
 *                        the destination's QEMU
 *   `cont` may have      holds the guest   waits            gone            not known
 *   been sent:           finish            a human looks    a human looks   a human looks
 *     and the source runs: a human looks, but when the other one is gone: a human has decided so
 *   was not sent, and the source's QEMU
 *     has handed over    finish            undo             undo            a human looks
 *     has not            undo              go on, or undo   undo            undo, on the source
 *     is gone, and its disks are as they were at the switchover
 *                        finish            undo             undo            a human looks
 *   the source's QEMU is not known: a human looks
 *
 * Where somebody has done more meanwhile: a guest that has run over there, whoever told it to, and
 * has ended or moved on since is not run there again. One whose move was being undone may have run
 * on the source since, and what the destination has is old. A QEMU of the same guest that was
 * started anew on the source runs it from the source's disks. With --clone the destination's QEMU
 * is bound to a guard, which will end it when it notices that its vmferry has died: until the guard
 * was released, nothing may come to depend on that QEMU.
 *
 * "Undo" lets the guest run on the source, if it is there. A source that has not sent the last
 * of the guest can do so whatever the other side is: nobody can run a part of a guest. One that
 * has, only if `cont` was surely not sent, and that is known by the record alone: so with the
 * other side not known it may have been somebody else's, and a human looks.
 */
#include "migrate/recover.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "migrate/choice.h"
#include "migrate/link.h"
#include "migrate/look.h"
#include "migrate/nbd.h"
#include "migrate/step_functions.h"
#include "migrate/tunnel.h"

enum action {
	ACTION_RESUME,
	ACTION_TIDY, /* undo on the source alone; what is over there may be the last of the guest */
	ACTION_UNDO,
	ACTION_LOOK, /* a human looks, and chooses */
	ACTION_WAIT, /* a human looks, and there is nothing to choose from */
	ACTION_DROP, /* there is nothing left to do anything about */
};

struct plan {
	enum action action;
	size_t row;      /* ACTION_RESUME: from here */
	const char *why; /* ACTION_LOOK, ACTION_WAIT, ACTION_DROP */
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

static struct plan wait_for(const char *why)
{
	return (struct plan){.action = ACTION_WAIT, .why = why};
}

/* The destination's QEMU has taken all of the guest in. */
static bool dst_holds_guest(const struct migration *m, const struct found *found)
{
	return found->dst == SEEN_THERE && !str_eq(m->dst.status.state, "inmigrate") &&
	       (m->dst.status.running || str_eq(found->dst_migration.status, "completed"));
}

/* It has run over there: it runs, or it has ended or moved on since, and QEMU is left. Stopped
 * before the move, it may have come with such a state, but for the moved on. */
static bool dst_has_run(const struct migration *m, const struct found *found)
{
	static const char *const ended[] = {"shutdown", "guest-panicked", "internal-error"};
	const char *state = m->dst.status.state;
	bool has_ended = false;

	for (size_t i = 0; i < sizeof(ended) / sizeof(ended[0]); i++)
		has_ended = has_ended || (m->was_running && str_eq(state, ended[i]));
	return dst_holds_guest(m, found) &&
	       (m->dst.status.running || has_ended || str_eq(state, "postmigrate") ||
		str_eq(state, "finish-migrate"));
}

/* "completed" alone may be of the migration that has brought the guest here; and a guest that was
 * let run here again since has another state. */
static bool src_handed_over(const struct migration *m, const struct found *found)
{
	return found->src == SEEN_THERE && m->migrating &&
	       str_eq(found->src_migration.status, "completed") &&
	       str_eq(m->src.status.state, "postmigrate");
}

/* Nothing but to end what is left. */
static struct plan finish_after_run(struct migration *m, const char *step)
{
	m->switched = m->finished_before = true;
	snprintf(m->dst.migration_status, sizeof(m->dst.migration_status), "completed");
	return resume(step);
}

/* Whether the guard may be there yet. */
static bool is_guarded(const struct migration *m, const struct found *found)
{
	size_t row = record_row(&m->record), free_row = step_row("free");
	bool let_go = row > free_row || (row == free_row && m->record.state == RECORD_DONE);

	return m->opt->clone && found->dst == SEEN_THERE &&
	       (!let_go || m->record.state == RECORD_UNDOING);
}

/* `run` is done again unless it is on record that it was done: who has paused the guest since
 * then is not us. */
static struct plan plan_switched(struct migration *m, const struct found *found)
{
	size_t row = record_row(&m->record);

	if (found->src == SEEN_THERE && m->src.status.running &&
	    (found->dst == SEEN_GONE || found->dst == SEEN_OTHER))
		return (struct plan){.action = ACTION_TIDY};
	if (found->src == SEEN_THERE && m->src.status.running)
		return look("the guest runs on the source, and was told to run over there, too: "
			    "end the one that is not to be (`quit`)");
	if (dst_holds_guest(m, found)) {
		if (row <= step_row("run") && dst_has_run(m, found))
			return finish_after_run(m, "run");
		if (row < step_row("run"))
			row = step_row("run");
		else if (m->record.state == RECORD_DONE)
			row++;
		if (m->untidy && row > step_row("release"))
			row = step_row("release");
		return (struct plan){.action = ACTION_RESUME, .row = row};
	}
	if (found->src == SEEN_THERE || found->dst == SEEN_UNKNOWN)
		return look("whether the guest has run over there is not known, and the source is "
			    "left as it is");
	return (struct plan){.action = ACTION_DROP,
			     .why = "the guest was handed over, and neither side has it any more: "
				    "what it wrote last is on the destination's disks"};
}

/* Are all mirrors there, whether they run, are stopped, or are through? */
static bool mirrors_are_well(const struct migration *m)
{
	for (size_t i = 0; !m->in_stream && i < m->disks.count; i++)
		if (!m->disks.list[i].has_job || m->disks.list[i].error[0])
			return false;
	return true;
}

/* The copy goes on in QEMU whether we are there or not; but for what went through an SSH session,
 * which has ended with us. */
static struct plan plan_copying(const struct migration *m, const struct found *found)
{
	const char *status = found->src_migration.status;
	size_t row = record_row(&m->record);
	bool stopped = disks_any_stopped(&m->disks);
	bool begun = row > step_row("mirror") ||
		     (row == step_row("mirror") && m->record.state == RECORD_DONE);

	if (found->dst != SEEN_THERE || !str_eq(m->dst.status.state, "inmigrate") ||
	    m->record.state == RECORD_UNDOING || !begun || tunnel_is_used(m) || stops_first(m) ||
	    !mirrors_are_well(m))
		return undo();
	if (row < step_row("ram") && !qmp_migration_active(status))
		return stopped && !m->link.returns ? undo() : resume("copy");
	if (stopped)
		return undo();
	if (str_eq(status, "pre-switchover"))
		return resume("detach");
	if (row > step_row("ram"))
		return str_eq(status, "device") ? resume("switchover") : undo();
	if (row == step_row("ram"))
		return qmp_migration_active(status) ? resume("ram") : undo();
	return undo();
}

static struct plan plan_not_switched(struct migration *m, const struct found *found)
{
	bool handed_over = src_handed_over(m, found);

	if (found->src == SEEN_THERE && dst_has_run(m, found) && m->src.status.running)
		return look("the guest runs on BOTH sides: end the one that is not to be (`quit`) "
			    "at once");
	if (found->src == SEEN_THERE && dst_has_run(m, found) && !handed_over)
		return look("the guest has run over there, and on the source, too: end the one "
			    "that is not to be (`quit`)");
	if (dst_has_run(m, found))
		return finish_after_run(m, "switchover");
	if (found->src == SEEN_THERE && !handed_over)
		return plan_copying(m, found);
	if (m->record.state == RECORD_UNDOING && dst_holds_guest(m, found))
		return handed_over ? undo()
				   : look("the move was being undone, so the guest may have run on "
					  "the source since: what waits over there may be old");
	if (dst_holds_guest(m, found) && !handed_over && recover_src_written(m))
		return look("the source's QEMU has ended, and its disks were written to after the "
			    "move was last heard of: the guest may have run on there, and what "
			    "waits over there would be old");
	if (dst_holds_guest(m, found))
		return resume("switchover");
	if (found->dst == SEEN_UNKNOWN || found->dst == SEEN_OTHER)
		return look("whether somebody runs the guest over there is not known, and the "
			    "source is left as it is");
	return undo();
}

static struct plan plan_guarded(struct migration *m, const struct found *found)
{
	if (!m->switched && found->src == SEEN_THERE && !dst_has_run(m, found))
		return undo();
	if (!dst_holds_guest(m, found))
		return m->switched ? plan_switched(m, found) : plan_not_switched(m, found);
	return wait_for("the guest is over there, but what --clone has left to watch over it may "
			"end it yet, within a minute or two");
}

static struct plan make_plan(struct migration *m, const struct found *found)
{
	if (record_row(&m->record) == steps_count)
		return wait_for("it was begun by another version of vmferry, whose steps are not "
				"ours: use that one");
	if (found->src == SEEN_UNKNOWN)
		return look("what the source does is not known");
	if (found->src == SEEN_OTHER && m->switched && found->dst == SEEN_GONE)
		return (struct plan){.action = ACTION_DROP,
				     .why = "the guest was handed over, its QEMU over there has "
					    "ended, and another one of it was started on the "
					    "source: what it wrote last may be on the "
					    "destination's disks"};
	if (found->src == SEEN_OTHER && (m->switched || dst_holds_guest(m, found)))
		return look("the guest was handed over, and another QEMU of it was started on the "
			    "source since: end the one that is not to be (`quit`)");
	if (is_guarded(m, found))
		return plan_guarded(m, found);
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

	if (!src_handed_over(m, found) || found->dst != SEEN_THERE ||
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
	size_t row = record_furthest_row(&m->record);

	for (size_t i = 0; i <= row && i < steps_count; i++)
		m->begun[i] = (found->src == SEEN_THERE || steps[i].phase == PHASE_PREPARE) &&
			      step_applies(&steps[i], m);
}

/* All was undone, and there is nobody who has the guest. */
static int nobody_has_it(struct err *err)
{
	err_wrap(err, "the source's QEMU has ended, and the guest runs nowhere");
	err->kind = ERR_HUMAN;
	return -1;
}

static int resume_from(struct migration *m, const struct found *found, size_t row, struct err *err)
{
	bool src_gone = found->src != SEEN_THERE;

	if (row == step_row("copy"))
		nbd_forget_left_plugs(m);
	else
		link_settle(m);
	if (row < steps_count)
		migration_note(m, "goes on with \"%s\": %s", steps[row].name, steps[row].meaning);
	if (src_gone)
		snprintf(m->src.migration_status, sizeof(m->src.migration_status), "completed");
	if (steps_resume(m, row, src_gone ? PHASE_FINISH : PHASE_CONFIRM, err) == 0)
		return 0;
	if (m->outcome != RECORD_BACK)
		return -1;
	if (src_gone)
		return nobody_has_it(err);
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
		return err_set(err, ERR_HUMAN,
			       "not all could be undone; if %s will never be reached again, or it "
			       "was seen to by hand, %s can go",
			       m->dst.name, journal_path(m->journal));
	if (found->src == SEEN_OTHER)
		return err_set(err, ERR_HUMAN,
			       "the source's QEMU has ended before the guest was handed over, and "
			       "another one of it is there now");
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
	for (size_t i = 0; i < m->extras.count; i++) {
		struct extra *extra = &m->extras.list[i];

		if (extra->made_path)
			migration_note(m, "%s: %s stays: the guest may have run there", m->dst.name,
				       extra->made_path);
		free(extra->made_path);
		extra->made_path = NULL;
	}
	m->switched = false;
	return undo_begun(m, found, err);
}

static int leave(struct migration *m, const struct found *found, const struct plan *plan,
		 struct err *err)
{
	problems_add(&m->seen, "%s", found->src_words);
	problems_add(&m->seen, "%s", found->dst_words);
	if (plan->action == ACTION_LOOK)
		choice_offer(m, found, dst_holds_guest(m, found));
	return err_set(err, ERR_HUMAN,
		       "%s; nothing was changed. %s; if that still cannot know where the guest "
		       "is, and you do, %s can go",
		       plan->why,
		       m->choices.count ? "Do as is said above, then `vmferry recover` again"
					: "Run `vmferry recover` again later",
		       journal_path(m->journal));
}

static int drop(struct migration *m, const char *why, struct err *err)
{
	struct err local;

	m->dst_quit = true; /* or another's is there */
	if (undo_keys(m, m->opt->timeouts.answer_ms, &local) < 0)
		migration_note(m, "%s", local.text);
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
	/* Stopped by us it is "paused"; with any other state somebody has done more since. */
	m->halted = m->halted && found.src == SEEN_THERE && str_eq(m->src.status.state, "paused");
	migration_note(m, "%s", found.src_words);
	migration_note(m, "%s", found.dst_words);
	mark_begun(m, &found);
	if (found.src == SEEN_THERE && m->listening.address)
		link_adopt(m);
	plan = make_plan(m, &found);
	loop_shield(m->loop, false);
	if (plan.action == ACTION_RESUME)
		ret = resume_from(m, &found, plan.row, err);
	else if (plan.action == ACTION_UNDO)
		ret = undo_begun(m, &found, err);
	else if (plan.action == ACTION_TIDY)
		ret = tidy_source(m, &found, err);
	else if (plan.action == ACTION_DROP)
		ret = drop(m, plan.why, err);
	else
		ret = leave(m, &found, &plan, err);
	found_deinit(&found);
	return ret;
}
