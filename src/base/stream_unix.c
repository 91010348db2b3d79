#include "base/stream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"

struct unix_stream {
	struct stream stream;
	int fd;
	struct loop_fd *watch;
};

static ssize_t unix_read(struct stream *s, void *data, size_t len, struct err *err)
{
	struct unix_stream *u = (struct unix_stream *)s;
	ssize_t n = recv(u->fd, data, len, 0);

	if (n > 0)
		return n;
	if (n == 0 || errno == ECONNRESET)
		return err_set(err, ERR_CLOSED, "the connection was closed");
	if (errno == EAGAIN || errno == EINTR)
		return STREAM_AGAIN;
	return err_errno(err, errno, "read");
}

static ssize_t unix_write(struct stream *s, const void *data, size_t len, struct err *err)
{
	struct unix_stream *u = (struct unix_stream *)s;
	ssize_t n = send(u->fd, data, len, MSG_NOSIGNAL);

	if (n > 0)
		return n;
	if (n == 0 || errno == EAGAIN || errno == EINTR)
		return STREAM_AGAIN;
	if (errno == EPIPE || errno == ECONNRESET)
		return err_set(err, ERR_CLOSED, "the connection was closed");
	return err_errno(err, errno, "write");
}

static ssize_t unix_write_fd(struct stream *s, const void *data, size_t len, int fd,
			     struct err *err)
{
	struct unix_stream *u = (struct unix_stream *)s;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	ssize_t n;

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	n = sendmsg(u->fd, &msg, MSG_NOSIGNAL);
	if (n > 0)
		return n;
	if (n == 0 || errno == EAGAIN || errno == EINTR)
		return STREAM_AGAIN;
	return err_errno(err, errno, "pass a descriptor");
}

static void unix_want_write(struct stream *s, bool on)
{
	struct unix_stream *u = (struct unix_stream *)s;

	loop_fd_events(u->watch, on ? POLLIN | POLLOUT : POLLIN);
}

static void unix_close(struct stream *s)
{
	struct unix_stream *u = (struct unix_stream *)s;

	loop_fd_del(u->watch);
	close(u->fd);
	free(u);
}

static const struct stream_ops unix_ops = {
	.read = unix_read,
	.write = unix_write,
	.want_write = unix_want_write,
	.write_fd = unix_write_fd,
	.close = unix_close,
};

static void on_ready(void *arg, short revents)
{
	struct unix_stream *u = arg;

	(void)revents;
	if (u->stream.ready)
		u->stream.ready(u->stream.arg);
}

static int connect_error(int errnum, const char *path, struct err *err)
{
	err_errno(err, errnum, "%s", path);
	if (err && (errnum == ENOENT || errnum == ECONNREFUSED))
		err->kind = ERR_REFUSED;
	return -1;
}

/* A non-blocking connect(2) to a Unix socket answers EAGAIN while the listener's
 * backlog is full, and no poll(2) tells when it is not: try again, bounded. */
static int connect_until(struct loop *loop, int fd, const struct sockaddr_un *addr,
			 int64_t until_ms, struct err *err)
{
	while (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return connect_error(errno, addr->sun_path, err);
		if (loop_now_ms() >= until_ms)
			return err_set(err, ERR_TIMEOUT,
				       "%s: who listens there takes no connection", addr->sun_path);
		if (!loop_rest(loop, 20))
			return err_set(err, ERR_INTERRUPTED, "interrupted");
	}
	return 0;
}

struct stream *stream_socket(struct loop *loop, int fd)
{
	struct unix_stream *u = mem_zalloc(1, sizeof(*u));

	u->stream.ops = &unix_ops;
	u->fd = fd;
	u->watch = loop_fd_add(loop, fd, POLLIN, on_ready, u);
	return &u->stream;
}

struct stream *stream_unix(struct loop *loop, const char *path, int64_t timeout_ms, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		err_set(err, ERR_FAILED, "%s: longer than the %zu bytes of a Unix socket's path",
			path, sizeof(addr.sun_path) - 1);
		return NULL;
	}
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		err_errno(err, errno, "socket");
		return NULL;
	}
	if (connect_until(loop, fd, &addr, loop_now_ms() + timeout_ms, err) < 0) {
		close(fd);
		return NULL;
	}
	return stream_socket(loop, fd);
}

pid_t stream_unix_peer(const struct stream *unix_stream)
{
	const struct unix_stream *u = (const struct unix_stream *)unix_stream;
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(u->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ? 0 : peer.pid;
}
