/* The two QEMUs as event sources: what they tell is noted here as it comes in, and
 * waited for by migration_await() alone.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "migrate/link.h"
#include "migrate/migration.h"
#include "migrate/reopen.h"
#include "migrate/tunnel.h"

static void on_migration_event(struct side *side, const struct qmp_event *event)
{
	if (event->status)
		snprintf(side->migration_status, sizeof(side->migration_status), "%s",
			 event->status);
}

/* Who stopped the source's CPUs, the migration or a user? Its run state tells, if it is
 * asked at once: "paused" was a user. */
static void on_stop_event(struct side *side, const struct qmp_event *event)
{
	struct migration *m = side->m;

	(void)event;
	side->stopped = true;
	side->resumed = false;
	if (side != &m->src || !side->qmp) /* NULL while it is being opened */
		return;
	m->stopped_ms = loop_now_ms();
	qmp_forget(m->stop_status);
	m->stop_status = qmp_status_send(side->qmp);
}

static void on_resume_event(struct side *side, const struct qmp_event *event)
{
	(void)event;
	side->resumed = true;
	side->m->resumed_ms = loop_now_ms();
}

static void on_job_ready(struct side *side, const struct qmp_event *event)
{
	struct disk *disk = disks_of_job(&side->m->disks, event->job);

	if (disk)
		disk->ready = true;
}

static void on_job_end(struct side *side, const struct qmp_event *event)
{
	struct disk *disk = disks_of_job(&side->m->disks, event->job);

	if (!disk)
		return;
	disk->ended = true;
	if (event->error)
		snprintf(disk->error, sizeof(disk->error), "%s", event->error);
	else if (str_eq(event->name, "BLOCK_JOB_CANCELLED") || !side->m->detaching)
		snprintf(disk->error, sizeof(disk->error), "somebody ended its job");
}

static void on_job_error(struct side *side, const struct qmp_event *event)
{
	struct disk *disk = disks_of_job(&side->m->disks, event->job);

	if (disk && str_eq(event->action, "stop"))
		disk->stopped = true;
}

static void on_job_status(struct side *side, const struct qmp_event *event)
{
	struct disk *disk = disks_of_job(&side->m->disks, event->job);

	if (disk && str_eq(event->status, "concluded"))
		disk->concluded = true;
}

static void on_event(void *arg, const struct qmp_event *event)
{
	static const struct {
		const char *name;
		void (*handle)(struct side *side, const struct qmp_event *event);
	} handlers[] = {
		{"MIGRATION", on_migration_event},    {"STOP", on_stop_event},
		{"RESUME", on_resume_event},          {"BLOCK_JOB_READY", on_job_ready},
		{"BLOCK_JOB_COMPLETED", on_job_end},  {"BLOCK_JOB_CANCELLED", on_job_end},
		{"JOB_STATUS_CHANGE", on_job_status}, {"BLOCK_JOB_ERROR", on_job_error},
	};

	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
		if (str_eq(event->name, handlers[i].name))
			handlers[i].handle(arg, event);
}

static void on_line(void *arg, bool out, const char *text, size_t len)
{
	struct side *side = arg;

	side->m->report->line(side->m->report->arg, side->name, out, text, len);
}

static int side_open(struct migration *m, struct side *side, struct stream *stream, struct err *err)
{
	struct qmp_handlers handlers = {
		.event = on_event,
		.line = m->report->line ? on_line : NULL,
		.arg = side,
	};

	side->m = m;
	side->qmp = qmp_open(m->loop, stream, side->name, &handlers, m->opt->timeouts.connect_ms,
			     m->opt->timeouts.answer_ms, err);
	return side->qmp ? 0 : -1;
}

int side_open_src(struct migration *m, struct err *err)
{
	struct stream *stream =
		stream_unix(m->loop, m->opt->source, m->opt->timeouts.connect_ms, err);

	if (!stream)
		return err_wrap(err, "source");
	m->src_pid = stream_unix_peer(stream);
	return side_open(m, &m->src, stream, err);
}

int side_open_dst(struct migration *m, struct err *err)
{
	struct stream *stream = host_unix_stream(m->host, m->opt->dst.socket, err);

	if (!stream)
		return m->opt->dst.host ? -1 : err_wrap(err, "%s", m->dst.name);
	if (m->by_hand)
		m->dst_pid = stream_unix_peer(stream);
	return side_open(m, &m->dst, stream, err);
}

int mirror_failed(const struct migration *m, const struct disk *disk, const char *why,
		  struct err *err)
{
	return err_set(err, ERR_FAILED, "disk %s: its mirror to %s failed: %s", disk->name,
		       m->dst.name, why);
}

/* Such a one goes on as soon as its connection is back. */
static bool may_go_on(const struct migration *m)
{
	return m->retrying || m->link.returns;
}

/* What ends every wait: true with @err set. */
static bool has_failed(struct migration *m, struct err *err)
{
	if (!m->link.returns && tunnel_has_failed(m, err))
		return true;
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (disk->ended && disk->error[0]) {
			mirror_failed(m, disk, disk->error, err);
			return true;
		}
		if (disk->stopped && !may_go_on(m)) {
			mirror_failed(m, disk, "an error has stopped it", err);
			return true;
		}
	}
	if (link_has_failed(m, err))
		return true;
	if (m->detaching && m->src.resumed) {
		err_set(err, ERR_FAILED,
			"source: somebody has let the guest run on in the middle of "
			"the switchover");
		return true;
	}
	if (m->src.qmp && !qmp_alive(m->src.qmp)) {
		err_set(err, ERR_CLOSED, "source: its QEMU closed the connection");
		return true;
	}
	if (m->dst.qmp && !qmp_alive(m->dst.qmp)) {
		err_set(err, ERR_CLOSED, "%s: the connection to its QEMU was lost", m->dst.name);
		return true;
	}
	return false;
}

/* No event tells which error has stopped a mirror. */
static void ask_what_stopped(struct migration *m, struct err *err)
{
	for (size_t i = 0; !may_go_on(m) && i < m->disks.count; i++) {
		const struct disk *disk = &m->disks.list[i];
		const char *id = disk->job;
		struct qmp_job job;
		struct err ignored;

		if (!disk->stopped || qmp_jobs_query(m->src.qmp, &id, &job, 1, &ignored) < 0 ||
		    !job.error[0])
			continue;
		mirror_failed(m, disk, job.error, err);
		return;
	}
}

int migration_check_alive(struct migration *m, struct err *err)
{
	if (!has_failed(m, err))
		return 0;
	ask_what_stopped(m, err);
	return -1;
}

struct waiting {
	struct migration *m;
	struct side *only; /* whose connection counts; NULL: everything does */
	bool (*done)(struct migration *m);
	struct err *err;
	bool failed;
};

static bool done_or_failed(void *arg)
{
	struct waiting *w = arg;

	if (!w->only && has_failed(w->m, w->err)) {
		w->failed = true; /* also when it is done: by a mirror's failure, say */
		return true;
	}
	if (w->done(w->m))
		return true;
	if (w->only && !qmp_alive(w->only->qmp))
		w->failed = err_set(w->err, ERR_CLOSED, "%s: the connection to its QEMU was lost",
				    w->only->name);
	return w->failed;
}

static int await(struct waiting *w, const char *what, int64_t timeout_ms)
{
	if (loop_await(w->m->loop, what, timeout_ms, done_or_failed, w, w->err) < 0)
		return -1;
	return w->failed ? -1 : 0;
}

int migration_await(struct migration *m, const char *what, int64_t timeout_ms,
		    bool (*done)(struct migration *m), struct err *err)
{
	int64_t until_ms = loop_now_ms() + timeout_ms;
	int ret;

	do {
		struct waiting w = {.m = m, .done = done, .err = err};

		ret = await(&w, what, until_ms - loop_now_ms());
	} while (ret < 0 && reopen_may_help(m) && (ret = reopen_destination(m, err)) == 0);
	if (ret < 0 && err->kind == ERR_FAILED)
		ask_what_stopped(m, err);
	return ret;
}

static bool never(struct migration *m)
{
	(void)m;
	return false;
}

int migration_rest(struct migration *m, int64_t ms, struct err *err)
{
	return migration_await(m, "the next look", ms, never, err) < 0 && err->kind != ERR_TIMEOUT
		       ? -1
		       : 0;
}

int side_await(struct side *side, const char *what, int64_t timeout_ms,
	       bool (*done)(struct migration *m), struct err *err)
{
	struct waiting w = {.m = side->m, .only = side, .done = done, .err = err};

	return await(&w, what, timeout_ms);
}

void migration_note(struct migration *m, const char *fmt, ...)
{
	va_list ap;
	char text[2048];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	str_sanitize(text);
	m->report->note(m->report->arg, text);
}
