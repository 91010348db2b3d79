/* A connection to a QMP monitor (QEMU's docs/interop/qmp-spec.rst) over any byte
 * stream. What can be said through it is in block.h, drives.h, migration.h, caps.h.
 *
 * Each request is answered exactly once: by QEMU, by a deadline, or by the end of the
 * connection. Several may be under way: a function that ends in _send sends now, and
 * qmp_finish() takes the answer when it is needed.
 */
#ifndef VMFERRY_QMP_QMP_H
#define VMFERRY_QMP_QMP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/stream.h"

struct qmp;
struct qmp_request;

/* The members of an event that vmferry looks at; NULL where it has none. Borrowed. */
struct qmp_event {
	const char *name;
	const char *job;    /* BLOCK_JOB_*: device; JOB_STATUS_CHANGE: id */
	const char *status; /* MIGRATION, JOB_STATUS_CHANGE */
	const char *error;  /* BLOCK_JOB_COMPLETED of a failed job: QEMU's own text */
	const char *action; /* BLOCK_JOB_ERROR: "stop" and others */
};

struct qmp_handlers {
	/* An event came in. Must not wait. */
	void (*event)(void *arg, const struct qmp_event *event);
	/* A line was sent (@out) or received, here without its end; for --verbose. */
	void (*line)(void *arg, bool out, const char *text, size_t len);
	void *arg;
};

/* Takes over @stream (also when it fails), waits @greeting_timeout_ms for the
 * greeting and negotiates. @name stands before every error text. NULL with @err:
 * ERR_TIMEOUT when the greeting never came, as happens while another client holds
 * the monitor. */
struct qmp *qmp_open(struct loop *loop, struct stream *stream, const char *name,
		     const struct qmp_handlers *handlers, int64_t greeting_timeout_ms,
		     int64_t answer_timeout_ms, struct err *err);

/* Requests under way become void, the stream is closed. NULL is accepted. */
void qmp_close(struct qmp *qmp);

/* How long each answer is waited for from now on. NULL is accepted. */
void qmp_set_answer_timeout(struct qmp *qmp, int64_t timeout_ms);

/* False for NULL and once the connection has ended. */
bool qmp_alive(const struct qmp *qmp);

const char *qmp_name(const struct qmp *qmp);

/* Waits for the answer and frees the request. Shielded from signals: a command that
 * was sent is seen through. QEMU's own error is of kind ERR_QMP: "NAME: COMMAND: text". From the
 * third answer in a row on that does not come none is waited for longer than a second. */
int qmp_finish(struct qmp_request *request, struct err *err);

/* Gives QEMU a copy of descriptor @fd under the name @fd_name (getfd), for a later command
 * that takes such a name. Only over a Unix socket of this host. @fd stays the caller's. */
int qmp_pass_fd(struct qmp *qmp, const char *fd_name, int fd, struct err *err);

/* Takes it back if no command has taken it (closefd). */
void qmp_drop_fd(struct qmp *qmp, const char *fd_name);

/* For a request whose answer nobody wants any more. NULL is accepted. */
void qmp_forget(struct qmp_request *request);

#endif
