/* RAM and the switchover. While the guest is stopped - from the end of step_ram to the
 * RESUME that step_run waits for - nothing is asked that is not needed: what may run side
 * by side is sent side by side, and every wait is for an event.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "base/tcp.h"
#include "migrate/link.h"
#include "migrate/look.h"
#include "migrate/progress.h"
#include "migrate/step_functions.h"
#include "migrate/tunnel.h"

/* Does a QEMU that refused to listen wait as before? From 10.0 on not: see
 * qmp_migrate_incoming(). */
static bool waits_as_before(struct migration *m)
{
	struct qmp_migration now;
	struct err ignored;

	return qmp_migration_query(m->dst.qmp, &now, &ignored) == 0 && !now.listening &&
	       !qmp_migration_active(now.status);
}

static int not_listening(struct migration *m, struct err *err)
{
	if (err->kind != ERR_QMP)
		return -1;
	m->incoming = !waits_as_before(m);
	if (!strstr(err->text, "Address already in use"))
		return -1;
	return err_set(err, ERR_FAILED,
		       "%s: no port from %d to %d is free there for RAM; name "
		       "others with --ports LOW-HIGH",
		       m->dst.name, m->opt->port_low, m->opt->port_high);
}

int step_listen(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int low = m->opt->port_low, high = m->opt->port_high;
	struct qmp_migration now;

	m->incoming = true;
	if (tunnel_is_used(m))
		return tunnel_listen(m, timeout_ms, err) < 0 ? not_listening(m, err) : 0;
	if (m->resumed && m->listening.ram_port)
		return 0;
	if (qmp_migrate_incoming(m->dst.qmp, m->listening.address, low, high, err) < 0)
		return not_listening(m, err);
	if (qmp_migration_query(m->dst.qmp, &now, err) < 0)
		return -1;
	if (now.port < low || now.port > high)
		return err_set(err, ERR_FAILED,
			       "%s: its QEMU does not tell on which port it waits for RAM",
			       m->dst.name);
	m->listening.ram_port = now.port;
	return 0;
}

static bool src_status_is(const struct migration *m, const char *status)
{
	return str_eq(m->src.migration_status, status);
}

static bool src_failed(const struct migration *m)
{
	return src_status_is(m, "failed") || src_status_is(m, "cancelled");
}

static bool cpus_stopped_or_failed(struct migration *m)
{
	return src_status_is(m, can_pause(m) ? "pre-switchover" : "completed") || src_failed(m);
}

/* Did the guest run until the migration stopped it, or had a user paused it, or an I/O error? */
static int see_who_stopped(struct migration *m, struct err *err)
{
	struct qmp_status status;
	struct qmp_request *request = m->stop_status;

	m->stop_status = NULL;
	if (!request)
		return 0;
	if (qmp_status_take(request, &status, err) < 0)
		return -1;
	m->was_running = str_eq(status.state, "finish-migrate");
	return 0;
}

/* Why it came to nothing: before 9.1 the destination's QEMU tells only its own stderr what it
 * could not load, and ends. */
static int not_taken_in(struct migration *m, struct err *err)
{
	struct qmp_migration now = {0}, theirs = {0};
	struct err ignored;

	/* A mirror that has failed makes the source's QEMU give up, too. */
	if (migration_check_alive(m, err) < 0 && err->kind == ERR_FAILED)
		return -1;
	if (src_status_is(m, "cancelled"))
		return err_set(err, ERR_FAILED,
			       "somebody cancelled the migration (migrate_cancel)");
	if (qmp_alive(m->dst.qmp) && qmp_migration_query(m->dst.qmp, &theirs, &ignored) == 0 &&
	    theirs.error[0])
		return err_set(err, ERR_FAILED, "%s: its QEMU could not take the guest in: %s",
			       m->dst.name, theirs.error);
	if (m->guard && guard_program_ended(m->guard))
		return err_set(err, ERR_FAILED, "%s: its QEMU could not take the guest in: %s",
			       m->dst.name, guard_last_words(m->guard));
	if (qmp_migration_query(m->src.qmp, &now, &ignored) < 0)
		return -1;
	return err_set(err, ERR_FAILED,
		       "%s: its QEMU could not take the guest in; its stderr tells why%s%s",
		       m->dst.name, now.error[0] ? "; the source's QEMU says: " : "", now.error);
}

/* How long RAM may take to converge within our own short downtime-limit. */
#define CONVERGE_PATIENCE_MS 15000

static int relax_downtime(struct migration *m, struct err *err)
{
	struct qmp_parameters now;

	m->relaxed = true;
	if (qmp_parameters_get(m->src.qmp, &now, err) < 0)
		return -1;
	now.downtime_limit_ms = m->src_parameters.downtime_limit_ms;
	return qmp_parameters_set(m->src.qmp, &now, false, err);
}

static int sample_ram(struct migration *m, uint64_t *figure, struct err *err)
{
	if (!m->relaxed && !m->opt->downtime_limit_ms &&
	    loop_now_ms() - m->ram_begun_ms > CONVERGE_PATIENCE_MS && relax_downtime(m, err) < 0)
		return -1;
	return progress_sample_ram(m, figure, err);
}

#define RAM_FD_NAME "vmferry-ram"

/* We open the connection and hand it to QEMU: a connect(2) of its own that a firewall
 * swallows could not be cancelled for minutes. */
static int connect_ram(struct migration *m, struct err *err)
{
	if (tunnel_is_used(m)) {
		m->ram_fd = tunnel_connect_ram(m, err);
		return m->ram_fd < 0 ? -1 : qmp_pass_fd(m->src.qmp, RAM_FD_NAME, m->ram_fd, err);
	}
	m->ram_fd = tcp_connect(m->loop, m->listening.address, m->listening.ram_port,
				m->opt->timeouts.connect_ms, err);
	if (m->ram_fd < 0)
		return err_wrap(err,
				"%s: its port for RAM cannot be reached from here; open it in the "
				"firewall, or name others with --ports, --data-address",
				m->dst.name);
	return qmp_pass_fd(m->src.qmp, RAM_FD_NAME, m->ram_fd, err);
}

void disconnect_ram(struct migration *m)
{
	if (m->ram_fd >= 0)
		close(m->ram_fd);
	m->ram_fd = -1;
}

static bool src_stopped(struct migration *m)
{
	return m->src.stopped;
}

/* For a QEMU without pre-switchover. It was running if it is ours to let it run again. */
int step_stop(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct qmp_status status;

	if (qmp_status_query(m->src.qmp, &status, err) < 0)
		return -1;
	m->was_running = status.running;
	if (!status.running)
		return 0;
	m->src.stopped = false;
	if (migration_record(m, err) < 0) /* that it ran, for who comes after us */
		return -1;
	if (qmp_stop(m->src.qmp, err) < 0 ||
	    migration_await(m, "the guest to stop", timeout_ms, src_stopped, err) < 0)
		return -1;
	qmp_forget(m->stop_status); /* it was us */
	m->stop_status = NULL;
	return 0;
}

static enum qmp_stream stream_of(const struct migration *m)
{
	if (!m->in_stream)
		return QMP_STREAM_RAM;
	return m->incremental ? QMP_STREAM_DISK_TOPS : QMP_STREAM_DISKS;
}

static int begin_ram(struct migration *m, struct err *err)
{
	struct qmp_status status;

	if (qmp_status_query(m->src.qmp, &status, err) < 0)
		return -1;
	if (stops_first(m) && status.running) /* its mirrors have ended */
		return err_set(err, ERR_FAILED,
			       "source: somebody has let the guest run on in the middle of the "
			       "switchover");
	if (!stops_first(m))
		m->was_running = status.running;
	m->src.stopped = m->src.resumed = false;
	m->src.migration_status[0] = '\0';
	if (connect_ram(m, err) < 0)
		return -1;
	m->migrating = true;
	if (migration_record(m, err) < 0)
		return -1;
	return qmp_migrate(m->src.qmp, RAM_FD_NAME, stream_of(m), err);
}

int step_ram(struct migration *m, int64_t timeout_ms, struct err *err)
{
	bool under_way = m->resumed && qmp_migration_active(m->src.migration_status);

	m->ram_begun_ms = loop_now_ms();
	if (!under_way && begin_ram(m, err) < 0)
		return -1;
	if (under_way && str_eq(m->src.status.state, "paused")) /* by its user, meanwhile */
		m->was_running = false;
	if (progress_await(m, "the guest's RAM", timeout_ms, cpus_stopped_or_failed, sample_ram,
			   err) < 0)
		return err->kind == ERR_CLOSED ? not_taken_in(m, err) : -1;
	if (src_failed(m))
		return not_taken_in(m, err);
	/* The guest stands still from here on: no answer is waited for as long as otherwise. */
	qmp_set_answer_timeout(m->dst.qmp, m->opt->timeouts.switchover_ms);
	return see_who_stopped(m, err);
}

static bool src_settled(struct migration *m)
{
	return src_failed(m) || src_status_is(m, "completed");
}

static bool src_runs(struct migration *m)
{
	return m->src.resumed;
}

static int cancel(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct qmp_migration now;

	/* An event that comes right behind the answer is taken in before it, and is newer. */
	m->src.migration_status[0] = '\0';
	if (qmp_migration_query(m->src.qmp, &now, err) < 0)
		return -1;
	if (!m->src.migration_status[0])
		snprintf(m->src.migration_status, sizeof(m->src.migration_status), "%s",
			 now.status);
	if (!qmp_migration_active(m->src.migration_status))
		return 0;
	if (qmp_migrate_cancel(m->src.qmp, err) < 0)
		return -1;
	return side_await(&m->src, "the end of the cancelled migration", timeout_ms, src_settled,
			  err);
}

/* The destination was never told to run (that is step_run, after which nothing is undone),
 * and waits for a `cont` that nobody else sends (step_hold): so the guest may run here again at
 * once, before that QEMU is ended, which takes long when it cannot be reached. QEMU resumes
 * the guest by itself after a cancelled migration, not after a completed one. */
static int take_guest_back(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct qmp_status status;

	m->src.resumed = false;
	if (qmp_status_query(m->src.qmp, &status, err) < 0)
		return -1;
	m->src_postmigrate = !m->was_running && str_eq(status.state, "postmigrate");
	if (status.running || !m->was_running)
		return 0;
	if (qmp_finish(qmp_cont_send(m->src.qmp), err) < 0)
		return -1;
	return side_await(&m->src, "the guest to run on the source again", timeout_ms, src_runs,
			  err);
}

/* On a network that has died silently QEMU stands still, its monitor included, until TCP gives
 * up after a quarter of an hour: it writes the last of RAM, and drains the mirrors, with its
 * big lock held (seen on 7.2). Our descriptors are its sockets: shut down, each write and each
 * request on them fails at once. */
static void hang_up(struct migration *m)
{
	link_hang_up(m);
	if (m->ram_fd >= 0)
		shutdown(m->ram_fd, SHUT_RDWR);
	qmp_set_answer_timeout(m->src.qmp,
			       m->opt->timeouts.answer_ms); /* of one that hangs no more */
}

static int cancel_and_take_back(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (cancel(m, timeout_ms, err) < 0 || see_who_stopped(m, err) < 0)
		return -1;
	return take_guest_back(m, timeout_ms, err);
}

/* Mirrors end best while the guest is stopped: see end_write_blocking(). While it runs they are
 * left to the undo of their own step, when the migration, which could stop it at any moment, is no
 * more (see qmp_mirror_start()). What does not end is said by that, too. */
static void end_mirrors(struct migration *m, int64_t timeout_ms)
{
	struct qmp_status status;
	struct err err;

	if (qmp_status_query(m->src.qmp, &status, &err) < 0 || status.running)
		return;
	if (undo_mirror(m, timeout_ms, &err) == 0 || err.kind != ERR_TIMEOUT)
		return;
	hang_up(m);
	undo_mirror(m, timeout_ms, &err);
}

/* What RAM's own undo has not let run again, it was not begun. */
int undo_stop(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (m->by_hand && m->phase == PHASE_CONFIRM) /* perform itself has, or RAM's undo */
		return 0;
	if (m->undone_for == ERR_TIMEOUT)
		hang_up(m);
	if (take_guest_back(m, timeout_ms, err) == 0)
		return 0;
	m->source_silent = true;
	return -1;
}

int ram_take_back(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int ret = m->migrating ? cancel_and_take_back(m, timeout_ms, err) : 0;

	if (ret < 0 && err->kind == ERR_TIMEOUT) {
		hang_up(m);
		ret = cancel_and_take_back(m, timeout_ms, err);
	}
	if (ret < 0)
		return -1;
	qmp_drop_fd(m->src.qmp, RAM_FD_NAME);
	disconnect_ram(m);
	m->migrating = false;
	qmp_set_answer_timeout(m->dst.qmp, m->opt->timeouts.answer_ms);
	return 0;
}

int undo_ram(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (m->undone_for == ERR_TIMEOUT)
		hang_up(m);
	if (m->migrating)
		end_mirrors(m, timeout_ms);
	return ram_take_back(m, timeout_ms, err);
}

/* By hand the destination is not seen from here; the source says "completed" only after it has
 * taken everything in (return-path). */
static bool completed(struct migration *m)
{
	return src_status_is(m, "completed") &&
	       (m->by_hand || str_eq(m->dst.migration_status, "completed"));
}

static bool completed_or_failed(struct migration *m)
{
	return src_failed(m) || str_eq(m->dst.migration_status, "failed") || completed(m);
}

/* The server ends before its clients hang up: before 9.0 it ends its QEMU when a client hangs up
 * whose disk is in an iothread, as one of a SCSI controller may be ("nbd_blockdev_client_closed:
 * Assertion `qemu_in_main_thread()", seen on 7.2; not on 5.2, 10.0, 11.1). That way round it
 * never does. */
static int stop_nbd_and_continue(struct migration *m, struct err *err)
{
	struct qmp_request *stop = m->nbd_started ? qmp_nbd_stop_send(m->dst.qmp) : NULL;
	bool waits = can_pause(m) && (!m->resumed || src_status_is(m, "pre-switchover"));
	struct qmp_request *resume = waits ? qmp_migrate_continue_send(m->src.qmp) : NULL;

	if (resume && qmp_finish(resume, err) < 0) {
		qmp_forget(stop);
		return -1;
	}
	/* That none is running, by an earlier process' doing, is as good. */
	if (stop && qmp_finish(stop, err) < 0 && !(m->resumed && err->kind == ERR_QMP))
		return -1;
	m->nbd_started = false;
	if (!m->by_hand) /* else finish ends the server, over there */
		link_end(m);
	return 0;
}

/* The NBD server's end and the rest of the guest's state go side by side: the mirrors have
 * ended and flushed, and nothing over there runs before `cont`, which comes after both. */
int step_switchover(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (stop_nbd_and_continue(m, err) < 0 ||
	    migration_await(m, "the end of the migration", timeout_ms, completed_or_failed, err) <
		    0)
		return err->kind == ERR_CLOSED ? not_taken_in(m, err) : -1;
	return completed(m) ? 0 : not_taken_in(m, err);
}
