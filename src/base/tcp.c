#include "base/tcp.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct talking {
	const struct tcp_talk *talk;
	int fd;
	struct loop_fd *watch;
	bool connected, closed;
	size_t got; /* of the hello */
	int errnum; /* of the first thing that failed */
};

static void see_connected(struct talking *t)
{
	socklen_t len = sizeof(t->errnum);

	getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &t->errnum, &len);
	t->connected = true;
	loop_fd_events(t->watch, POLLIN);
}

/* The hello, then one answer to the goodbye after the other until the end. */
static void take(struct talking *t)
{
	char rest[256];
	char *into = t->got < t->talk->hello_len ? (char *)t->talk->hello + t->got : rest;
	size_t room = t->got < t->talk->hello_len ? t->talk->hello_len - t->got : sizeof(rest);
	ssize_t n = recv(t->fd, into, room, 0);

	if (n > 0 && into != rest)
		t->got += (size_t)n;
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		t->errnum = errno;
	t->closed = n == 0;
	if (n > 0 && into != rest && t->got == t->talk->hello_len &&
	    send(t->fd, t->talk->goodbye, t->talk->goodbye_len, MSG_NOSIGNAL) < 0)
		t->errnum = errno;
}

static void on_ready(void *arg, short revents)
{
	struct talking *t = arg;

	(void)revents;
	if (!t->connected)
		see_connected(t);
	else
		take(t);
}

static bool is_over(void *arg)
{
	struct talking *t = arg;

	return t->errnum || t->closed;
}

static int await_end(struct loop *loop, struct talking *t, const char *what, int64_t timeout_ms,
		     struct err *err)
{
	int ret;

	t->watch = loop_fd_add(loop, t->fd, POLLOUT, on_ready, t);
	ret = loop_await(loop, what, timeout_ms, is_over, t, err);
	loop_fd_del(t->watch);
	if (ret < 0)
		return -1;
	if (t->got < t->talk->hello_len)
		return err_errno(err, t->errnum ? t->errnum : EPIPE, "%s", what);
	return 0;
}

int tcp_talk(struct loop *loop, const struct tcp_talk *talk, int64_t timeout_ms, struct err *err)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				 .ai_socktype = SOCK_STREAM};
	struct talking t = {.talk = talk};
	struct addrinfo *ai;
	char service[16], what[128];
	int ret;

	snprintf(service, sizeof(service), "%d", talk->port);
	snprintf(what, sizeof(what), "an answer from %s port %d", talk->address, talk->port);
	ret = getaddrinfo(talk->address, service, &hints, &ai);
	if (ret)
		return err_set(err, ERR_FAILED, "%s: %s", talk->address, gai_strerror(ret));
	t.fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (t.fd < 0)
		ret = err_errno(err, errno, "socket");
	else if (connect(t.fd, ai->ai_addr, ai->ai_addrlen) < 0 && errno != EINPROGRESS)
		ret = err_errno(err, errno, "%s", what);
	else
		ret = await_end(loop, &t, what, timeout_ms, err);
	if (t.fd >= 0)
		close(t.fd);
	freeaddrinfo(ai);
	return ret;
}
