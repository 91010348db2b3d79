/* A socket pair, and two buffers of which each holds no more than one chunk: who does not read is
 * not written to. */
#include "ssh/bridge.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"

#define CHUNK_BYTES 32768

struct bridge {
	struct stream *stream;
	int fd; /* our end; -1: it is over */
	struct loop_fd *watch;
	struct buf to_fd, to_stream;
	char reason[256];
};

static void end(struct bridge *b, const char *reason)
{
	snprintf(b->reason, sizeof(b->reason), "%s", reason);
	loop_fd_del(b->watch);
	b->watch = NULL;
	close(b->fd);
	b->fd = -1;
	stream_want_write(b->stream, false);
}

/* Each moves something and says whether it did. */
static bool read_stream(struct bridge *b)
{
	char chunk[CHUNK_BYTES];
	struct err err;
	ssize_t n;

	if (b->fd < 0 || b->to_fd.len)
		return false;
	n = stream_read(b->stream, chunk, sizeof(chunk), &err);
	if (n > 0)
		buf_add(&b->to_fd, chunk, (size_t)n);
	else if (n < 0)
		end(b, err.text);
	return n > 0;
}

static bool write_fd(struct bridge *b)
{
	ssize_t n;

	if (b->fd < 0 || !b->to_fd.len)
		return false;
	n = send(b->fd, b->to_fd.data, b->to_fd.len, MSG_NOSIGNAL);
	if (n > 0)
		buf_drop(&b->to_fd, (size_t)n);
	else if (errno != EAGAIN && errno != EINTR)
		end(b, "closed");
	return n > 0;
}

static bool read_fd(struct bridge *b)
{
	char chunk[CHUNK_BYTES];
	ssize_t n;

	if (b->fd < 0 || b->to_stream.len)
		return false;
	n = recv(b->fd, chunk, sizeof(chunk), 0);
	if (n > 0)
		buf_add(&b->to_stream, chunk, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		end(b, "closed");
	return n > 0;
}

static bool write_stream(struct bridge *b)
{
	struct err err;
	ssize_t n;

	if (b->fd < 0 || !b->to_stream.len)
		return false;
	n = stream_write(b->stream, b->to_stream.data, b->to_stream.len, &err);
	if (n > 0)
		buf_drop(&b->to_stream, (size_t)n);
	else if (n < 0)
		end(b, err.text);
	return n > 0;
}

static void carry(void *arg)
{
	struct bridge *b = arg;

	while (read_stream(b) + write_fd(b) + read_fd(b) + write_stream(b) > 0)
		;
	if (b->fd < 0)
		return;
	loop_fd_events(b->watch,
		       (short)((b->to_stream.len ? 0 : POLLIN) | (b->to_fd.len ? POLLOUT : 0)));
	stream_want_write(b->stream, b->to_stream.len > 0);
}

static void on_fd(void *arg, short revents)
{
	(void)revents;
	carry(arg);
}

struct bridge *bridge_new(struct loop *loop, struct stream *stream, int *fd, struct err *err)
{
	struct bridge *b;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) {
		stream_close(stream);
		err_errno(err, errno, "socketpair");
		return NULL;
	}
	b = mem_zalloc(1, sizeof(*b));
	b->stream = stream;
	b->fd = ends[0];
	*fd = ends[1];
	b->watch = loop_fd_add(loop, b->fd, POLLIN, on_fd, b);
	stream_watch(stream, carry, b);
	return b;
}

const char *bridge_reason(const struct bridge *b)
{
	return *b->reason ? b->reason : NULL;
}

void bridge_free(struct bridge *b)
{
	if (!b)
		return;
	if (b->fd >= 0)
		end(b, "closed");
	stream_close(b->stream);
	buf_deinit(&b->to_fd);
	buf_deinit(&b->to_stream);
	free(b);
}
