/* Whether the destination's QEMU is there, asked when something went wrong: the connection
 * may be what failed, so it is made anew first. "Gone" is only said when its host answers
 * and nothing listens where its monitor was; QEMU closes the monitor after its disks.
 */
#include "base/str.h"
#include "migrate/host.h"
#include "migrate/step_functions.h"

enum presence {
	PRESENCE_ERROR = -1, /* cannot be known */
	PRESENCE_GONE,       /* its host answers, and nothing listens on the monitor's path */
	PRESENCE_THERE,      /* m->dst.qmp is connected */
};

/* A QEMU that is just ending may still take a connection, and then close it; and its socket's file
 * goes before its socket. */
#define ENDING_TRIES 20
#define ENDING_LOOK_MS 50

/* sshd refuses alike when nobody listens, when the login may not connect, when it may forward
 * nothing, and when the backlog is full: QEMU's monitor has one of 1, and takes nobody else while
 * a client holds it, sshd for a dead connection of ours, say. */
static int check_gone(struct migration *m, struct err *err)
{
	bool listens;
	struct err local;

	if (host_listens(m->host, m->opt->dst.socket, m->opt->timeouts.answer_ms, &listens,
			 &local) < 0) {
		*err = local;
		return -1;
	}
	if (listens)
		err_set(err, ERR_CLOSED,
			"%s: %s: its QEMU is there, and its monitor cannot be reached; does "
			"another "
			"client hold it, and may this login connect to it?",
			m->dst.name, m->opt->dst.socket);
	return 0;
}

int open_or_see_it_gone(struct migration *m, struct err *err)
{
	for (int tries = 0; tries < ENDING_TRIES; tries++) {
		if (side_open_dst(m, err) == 0)
			return 0;
		if (err->kind == ERR_REFUSED && check_gone(m, err) < 0)
			return -1;
		/* One that is silent is there; connections that nobody takes fill its backlog. */
		if (err->kind != ERR_CLOSED)
			return -1;
		if (!loop_rest(m->loop, ENDING_LOOK_MS))
			return err_set(err, ERR_INTERRUPTED, "interrupted");
	}
	err->kind = ERR_FAILED;
	return -1;
}

/* Somebody may have started another QEMU there meanwhile: one that runs before we have let it
 * run is not ours to end. */
static bool is_ours(struct migration *m, struct err *err)
{
	struct qmp_status status;

	if (qmp_status_query(m->dst.qmp, &status, err) < 0)
		return false;
	if (status.running && !m->switched)
		err_set(err, ERR_FAILED, "%s: another QEMU, which runs a guest, listens there now",
			m->dst.name);
	return !status.running || m->switched;
}

/* Whether the destination's QEMU is there, with the connections made anew if needed. */
static enum presence presence_of_destination(struct migration *m, struct err *err)
{
	struct file_info info;

	if (qmp_alive(m->dst.qmp))
		return PRESENCE_THERE;
	qmp_close(m->dst.qmp);
	m->dst.qmp = NULL;
	if (host_file_info(m->host, "/", &info, NULL) < 0 && host_reopen(m->host, err) < 0)
		return PRESENCE_ERROR;
	if (open_or_see_it_gone(m, err) == 0)
		return is_ours(m, err) ? PRESENCE_THERE : PRESENCE_ERROR;
	return err->kind == ERR_REFUSED ? PRESENCE_GONE : PRESENCE_ERROR;
}

/* In an undo: the guest is on the source by now, whatever that QEMU holds. */
static int unreachable(struct migration *m, struct err *err)
{
	if (m->dst_unreachable)
		return err_set(err, ERR_FAILED, "%s: its QEMU cannot be asked, as said above",
			       m->dst.name);
	m->dst_unreachable = true;
	return err_wrap(err,
			"%s: its QEMU cannot be asked (%s); if it still waits there, end it "
			"(`quit`), and never `cont` it while the guest is here",
			m->dst.name, m->opt->dst.socket);
}

int reach_destination(struct migration *m, struct err *err)
{
	bool undoing = m->undone_for != ERR_NONE;
	enum presence presence = m->dst_quit ? PRESENCE_GONE : PRESENCE_ERROR;

	if (!m->dst_quit && !(undoing && m->dst_unreachable))
		presence = presence_of_destination(m, err);
	if (presence == PRESENCE_ERROR && undoing)
		return unreachable(m, err);
	if (presence == PRESENCE_ERROR)
		return err_wrap(err, "%s: its QEMU cannot be asked (%s)", m->dst.name,
				m->opt->dst.socket);
	m->dst_quit = presence == PRESENCE_GONE;
	return 0;
}

int destination_was_rebooted(struct migration *m, bool *rebooted, struct err *err)
{
	struct file_id id;

	*rebooted = false;
	if (!m->record.dst_boot)
		return 0;
	if (host_file_id(m->host, "/", &id, m->opt->timeouts.answer_ms, err) < 0)
		return -1;
	*rebooted = !str_eq(id.boot_id, m->record.dst_boot);
	return 0;
}

void drop_destination(struct migration *m)
{
	qmp_close(m->dst.qmp);
	m->dst.qmp = NULL;
}

int undo_on_destination(struct migration *m, int (*act)(struct migration *m, struct err *err),
			struct err *err)
{
	for (int tries = 0; tries < 2; tries++) {
		if (reach_destination(m, err) < 0)
			return -1;
		if (m->dst_quit || act(m, err) == 0)
			return 0;
		if (err->kind == ERR_TIMEOUT)
			drop_destination(m); /* it may be the connection that hangs */
		else if (err->kind != ERR_CLOSED)
			return -1;
	}
	return -1;
}

static bool dst_closed(void *arg)
{
	struct migration *m = arg;

	return !qmp_alive(m->dst.qmp);
}

/* 0 when it may be gone by now; *@obeyed: it has said that it will. */
static int quit_destination(struct migration *m, int64_t timeout_ms, bool *obeyed, struct err *err)
{
	err->kind = ERR_NONE;
	if (qmp_quit(m->dst.qmp, err) < 0) {
		if (err->kind == ERR_TIMEOUT)
			drop_destination(m); /* it may be the connection that hangs */
		return err->kind == ERR_TIMEOUT || err->kind == ERR_CLOSED ? 0 : -1;
	}
	*obeyed = err->kind == ERR_NONE;
	return loop_await(m->loop, "the end of the destination's QEMU", timeout_ms, dst_closed, m,
			  err);
}

/* Undone last first, ram was undone before: where it was not, the destination may have the last
 * copy. By hand the source's own process has seen to it, and says so in its cookie. */
static bool source_has_guest(const struct migration *m)
{
	return m->by_hand ? m->cookie->failed : !m->migrating && qmp_alive(m->src.qmp);
}

/* A connection that ended is no proof that QEMU has read the command: only when nobody
 * listens there any more is it gone. */
int end_destination(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int64_t until_ms = loop_now_ms() + timeout_ms;
	bool holds_all = str_eq(m->dst.migration_status, "completed");
	bool obeyed = m->dst_obeyed;

	m->dst_left = holds_all && !source_has_guest(m);
	if (m->dst_left)
		return err_set(
			err, ERR_FAILED,
			"%s: its QEMU holds the guest, complete and stopped, and the source's "
			"has ended, or does not run it again, so it is left: `cont` on %s runs "
			"the guest there, if it is sure not to run here any more",
			m->dst.name, m->opt->dst.socket);
	while (reach_destination(m, err) == 0) {
		if (m->dst_quit) {
			m->dst_obeyed = obeyed;
			return 0;
		}
		if (loop_now_ms() >= until_ms)
			return err_set(err, ERR_TIMEOUT, "%s: its QEMU does not end", m->dst.name);
		if (quit_destination(m, timeout_ms, &obeyed, err) < 0)
			return -1;
	}
	return -1;
}
