/* A byte stream whose other end may be a Unix socket of this host or one that
 * SSH reaches: who reads and writes it (a QMP client) never learns which.
 *
 * Never blocks. The user sets a callback for "something may be read or written
 * now" and then reads until STREAM_AGAIN.
 */
#ifndef VMFERRY_BASE_STREAM_H
#define VMFERRY_BASE_STREAM_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"

/* Result of read and write when nothing can be done now. */
#define STREAM_AGAIN 0

struct stream;

struct stream_ops {
	ssize_t (*read)(struct stream *s, void *data, size_t len, struct err *err);
	ssize_t (*write)(struct stream *s, const void *data, size_t len, struct err *err);
	void (*want_write)(struct stream *s, bool on);
	ssize_t (*write_fd)(struct stream *s, const void *data, size_t len, int fd,
			    struct err *err); /* NULL: cannot */
	void (*close)(struct stream *s);
};

/* The first member of every implementation. */
struct stream {
	const struct stream_ops *ops;
	void (*ready)(void *arg);
	void *arg;
};

/* Bytes read (> 0), STREAM_AGAIN, or -1 with @err; the end of the stream is an
 * error of kind ERR_CLOSED. */
static inline ssize_t stream_read(struct stream *s, void *data, size_t len, struct err *err)
{
	return s->ops->read(s, data, len, err);
}

/* Bytes taken (> 0, maybe fewer than @len), STREAM_AGAIN, or -1 with @err. */
static inline ssize_t stream_write(struct stream *s, const void *data, size_t len, struct err *err)
{
	return s->ops->write(s, data, len, err);
}

/* As stream_write(), and @fd goes along with the first byte (SCM_RIGHTS, unix(7)); an error
 * on a stream that cannot carry descriptors. The caller keeps @fd. */
static inline ssize_t stream_write_fd(struct stream *s, const void *data, size_t len, int fd,
				      struct err *err)
{
	if (!s->ops->write_fd)
		return err_set(err, ERR_FAILED, "no descriptor can be passed this way");
	return s->ops->write_fd(s, data, len, fd, err);
}

/* @ready(@arg) is called from the loop when the stream may be read or written;
 * never after stream_close(). It may be called for nothing. */
static inline void stream_watch(struct stream *s, void (*ready)(void *arg), void *arg)
{
	s->ready = ready;
	s->arg = arg;
}

/* Whether the callback is wanted when the stream can be written, too. */
static inline void stream_want_write(struct stream *s, bool on)
{
	s->ops->want_write(s, on);
}

/* Closes and frees; NULL is accepted. */
static inline void stream_close(struct stream *s)
{
	if (s)
		s->ops->close(s);
}

/* Connects to a Unix socket of this host (unix(7)). NULL with @err: ERR_REFUSED when
 * nothing listens there; else the path is too long, or @timeout_ms passed with the
 * listener's backlog full. */
struct stream *stream_unix(struct loop *loop, const char *path, int64_t timeout_ms,
			   struct err *err);

/* Takes over @fd, a connected, non-blocking Unix stream socket. */
struct stream *stream_socket(struct loop *loop, int fd);

/* The process that listens on the socket that @unix_stream, one of stream_unix(), is
 * connected to (SO_PEERCRED); 0 when the kernel does not tell. */
pid_t stream_unix_peer(const struct stream *unix_stream);

#endif
