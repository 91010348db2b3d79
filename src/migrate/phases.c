/* The five phases, each a process of its own, with the cookie between them: the same rows of
 * the same table that a whole `migrate` runs, cut where the side changes.
 *
 * What fails on one side is taken back on that side at once, and the cookie says so; the other
 * side takes its own back when it reads it. So whoever carries the cookies goes on to the end
 * in any case: a failed perform's cookie lets finish undo the preparation, and a failed
 * finish's lets confirm take the guest back.
 */
#include <string.h>

#include "base/str.h"
#include "migrate/handover.h"
#include "migrate/migrate.h"
#include "migrate/steps.h"

/* What the cookie says has failed is taken back on this side. */
static int take_back(struct migration *m, struct err *err)
{
	const char *reason = m->cookie->reason ? m->cookie->reason : "without a reason";

	if (steps_run(m, PHASE_BEGIN, PHASE_BEGIN, err) < 0)
		return -1;
	handover_begun(m);
	steps_undo(m);
	m->given_up = true;
	return err_set(err, ERR_FAILED, "%s has failed: %s", cookie_phase_name(m->cookie->phase),
		       reason);
}

/* A finish that could not run the guest: the source will. This QEMU has all of it and is not
 * ended, for whether the source lives is not seen from here; but it must not run it later. */
static int give_up(struct migration *m, struct err *err)
{
	struct err failure = *err;

	if (qmp_note_leave(m->dst.qmp, HANDOVER_FAILED_NOTE, err) < 0) {
		err->kind = ERR_HUMAN;
		return err_wrap(
			err,
			"%s; and it could not be noted there: see that the QEMU of %s never "
			"runs the guest (`quit`), then `cont` on the source",
			failure.text, m->opt->dst.socket);
	}
	m->given_up = true;
	problems_add(
		&m->left_behind,
		"%s: its QEMU holds the guest, stopped; end it (`quit`) when confirm has taken "
		"the guest back on the source (%s)",
		m->dst.name, m->opt->dst.socket);
	*err = failure;
	return -1;
}

static int run(struct migration *m, struct err *err)
{
	if (m->cookie && m->cookie->failed)
		return take_back(m, err);
	if (steps_run(m, PHASE_BEGIN, PHASE_BEGIN, err) < 0)
		return -1;
	migration_tell_left_out(m);
	m->switched = m->phase == PHASE_CONFIRM; /* finish has said so */
	if (m->phase == PHASE_BEGIN || steps_run(m, m->phase, m->phase, err) == 0)
		return 0;
	return m->phase == PHASE_FINISH && !m->switched ? give_up(m, err) : -1;
}

/* By an earlier perform: what this one's failure would take back over there is that one's. */
static bool handed_over_before(const struct migration *m)
{
	return str_eq(m->src.status.state, "postmigrate");
}

/* A phase that has failed gives a cookie if the one after it has something to take back, and
 * may: not while it is not known where the guest is. */
static bool gives(const struct migration *m, const struct err *failure)
{
	if (m->phase == PHASE_CONFIRM)
		return false;
	if (!failure)
		return true;
	if (failure->kind == ERR_HUMAN || m->source_lost || m->migrating)
		return false;
	if (m->phase == PHASE_PERFORM)
		return !handed_over_before(m);
	return m->phase == PHASE_FINISH && m->given_up;
}

int migration_phase(struct migration *m, enum phase phase, const struct cookie *in,
		    struct cookie *out, bool *gave, struct err *err)
{
	int ret;

	m->by_hand = true;
	m->phase = phase;
	m->cookie = in;
	*gave = false;
	if (in && handover_read(m, err) < 0)
		return -1;
	ret = run(m, err);
	*gave = m->gave = gives(m, ret < 0 ? err : NULL);
	if (*gave)
		handover_write(m, ret < 0 ? err : NULL, out);
	return ret;
}

void migration_phase_lost(struct migration *m, struct err *err)
{
	m->gave = false;
	err->kind = m->phase == PHASE_FINISH ? ERR_HUMAN : ERR_FAILED;
	if (m->phase == PHASE_PREPARE || m->phase == PHASE_PERFORM)
		steps_undo(m);
	if (m->phase == PHASE_PERFORM)
		problems_add(
			&m->left_behind,
			"%s: its QEMU waits, or holds the guest, stopped: end it there (`quit`)",
			m->dst.name);
}
