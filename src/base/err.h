/* Errors as values: a kind the caller may act on, and the words for the user.
 *
 * A function that can fail takes a `struct err *` last and returns 0 or -1. The
 * error is set where it is found and wrapped where more context is known:
 *
 *     return err_wrap(err, "prepare: %s", host);   -> "prepare: hostb: ..."
 *
 * Words are lower-case, without a final dot. Text from a peer is cleaned of
 * control characters here, so that nobody else needs to think of it.
 */
#ifndef VMFERRY_BASE_ERR_H
#define VMFERRY_BASE_ERR_H

#define ERR_TEXT_MAX 1024

enum err_kind {
	ERR_NONE = 0,
	ERR_FAILED,      /* anything without a kind of its own */
	ERR_USAGE,       /* the command line is wrong */
	ERR_REFUSED,     /* refused before anything was changed; by a peer: nobody is there */
	ERR_TIMEOUT,     /* a deadline passed */
	ERR_CLOSED,      /* the peer closed the connection, or its process ended */
	ERR_INTERRUPTED, /* SIGINT, SIGTERM or SIGHUP */
	ERR_QMP,         /* QEMU answered with an error; the text is QEMU's own */
	ERR_HUMAN,       /* the state of a side is not known: a human has to look */
};

struct err {
	enum err_kind kind;
	char text[ERR_TEXT_MAX];
};

/* Sets kind and text. @err may be NULL. Returns -1, for `return err_set(...)`. */
int err_set(struct err *err, enum err_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As err_set with ERR_FAILED, and ": " and strerror(@errnum) behind the text. */
int err_errno(struct err *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "context: " before the text that is there; the kind stays. Returns -1. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
