/* The last steps: the guest runs over there, and what is left here goes.
 *
 * step_run is the point of no return. Once `cont` was sent, the source may not run again
 * unless it is certain that the destination did not: so when the answer is lost, the
 * destination is asked again, over a new connection, and if it cannot be asked nothing
 * is touched and a human has to look.
 */
#include <string.h>

#include "base/str.h"
#include "migrate/keys.h"
#include "migrate/link.h"
#include "migrate/mark.h"
#include "migrate/step_functions.h"
#include "migrate/tunnel.h"

static bool dst_runs(struct migration *m)
{
	return m->dst.resumed;
}

/* 1 when the guest runs over there, 0 when it surely does not, -1 when that is not known. */
static int guest_runs(struct migration *m, struct err *err)
{
	struct qmp_status status;

	if (reach_destination(m, err) < 0)
		return -1;
	if (m->dst_quit) {
		m->dst_quit = false; /* it may have run before it ended */
		return err_set(err, ERR_FAILED,
			       "%s: its QEMU has ended after it was told to run "
			       "the guest",
			       m->dst.name);
	}
	if (qmp_status_query(m->dst.qmp, &status, err) < 0)
		return -1;
	return status.running ? 1 : 0;
}

static int not_known(struct migration *m, struct err *err)
{
	return err_wrap(
		err,
		"whether the guest runs on %s is not known, and the source is left stopped. "
		"If it runs there, end the source's QEMU (`quit` on %s); if its QEMU is "
		"surely gone, `cont` on %s runs the guest here",
		m->dst.name, m->opt->source, m->opt->source);
}

/* The connection was lost between `cont` and RESUME, or QEMU would not: what is true? */
static int settle(struct migration *m, struct err *err)
{
	struct err first = *err;
	int runs;

	if (first.kind == ERR_TIMEOUT)
		drop_destination(m); /* it may be the connection that hangs */
	runs = guest_runs(m, err);

	if (runs < 0)
		return not_known(m, err);
	if (runs)
		return 0;
	if (first.kind == ERR_QMP)
		*err = first;
	if (first.kind == ERR_QMP && m->may_have_run) /* since an earlier `cont` */
		return not_known(m, err);
	if (first.kind == ERR_QMP) { /* it has refused, and does not run: undo */
		m->switched = false;
		return -1;
	}
	if (qmp_finish(qmp_cont_send(m->dst.qmp), err) < 0 || guest_runs(m, err) != 1)
		return not_known(m, err);
	return 0;
}

/* A paused guest's disks are taken now, if that QEMU can: else one that somebody holds would
 * show only at the user's own `cont`, with the source long gone. */
static int hand_over_paused(struct migration *m, struct err *err)
{
	struct qmp_status status;

	if (qmp_status_query(m->dst.qmp, &status, err) < 0)
		return -1;
	if (qmp_can(&m->dst.caps, QMP_SET_ACTIVE) && qmp_nodes_activate(m->dst.qmp, err) < 0)
		return -1;
	m->switched = true;
	migration_note(m, "the guest was paused and stays paused on %s", m->dst.name);
	extras_tell_stores(m);
	return 0;
}

/* A step of its own, and on record before `cont` is: who finds both sides stopped knows by that
 * whether `cont` may have been sent, or not even this. It takes a round trip with the guest
 * stopped; but from a release before the source has handed over on, our death would leave a QEMU
 * over there for nothing. */
int step_free(struct migration *m, int64_t timeout_ms, struct err *err)
{
	return guard_release(m->guard, timeout_ms, err);
}

/* What has come in since the step was put on record: up to now all can be undone. Nobody is asked,
 * which would take a round trip. A destination whose end is heard of later may have read `cont`. */
static int very_last_look(struct migration *m, struct err *err)
{
	loop_poll(m->loop);
	return migration_check_alive(m, err);
}

int step_run(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (m->dst.status.running || m->finished_before) { /* by hand, a second time */
		m->switched = true;
		return 0;
	}
	if (very_last_look(m, err) < 0)
		return -1;
	if (!m->was_running)
		return hand_over_paused(m, err);
	m->switched = true;
	m->dst.resumed = false;
	if (qmp_finish(qmp_cont_send(m->dst.qmp), err) < 0 ||
	    side_await(&m->dst, "the guest to run over there", timeout_ms, dst_runs, err) < 0)
		return settle(m, err);
	return 0;
}

/* The guest runs over there: what cannot be tidied is said, and is no failure. True when it was. */
static bool tidied(struct migration *m, int ret, const struct err *err)
{
	if (ret < 0)
		migration_note(m, "not tidied: %s", err->text);
	return ret == 0;
}

static int release_keys(struct migration *m, int64_t timeout_ms, struct err *err)
{
	return tunnel_is_used(m) ? undo_tunnel(m, timeout_ms, err)
				 : keys_release(m, timeout_ms, err);
}

/* What cannot be released now is by `recover`, if one becomes necessary: the same network, say,
 * keeps us from seeing that the source may end. */
int step_release(struct migration *m, int64_t timeout_ms, struct err *err)
{
	bool held = !tidied(m, undo_hold(m, timeout_ms, err), err);
	bool keyed = !tidied(m, release_keys(m, timeout_ms, err), err);

	m->untidy = held || keyed;
	if (m->guard)
		tidied(m, guard_leave(m->guard, timeout_ms, err), err);
	for (size_t i = 0; m->by_hand && i < m->cookie->disks_count; i++)
		if (m->cookie->disks[i].dst && mark_is_on(m->cookie->disks[i].dst, m->id))
			unmark_file(m->cookie->disks[i].dst);
	return 0;
}

static int ask_destination(struct migration *m, struct qmp_status *status, struct err *err)
{
	if (reach_destination(m, err) < 0)
		return -1;
	if (m->dst_quit)
		return err_set(err, ERR_FAILED, "%s: its QEMU has ended", m->dst.name);
	return qmp_status_query(m->dst.qmp, status, err);
}

/* The source is not ended unless the destination is seen to hold the guest. A connection that
 * has ended or hangs proves nothing: it is asked once more over a new one. */
static int destination_holds_guest(struct migration *m, struct err *err)
{
	struct qmp_status status;
	int ret = ask_destination(m, &status, err);

	if (ret < 0 && (err->kind == ERR_CLOSED || err->kind == ERR_TIMEOUT)) {
		drop_destination(m);
		ret = ask_destination(m, &status, err);
	}
	if (ret == 0 && str_eq(status.state, "inmigrate"))
		return err_set(err, ERR_FAILED, "%s: another QEMU waits there now", m->dst.name);
	return ret;
}

static int see_guest_over_there(struct migration *m, struct err *err)
{
	if (m->by_hand || destination_holds_guest(m, err) == 0)
		return 0;
	return err_wrap(err,
			"the guest was handed over to %s and is not seen there any more, so the "
			"source's stopped QEMU is left (%s). Its memory and disks are as they were "
			"at the switchover: `cont` runs it here, if it is surely not running "
			"there; else `quit` it",
			m->dst.name, m->opt->source);
}

/* Without --keep-source all of this ends with its QEMU. */
int step_tidy(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (see_guest_over_there(m, err) < 0)
		return -1;
	migration_note(
		m, "the source's QEMU is kept, stopped: never `cont` it while the guest runs on %s",
		m->dst.name);
	tidied(m, undo_mirror(m, timeout_ms, err), err);
	tidied(m, undo_target(m, timeout_ms, err), err);
	tidied(m, undo_settings(m, timeout_ms, err), err);
	tidied(m, undo_keys(m, timeout_ms, err), err);
	return 0;
}

static bool src_closed(void *arg)
{
	struct migration *m = arg;

	return !qmp_alive(m->src.qmp);
}

/* As with the destination: QEMU is gone when nobody listens there any more. */
static int end_source(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int64_t until_ms = loop_now_ms() + timeout_ms;

	while (loop_now_ms() < until_ms) {
		if (qmp_alive(m->src.qmp) &&
		    ((qmp_quit(m->src.qmp, err) < 0 && err->kind != ERR_CLOSED) ||
		     loop_await(m->loop, "the end of the source's QEMU", timeout_ms, src_closed, m,
				err) < 0))
			return -1;
		qmp_forget(m->stop_status);
		m->stop_status = NULL;
		qmp_close(m->src.qmp);
		m->src.qmp = NULL;
		if (side_open_src(m, err) < 0 && err->kind != ERR_CLOSED)
			return err->kind == ERR_REFUSED ? 0 : -1;
	}
	return err_set(err, ERR_TIMEOUT, "source: its QEMU does not end");
}

int step_end(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (see_guest_over_there(m, err) < 0)
		return -1;
	link_hang_up(m);
	if (end_source(m, timeout_ms, err) < 0)
		return err_wrap(err,
				"the guest runs on %s, but the source's stopped QEMU could not be "
				"ended; end it (`quit` on %s), and never `cont` it",
				m->dst.name, m->opt->source);
	return 0;
}
