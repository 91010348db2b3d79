/* By hand: what finish and confirm look at before they do anything. The guest has been copied
 * by then, and what is ended by mistake may be the last of it. */
#include "base/str.h"
#include "migrate/handover.h"
#include "migrate/look.h"
#include "migrate/step_functions.h"

static bool dst_completed(struct migration *m)
{
	return str_eq(m->dst.migration_status, "completed") ||
	       str_eq(m->dst.migration_status, "failed");
}

/* The source has said "completed": over here the last of it is taken in. */
static void await_completed(struct migration *m)
{
	struct qmp_migration now;
	struct err err;

	if (qmp_migration_query(m->dst.qmp, &now, &err) < 0) {
		problems_add(&m->problems, "%s", err.text);
		return;
	}
	if (!str_eq(now.status, "completed") && !m->dst.migration_status[0] &&
	    side_await(&m->dst, "the end of the migration", m->opt->timeouts.switchover_ms,
		       dst_completed, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
	else if (!str_eq(now.status, "completed") && !str_eq(m->dst.migration_status, "completed"))
		problems_add(&m->problems,
			     "%s: its QEMU has not taken the guest in: its migration is \"%s\"",
			     m->dst.name, now.status);
}

static void look_for_note(struct migration *m)
{
	struct err err;
	bool failed;

	if (qmp_note_find(m->dst.qmp, HANDOVER_FAILED_NOTE, &failed, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
	else if (failed) {
		/* Its cookie may have been lost: this one's says the same. */
		m->given_up = !m->problems.count;
		problems_add(
			&m->problems,
			"%s: a finish has failed here before, and the source may run the guest "
			"again: this QEMU (%s) must not; end it (`quit`), and begin anew",
			m->dst.name, m->opt->dst.socket);
	}
}

/* Of a failed move: what has been taken in by another perform, or runs here since, is kept. */
static void look_for_another(struct migration *m)
{
	struct qmp_migration now;
	struct err err;

	if (qmp_migration_query(m->dst.qmp, &now, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
	else if (m->dst.status.running || str_eq(now.status, "completed"))
		problems_add(&m->problems,
			     "%s: its QEMU (%s) %s, though the cookie says that the move has "
			     "failed: it is not ended",
			     m->dst.name, m->opt->dst.socket,
			     m->dst.status.running ? "runs a guest" : "holds a guest, complete");
}

/* A guest that was moved on from here has "completed", too. */
static bool has_moved_on(const struct migration *m)
{
	return str_eq(m->dst.status.state, "postmigrate") ||
	       str_eq(m->dst.status.state, "finish-migrate");
}

static bool has_ended_meanwhile(struct migration *m)
{
	struct err err;

	drop_destination(m);
	return open_or_see_it_gone(m, &err) < 0 && err.kind == ERR_REFUSED;
}

/* A finish may be the second one: a guest that runs is not to be run again. */
static void look_for_finish(struct migration *m)
{
	struct err err;

	if (side_open_dst(m, &err) < 0 || qmp_caps_query(m->dst.qmp, &m->dst.caps, &err) < 0 ||
	    qmp_status_query(m->dst.qmp, &m->dst.status, &err) < 0) {
		m->dst_quit = m->cookie->failed && err.kind == ERR_CLOSED && has_ended_meanwhile(m);
		if (!m->dst_quit)
			problems_add(&m->problems, "%s", err.text);
		return;
	}
	look_at_identity(m);
	handover_check_process(m);
	if (!m->cookie->failed)
		look_for_note(m);
	if (m->cookie->failed)
		look_for_another(m);
	else if (has_moved_on(m))
		problems_add(&m->problems,
			     "%s: its guest is \"%s\": it has gone on to another host, and is not "
			     "run here (%s)",
			     m->dst.name, m->dst.status.state, m->opt->dst.socket);
	else if (!m->dst.status.running)
		await_completed(m);
	if (!m->cookie->failed && hold_was_released(m, &m->finished_before, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
}

/* After a failure that QEMU may be gone by itself, which is as good. */
static int look_at_prepared(struct migration *m, struct err *err)
{
	struct err local;

	struct stream *stream;

	m->host = host_local(m->loop, m->opt->timeouts.connect_ms);
	stream = host_unix_stream(m->host, m->opt->dst.socket, &local);
	m->dst_quit = !stream && local.kind == ERR_REFUSED;
	stream_close(stream);
	if (m->dst_quit && !m->cookie->failed)
		return err_set(
			err, ERR_HUMAN,
			"%s: %s; the guest was handed over to it and stands still. If no finish "
			"has run it there before, and that QEMU is surely gone, `cont` runs it on "
			"the source, where its memory and disks are as they were",
			m->dst.name, local.text);
	if (!m->dst_quit)
		look_for_finish(m);
	return 0;
}

/* One that was stopped by a migration must have been by this move's. */
static void look_for_own_note(struct migration *m)
{
	struct err err;
	char note[64];
	bool there;

	if (!str_eq(m->src.status.state, "postmigrate") &&
	    !str_eq(m->src.status.state, "finish-migrate"))
		return;
	handover_note_of(m, note, sizeof(note));
	if (qmp_note_find(m->src.qmp, note, &there, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
	else if (!there)
		problems_add(&m->problems,
			     "source: its guest is \"%s\", but not by the move of this cookie: it "
			     "is left as it is (%s)",
			     m->src.status.state, m->opt->source);
}

/* The source's guest must be stopped, by the migration; one that runs is not ended. */
static int look_for_confirm(struct migration *m, struct err *err)
{
	struct qmp_identity guest;

	if (side_open_src(m, err) < 0 || qmp_caps_query(m->src.qmp, &m->src.caps, err) < 0 ||
	    qmp_identity_query(m->src.qmp, &guest, err) < 0 ||
	    qmp_status_query(m->src.qmp, &m->src.status, err) < 0) {
		problems_add(&m->problems, "%s", err->text);
		return err->kind == ERR_INTERRUPTED ? -1 : 0;
	}
	handover_check_guest(m, &guest, "source");
	look_for_own_note(m);
	if (m->cookie->failed && !m->cookie->completed &&
	    str_eq(m->src.status.state, "postmigrate"))
		problems_add(&m->problems,
			     "source: its guest is \"postmigrate\": it was handed over by another "
			     "perform than the failed one of this cookie; it is left as it is (%s)",
			     m->opt->source);
	if (!m->cookie->failed && !str_eq(m->src.status.state, "postmigrate"))
		problems_add(
			&m->problems,
			"source: its guest is \"%s\", not \"postmigrate\" as after a move; its "
			"QEMU is not ended (%s)",
			m->src.status.state, m->opt->source);
	return 0;
}

int look_at_the_end(struct migration *m, struct err *err)
{
	handover_choose_disks(m);
	return m->phase == PHASE_FINISH ? look_at_prepared(m, err) : look_for_confirm(m, err);
}
