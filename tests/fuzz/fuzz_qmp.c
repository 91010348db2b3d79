/* Whatever a monitor says - greeting, answers, events - a question gets an answer or an error with
 * words.
 *
 * Of the input, the first byte chooses the question, the second how many bytes come at a time
 * (0: all there are); the rest is what the monitor says, to its end. Ids of commands begin at 1,
 * and 1 is qmp_capabilities.
 */
#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/str.h"
#include "fuzz.h"
#include "qmp/block.h"
#include "qmp/caps.h"
#include "qmp/drives.h"
#include "qmp/machine.h"
#include "qmp/migration.h"
#include "qmp/tree.h"

/* Never reached: the stream ends before. */
#define PATIENCE_MS 60000

struct monitor {
	struct stream stream;
	const uint8_t *data;
	size_t len, piece;
	bool pause; /* between two pieces */
};

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	abort();
}

static ssize_t monitor_read(struct stream *s, void *data, size_t len, struct err *err)
{
	struct monitor *m = (struct monitor *)s;
	size_t n = m->piece && m->piece < m->len ? m->piece : m->len;

	if (m->pause) {
		m->pause = false;
		return STREAM_AGAIN;
	}
	if (!m->len)
		return err_set(err, ERR_CLOSED, "the monitor has ended");
	n = n < len ? n : len;
	memcpy(data, m->data, n);
	m->data += n;
	m->len -= n;
	m->pause = true;
	return (ssize_t)n;
}

static ssize_t monitor_write(struct stream *s, const void *data, size_t len, struct err *err)
{
	(void)s;
	(void)data;
	(void)err;
	return (ssize_t)len;
}

static void monitor_want_write(struct stream *s, bool on)
{
	(void)s;
	(void)on;
}

static void monitor_close(struct stream *s)
{
	s->ready = NULL;
}

static const struct stream_ops monitor_ops = {
	.read = monitor_read,
	.write = monitor_write,
	.want_write = monitor_want_write,
	.close = monitor_close,
};

/* There is always something to read, or the end. */
static void on_turn(void *arg, short revents)
{
	struct monitor *m = arg;

	(void)revents;
	if (m->stream.ready)
		m->stream.ready(m->stream.arg);
}

static void check_text(const char *what, const char *text, size_t size)
{
	if (!memchr(text, '\0', size))
		fail(what, "without an end");
	for (; *text; text++)
		if (iscntrl((unsigned char)*text))
			fail(what, "with a control character");
}

static void on_event(void *arg, const struct qmp_event *event)
{
	(void)arg;
	if (!event->name)
		fail("an event", "without a name");
}

static void on_line(void *arg, bool out, const char *text, size_t len)
{
	(void)arg;
	(void)out;
	if (!len || memchr(text, '\n', len))
		fail("a line", "that is none");
}

static int ask_status(struct qmp *qmp, struct err *err)
{
	struct qmp_request *stop = qmp_nbd_stop_send(qmp);
	struct qmp_request *first = qmp_status_send(qmp), *second = qmp_status_send(qmp);
	struct qmp_status status;
	int ret;

	qmp_forget(stop);
	qmp_finish(second, err);
	ret = qmp_status_take(first, &status, err);
	if (ret == 0)
		check_text("a run state", status.state, sizeof(status.state));
	return ret;
}

static int ask_caps(struct qmp *qmp, struct err *err)
{
	struct qmp_caps caps;

	return qmp_caps_query(qmp, &caps, err);
}

static int ask_machine(struct qmp *qmp, struct err *err)
{
	static struct qmp_machine machine;

	if (qmp_machine_query(qmp, &machine, err) < 0)
		return -1;
	check_text("a type", machine.type, sizeof(machine.type));
	return 0;
}

static int ask_drives(struct qmp *qmp, struct err *err)
{
	struct qmp_drives drives;
	int ret = qmp_drives_query(qmp, &drives, err);

	for (size_t i = 0; i < drives.count; i++)
		if (!*qmp_drive_name(&drives.list[i]))
			fail("a drive", "without a name");
	qmp_drives_deinit(&drives);
	return ret;
}

static int ask_tree(struct qmp *qmp, struct err *err)
{
	struct qmp_tree tree;
	int ret = qmp_tree_query(qmp, &tree, err);

	for (size_t i = 0; i < tree.count; i++)
		if (tree.list[i].parent != QMP_NO_PARENT && tree.list[i].parent >= tree.count)
			fail("a device", "on a bus of nobody");
	qmp_tree_deinit(&tree);
	return ret;
}

static int ask_jobs(struct qmp *qmp, struct err *err)
{
	static const char *const ids[] = {"vmferry-0", "vmferry-1"};
	struct qmp_job jobs[2];
	char *any = NULL;
	int ret = qmp_jobs_query(qmp, ids, jobs, 2, err);

	for (int i = 0; ret == 0 && i < 2; i++)
		check_text("a job's error", jobs[i].error, sizeof(jobs[i].error));
	if (ret == 0)
		ret = qmp_any_job(qmp, &any, err);
	free(any);
	return ret;
}

static int ask_migration(struct qmp *qmp, struct err *err)
{
	struct qmp_migration now;

	if (qmp_migration_query(qmp, &now, err) < 0)
		return -1;
	check_text("a status", now.status, sizeof(now.status));
	check_text("an error", now.error, sizeof(now.error));
	check_text("a reason", now.blocked, sizeof(now.blocked));
	return 0;
}

static int ask_settings(struct qmp *qmp, struct err *err)
{
	struct qmp_parameters parameters;
	char *names = NULL;
	bool on;
	int ret = qmp_capability_get(qmp, "events", &on, err);

	if (ret == 0)
		ret = qmp_capabilities_on(qmp, &names, err);
	if (ret == 0)
		ret = qmp_parameters_get(qmp, &parameters, err);
	free(names);
	return ret;
}

static int ask_identity(struct qmp *qmp, struct err *err)
{
	struct qmp_identity identity;

	if (qmp_identity_query(qmp, &identity, err) < 0)
		return -1;
	check_text("a name", identity.name, sizeof(identity.name));
	check_text("a uuid", identity.uuid, sizeof(identity.uuid));
	return 0;
}

static int ask_what_is_there(struct qmp *qmp, struct err *err)
{
	struct qmp_caps caps = {.can = {[QMP_QUERY_EXPORTS] = true}};
	size_t count;
	bool there;

	if (qmp_node_exists(qmp, "vmferry-0", &there, err) < 0 ||
	    qmp_note_find(qmp, "vmferry", &there, err) < 0 ||
	    qmp_export_count(qmp, &caps, &count, err) < 0)
		return -1;
	return qmp_quit(qmp, err);
}

static int (*const questions[])(struct qmp *qmp, struct err *err) = {
	ask_status, ask_caps,      ask_machine,  ask_drives,   ask_tree,
	ask_jobs,   ask_migration, ask_settings, ask_identity, ask_what_is_there,
};

static void check_error(const struct err *err)
{
	if (err->kind == ERR_NONE || !err->text[0])
		fail("an error", "without words");
	if (err->kind == ERR_TIMEOUT)
		fail("timed out", err->text);
	check_text("an error", err->text, sizeof(err->text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct qmp_handlers handlers = {.event = on_event, .line = on_line};
	static struct loop *loop;
	static int turn_fd;
	struct monitor monitor = {.stream.ops = &monitor_ops};
	struct err err = {0};
	struct loop_fd *turn;
	struct qmp *qmp;

	if (size < 2)
		return 0;
	if (!loop) {
		loop = loop_new(NULL);
		turn_fd = eventfd(1, EFD_CLOEXEC);
	}
	monitor.piece = data[1];
	monitor.data = data + 2;
	monitor.len = size - 2;
	turn = loop_fd_add(loop, turn_fd, POLLIN, on_turn, &monitor);
	qmp = qmp_open(loop, &monitor.stream, "hostb", &handlers, PATIENCE_MS, PATIENCE_MS, &err);
	if (!qmp || questions[data[0] % (sizeof(questions) / sizeof(questions[0]))](qmp, &err) < 0)
		check_error(&err);
	qmp_close(qmp);
	loop_fd_del(turn);
	return 0;
}
