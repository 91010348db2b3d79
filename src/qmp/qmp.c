/* How it works: the stream's callback reads whatever there is into `in`, cuts it
 * into lines and takes each in: the greeting, an event, or the answer to the
 * oldest request of its id. What cannot be written at once waits in `out`. Waits
 * happen in qmp_open() and qmp_finish() only, through the loop.
 */
#include "qmp/qmp.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "qmp/call.h"

#define REQUESTS_MAX 256
#define SILENCES_MAX 2
#define HANGING_TIMEOUT_MS 1000

struct qmp_request {
	struct qmp *qmp;
	struct qmp_request *next;
	json_int_t id;
	char *command;
	json_t *answer; /* the whole answer, NULL while it is awaited */
	bool abandoned; /* its caller has gone: drop the answer */
	bool oob;       /* executed out of band */
};

struct qmp {
	struct loop *loop;
	struct stream *stream; /* NULL once the connection has ended */
	char *name;
	struct qmp_handlers handlers;
	int64_t answer_timeout_ms;
	unsigned int silent_for; /* answers in a row that were waited for in vain */
	struct buf in, out;
	size_t scanned; /* bytes of `in` known to hold no end of line */
	struct qmp_request *requests;
	size_t request_count;
	json_int_t last_id;
	bool greeted;
	bool oob;         /* commands may be executed out of band (its greeting says so) */
	struct err ended; /* why the connection ended */
};

static void end_connection(struct qmp *qmp, enum err_kind kind, const char *why)
{
	if (!qmp->stream)
		return;
	err_set(&qmp->ended, kind, "%s: %s", qmp->name, why);
	stream_close(qmp->stream);
	qmp->stream = NULL;
}

static void request_free(struct qmp_request *request)
{
	struct qmp_request **p = &request->qmp->requests;

	while (*p != request)
		p = &(*p)->next;
	*p = request->next;
	request->qmp->request_count--;
	json_decref(request->answer);
	free(request->command);
	free(request);
}

static struct qmp_request *request_of(struct qmp *qmp, json_t *message)
{
	json_t *id = json_object_get(message, "id");

	for (struct qmp_request *r = qmp->requests; r; r = r->next)
		if (json_is_integer(id) && json_integer_value(id) == r->id && !r->answer)
			return r;
	return NULL;
}

static void take_answer(struct qmp *qmp, json_t *message)
{
	struct qmp_request *request = request_of(qmp, message);

	if (!request)
		end_connection(qmp, ERR_FAILED, "sent an answer that nobody asked for");
	else if (!json_object_get(message, "return") && !json_object_get(message, "error"))
		end_connection(qmp, ERR_FAILED, "sent an answer without a result");
	else if (request->abandoned)
		request_free(request);
	else
		request->answer = json_incref(message);
}

static void take_event(struct qmp *qmp, json_t *message)
{
	const json_t *data = json_object_get(message, "data");
	struct qmp_event event = {
		.name = qmp_str(message, "event"),
		.job = qmp_str(data, qmp_str(data, "device") ? "device" : "id"),
		.status = qmp_str(data, "status"),
		.error = qmp_str(data, "error"),
		.action = qmp_str(data, "action"),
	};

	if (!event.name)
		end_connection(qmp, ERR_FAILED, "sent an event without a name");
	else if (qmp->handlers.event)
		qmp->handlers.event(qmp->handlers.arg, &event);
}

static void take_greeting(struct qmp *qmp, const json_t *message)
{
	const json_t *list = json_object_get(json_object_get(message, "QMP"), "capabilities");
	const json_t *item;
	size_t i;

	qmp->greeted = true;
	json_array_foreach (list, i, item) {
		if (str_eq(json_string_value(item), "oob"))
			qmp->oob = true;
	}
}

static void take_line(struct qmp *qmp, const char *line, size_t len)
{
	_cleanup_json_ json_t *message = NULL;

	qmp->silent_for = 0;
	if (qmp->handlers.line)
		qmp->handlers.line(qmp->handlers.arg, false, line, len);
	message = json_loadb(line, len, 0, NULL);
	if (!json_is_object(message))
		end_connection(qmp, ERR_FAILED, "sent something that is not QMP");
	else if (json_object_get(message, "QMP"))
		take_greeting(qmp, message);
	else if (!qmp->greeted)
		end_connection(qmp, ERR_FAILED, "does not begin with a QMP greeting");
	else if (json_object_get(message, "event"))
		take_event(qmp, message);
	else
		take_answer(qmp, message);
}

/* Takes in every complete line of `in`. */
static void take_lines(struct qmp *qmp)
{
	size_t start = 0;
	char *end;

	while (qmp->stream &&
	       (end = memchr(qmp->in.data + qmp->scanned, '\n', qmp->in.len - qmp->scanned))) {
		size_t len = (size_t)(end - (qmp->in.data + start));

		qmp->scanned = start + len + 1;
		if (len && end[-1] == '\r')
			len--;
		if (len)
			take_line(qmp, qmp->in.data + start, len);
		start = qmp->scanned;
	}
	if (!qmp->stream)
		return;
	buf_drop(&qmp->in, start);
	qmp->scanned = qmp->in.len;
	if (qmp->in.len > QMP_LINE_MAX)
		end_connection(qmp, ERR_FAILED, "sent a line without end");
}

static void flush_out(struct qmp *qmp)
{
	struct err err;

	while (qmp->stream && qmp->out.len) {
		ssize_t n = stream_write(qmp->stream, qmp->out.data, qmp->out.len, &err);

		if (n < 0) {
			end_connection(qmp, err.kind, err.text);
			return;
		}
		if (n == STREAM_AGAIN)
			break;
		buf_drop(&qmp->out, (size_t)n);
	}
	if (qmp->stream)
		stream_want_write(qmp->stream, qmp->out.len > 0);
}

static void on_ready(void *arg)
{
	struct qmp *qmp = arg;
	struct err err;
	char chunk[16384];
	ssize_t n = 0;

	flush_out(qmp);
	while (qmp->stream && (n = stream_read(qmp->stream, chunk, sizeof(chunk), &err)) > 0) {
		buf_add(&qmp->in, chunk, (size_t)n);
		take_lines(qmp);
	}
	if (n < 0)
		end_connection(qmp, err.kind, err.text);
}

static bool greeted_or_ended(void *arg)
{
	struct qmp *qmp = arg;

	return qmp->greeted || !qmp->stream;
}

static int greet(struct qmp *qmp, int64_t timeout_ms, struct err *err)
{
	if (loop_await(qmp->loop, "the QMP greeting", timeout_ms, greeted_or_ended, qmp, err) < 0) {
		if (err && err->kind == ERR_TIMEOUT)
			return err_set(err, ERR_TIMEOUT,
				       "%s: the monitor sends no QMP greeting: another client "
				       "holds it (a monitor serves one at a time), its QEMU "
				       "hangs, or it is no QMP monitor",
				       qmp->name);
		return err_wrap(err, "%s", qmp->name);
	}
	return qmp_call(qmp, "qmp_capabilities",
			qmp->oob ? json_pack("{s:[s]}", "enable", "oob") : NULL, NULL, err);
}

struct qmp *qmp_open(struct loop *loop, struct stream *stream, const char *name,
		     const struct qmp_handlers *handlers, int64_t greeting_timeout_ms,
		     int64_t answer_timeout_ms, struct err *err)
{
	struct qmp *qmp = mem_zalloc(1, sizeof(*qmp));

	qmp->loop = loop;
	qmp->stream = stream;
	qmp->name = str_dup(name);
	qmp->answer_timeout_ms = answer_timeout_ms;
	if (handlers)
		qmp->handlers = *handlers;
	stream_watch(stream, on_ready, qmp);
	on_ready(qmp);
	if (greet(qmp, greeting_timeout_ms, err) < 0) {
		qmp_close(qmp);
		return NULL;
	}
	return qmp;
}

void qmp_close(struct qmp *qmp)
{
	if (!qmp)
		return;
	while (qmp->requests)
		request_free(qmp->requests);
	stream_close(qmp->stream);
	buf_deinit(&qmp->in);
	buf_deinit(&qmp->out);
	free(qmp->name);
	free(qmp);
}

void qmp_set_answer_timeout(struct qmp *qmp, int64_t timeout_ms)
{
	if (!qmp)
		return;
	qmp->answer_timeout_ms = timeout_ms;
	qmp->silent_for = 0;
}

bool qmp_alive(const struct qmp *qmp)
{
	return qmp && qmp->stream;
}

const char *qmp_name(const struct qmp *qmp)
{
	return qmp->name;
}

static json_t *request_message(struct qmp_request *request, json_t *args)
{
	json_t *message = json_pack("{s:s, s:I}", request->oob ? "exec-oob" : "execute",
				    request->command, "id", request->id);

	if (args)
		json_object_set_new(message, "arguments", args);
	return message;
}

static struct qmp_request *request_new(struct qmp *qmp, const char *command)
{
	struct qmp_request *request = mem_zalloc(1, sizeof(*request));

	request->qmp = qmp;
	request->command = str_dup(command);
	request->id = ++qmp->last_id;
	request->next = qmp->requests;
	qmp->requests = request;
	if (++qmp->request_count > REQUESTS_MAX)
		end_connection(qmp, ERR_FAILED, "leaves too many commands unanswered");
	return request;
}

/* The request as a line, behind what waits in `out`. */
static void queue_line(struct qmp *qmp, struct qmp_request *request, json_t *args)
{
	_cleanup_json_ json_t *message = request_message(request, args);
	_autofree_ char *line = json_dumps(message, JSON_COMPACT);

	if (qmp->handlers.line)
		qmp->handlers.line(qmp->handlers.arg, true, line, strlen(line));
	buf_printf(&qmp->out, "%s\n", line);
}

static struct qmp_request *send_request(struct qmp *qmp, const char *command, json_t *args,
					bool oob)
{
	struct qmp_request *request = request_new(qmp, command);

	request->oob = oob;
	if (!qmp->stream) {
		json_decref(args);
		return request;
	}
	queue_line(qmp, request, args);
	flush_out(qmp);
	return request;
}

struct qmp_request *qmp_send(struct qmp *qmp, const char *command, json_t *args)
{
	return send_request(qmp, command, args, false);
}

struct qmp_request *qmp_send_oob(struct qmp *qmp, const char *command, json_t *args)
{
	return send_request(qmp, command, args, qmp->oob);
}

/* QEMU gives the command whose bytes it reads the descriptor that came with them. */
static int write_with_fd(struct qmp *qmp, int fd, struct err *err)
{
	ssize_t n = stream_write_fd(qmp->stream, qmp->out.data, qmp->out.len, fd, err);

	if (n == STREAM_AGAIN)
		return err_set(err, ERR_FAILED, "%s: the monitor is busy", qmp->name);
	if (n < 0)
		return err_wrap(err, "%s", qmp->name);
	buf_drop(&qmp->out, (size_t)n);
	flush_out(qmp);
	return 0;
}

int qmp_pass_fd(struct qmp *qmp, const char *fd_name, int fd, struct err *err)
{
	struct qmp_request *request;

	flush_out(qmp);
	request = request_new(qmp, "getfd");
	if (qmp->stream && !qmp->out.len) {
		queue_line(qmp, request, json_pack("{s:s}", "fdname", fd_name));
		if (write_with_fd(qmp, fd, err) < 0) {
			request_free(request);
			buf_drop(&qmp->out, qmp->out.len);
			return -1;
		}
	}
	return qmp_finish(request, err);
}

void qmp_drop_fd(struct qmp *qmp, const char *fd_name)
{
	qmp_call(qmp, "closefd", json_pack("{s:s}", "fdname", fd_name), NULL, NULL);
}

static bool answered(void *arg)
{
	const struct qmp_request *request = arg;

	return request->answer || !request->qmp->stream;
}

void qmp_forget(struct qmp_request *request)
{
	if (!request)
		return;
	if (answered(request))
		request_free(request);
	else
		request->abandoned = true; /* the answer, should it come, must find it */
}

/* What a move has to take back is half a dozen commands: a QEMU that hangs is not waited for as
 * long at each of them, lest its user hears of it after minutes only. */
static int64_t patience_ms(const struct qmp *qmp)
{
	return qmp->silent_for < SILENCES_MAX || qmp->answer_timeout_ms < HANGING_TIMEOUT_MS
		       ? qmp->answer_timeout_ms
		       : HANGING_TIMEOUT_MS;
}

static int answer_error(struct qmp_request *request, json_t *error, struct err *err)
{
	const char *text = qmp_str(error, "desc");

	return err_set(err, ERR_QMP, "%s: %s: %s", request->qmp->name, request->command,
		       text ? text : "an error without words");
}

int qmp_take(struct qmp_request *request, json_t **result, struct err *err)
{
	struct qmp *qmp = request->qmp;
	json_t *error;
	int ret = 0;

	if (result)
		*result = NULL;
	loop_shield(qmp->loop, true);
	ret = loop_await(qmp->loop, "its answer", patience_ms(qmp), answered, request, err);
	loop_shield(qmp->loop, false);
	if (ret < 0) {
		qmp->silent_for++;
		err_wrap(err, "%s: %s", qmp->name, request->command);
		qmp_forget(request);
		return -1;
	}
	error = json_object_get(request->answer, "error");
	if (error)
		ret = answer_error(request, error, err);
	else if (!request->answer)
		ret = err_set(err, qmp->ended.kind, "%s", qmp->ended.text);
	else if (result)
		*result = json_incref(json_object_get(request->answer, "return"));
	request_free(request);
	return ret;
}

int qmp_finish(struct qmp_request *request, struct err *err)
{
	return qmp_take(request, NULL, err);
}

int qmp_call(struct qmp *qmp, const char *command, json_t *args, json_t **result, struct err *err)
{
	return qmp_take(qmp_send(qmp, command, args), result, err);
}
