#include "base/tcp.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct probe {
	bool done;
};

static void on_writable(void *arg, short revents)
{
	(void)revents;
	((struct probe *)arg)->done = true;
}

static bool is_done(void *arg)
{
	return ((struct probe *)arg)->done;
}

/* Waits until the connect(2) under way on @fd has ended, and how. */
static int await_connect(struct loop *loop, int fd, const char *what, int64_t timeout_ms,
			 struct err *err)
{
	struct probe probe = {0};
	struct loop_fd *watch = loop_fd_add(loop, fd, POLLOUT, on_writable, &probe);
	int ret = loop_await(loop, what, timeout_ms, is_done, &probe, err);
	int errnum = 0;
	socklen_t len = sizeof(errnum);

	loop_fd_del(watch);
	if (ret < 0)
		return -1;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &len);
	return errnum ? err_errno(err, errnum, "%s", what) : 0;
}

int tcp_probe(struct loop *loop, const char *address, int port, int64_t timeout_ms, struct err *err)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				 .ai_socktype = SOCK_STREAM};
	struct addrinfo *ai;
	char service[16], what[128];
	int fd, ret;

	snprintf(service, sizeof(service), "%d", port);
	snprintf(what, sizeof(what), "a connection to %s port %d", address, port);
	ret = getaddrinfo(address, service, &hints, &ai);
	if (ret)
		return err_set(err, ERR_FAILED, "%s: %s", address, gai_strerror(ret));
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		ret = err_errno(err, errno, "socket");
	else if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0 && errno != EINPROGRESS)
		ret = err_errno(err, errno, "%s", what);
	else
		ret = await_connect(loop, fd, what, timeout_ms, err);
	if (fd >= 0)
		close(fd);
	freeaddrinfo(ai);
	return ret;
}
