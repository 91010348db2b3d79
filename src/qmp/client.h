/* A QMP client over a byte stream (QEMU's docs/interop/qmp-spec.rst).
 *
 * Commands may be under way side by side: qmp_send() now, qmp_finish() when the
 * answer is needed. Events go to one callback as they come in. Each request is
 * answered exactly once: by QEMU, by a deadline, or by the end of the connection.
 *
 * The peer is hostile: a line, the number of unanswered requests and what jansson
 * takes in depth are bounded; an answer that nobody asked for ends the connection.
 */
#ifndef VMFERRY_QMP_CLIENT_H
#define VMFERRY_QMP_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/stream.h"

/* The longest line taken from a QEMU. The largest answer there is, that of
 * query-qmp-schema, has 168 KiB (5.2) to 260 KiB (11.1). */
#define QMP_LINE_MAX (8u << 20)

struct qmp;
struct qmp_request;

struct qmp_handlers {
	/* An event; @data is borrowed and may be NULL. Must not wait. */
	void (*event)(void *arg, const char *name, json_t *data);
	/* A line sent (@out) or received, without its end; for --verbose. */
	void (*line)(void *arg, bool out, const char *text, size_t len);
	void *arg;
};

/* Takes over @stream (also when it fails), waits @greeting_timeout_ms for the
 * greeting and negotiates. @name stands before every error text and stays the
 * caller's. NULL with @err: ERR_TIMEOUT when the greeting never came, as it does
 * while another client holds the monitor. */
struct qmp *qmp_open(struct loop *loop, struct stream *stream, const char *name,
		     const struct qmp_handlers *handlers, int64_t greeting_timeout_ms,
		     int64_t answer_timeout_ms, struct err *err);

/* Requests under way become void, the stream is closed. NULL is accepted. */
void qmp_close(struct qmp *qmp);

/* False once the connection has ended; qmp_finish() then says why. */
bool qmp_alive(const struct qmp *qmp);

const char *qmp_name(const struct qmp *qmp);

/* Sends a command; takes over @args (NULL: none). The request ends with
 * qmp_finish(), which every one needs. */
struct qmp_request *qmp_send(struct qmp *qmp, const char *command, json_t *args);

/* Waits for the answer, shielded from signals: a command that was sent is seen
 * through. *@result (if @result is not NULL) is the caller's to json_decref.
 * QEMU's own error is of kind ERR_QMP: "source: COMMAND: text". */
int qmp_finish(struct qmp_request *request, json_t **result, struct err *err);

/* qmp_send and qmp_finish. */
int qmp_call(struct qmp *qmp, const char *command, json_t *args, json_t **result, struct err *err);

/* True when the answer is there, so that qmp_finish() will not wait. */
bool qmp_answered(const struct qmp_request *request);

/* jansson has json_decrefp() for this since 2.9. */
#define _cleanup_json_ __attribute__((cleanup(json_decrefp)))

#endif
