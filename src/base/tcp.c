#include "base/tcp.h"

#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

static void on_writable(void *arg, short revents)
{
	(void)revents;
	*(bool *)arg = true;
}

static bool is_true(void *arg)
{
	return *(bool *)arg;
}

/* Waits until the connect(2) under way on @fd has ended, and how. */
static int await_connect(struct loop *loop, int fd, const char *what, int64_t timeout_ms,
			 struct err *err)
{
	bool done = false;
	struct loop_fd *watch = loop_fd_add(loop, fd, POLLOUT, on_writable, &done);
	int ret = loop_await(loop, what, timeout_ms, is_true, &done, err);
	int errnum = 0;
	socklen_t len = sizeof(errnum);

	loop_fd_del(watch);
	if (ret < 0)
		return -1;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &len);
	return errnum ? err_errno(err, errnum, "%s", what) : 0;
}

static int connect_to(struct loop *loop, const struct addrinfo *ai, const char *what,
		      int64_t timeout_ms, struct err *err)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, ret = 0;

	if (fd < 0)
		return err_errno(err, errno, "socket");
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0 && errno != EINPROGRESS)
		ret = err_errno(err, errno, "%s", what);
	else
		ret = await_connect(loop, fd, what, timeout_ms, err);
	if (ret < 0) {
		close(fd);
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

int tcp_connect(struct loop *loop, const char *address, int port, int64_t timeout_ms,
		struct err *err)
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
	fd = connect_to(loop, ai, what, timeout_ms, err);
	freeaddrinfo(ai);
	return fd;
}

static bool is_connected_to(int fd, const char *address, int port)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	char host[NI_MAXHOST], service[NI_MAXSERV];

	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0 ||
	    (peer.ss_family != AF_INET && peer.ss_family != AF_INET6) ||
	    getnameinfo((struct sockaddr *)&peer, len, host, sizeof(host), service, sizeof(service),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return false;
	return str_eq(host, address) && atoi(service) == port;
}

/* @address as getnameinfo(3) writes it: "2001:db8::1", however the user did. */
static void canonical(const char *address, char *text, size_t size)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
	struct addrinfo *ai = NULL;

	if (getaddrinfo(address, NULL, &hints, &ai) != 0 ||
	    getnameinfo(ai->ai_addr, ai->ai_addrlen, text, (socklen_t)size, NULL, 0,
			NI_NUMERICHOST) != 0)
		snprintf(text, size, "%s", address);
	if (ai)
		freeaddrinfo(ai);
}

/* Of sockets only: to close a copy of a file's is not without effect where it is on NFS or FUSE. */
static int descriptor_of(int pidfd, int directory, const struct dirent *entry)
{
	char what[64];
	ssize_t len = readlinkat(directory, entry->d_name, what, sizeof(what) - 1);

	if (len < 0)
		return -1;
	what[len] = '\0';
	return str_starts(what, "socket:") ? pidfd_getfd(pidfd, atoi(entry->d_name), 0) : -1;
}

size_t tcp_connections_of(pid_t pid, const char *address, int port, int *fds, size_t max)
{
	_autofree_ char *path = str_printf("/proc/%d/fd", (int)pid);
	int pidfd = pidfd_open(pid, 0);
	DIR *directory = pidfd >= 0 ? opendir(path) : NULL;
	char wanted[NI_MAXHOST];
	struct dirent *entry;
	size_t count = 0;

	canonical(address, wanted, sizeof(wanted));
	while (directory && count < max && (entry = readdir(directory))) {
		int fd = descriptor_of(pidfd, dirfd(directory), entry);

		if (fd >= 0 && is_connected_to(fd, wanted, port))
			fds[count++] = fd;
		else if (fd >= 0)
			close(fd);
	}
	if (directory)
		closedir(directory);
	if (pidfd >= 0)
		close(pidfd);
	return count;
}

bool tcp_can_copy(pid_t pid, int fd)
{
	_autofree_ char *path = str_printf("/proc/%d/fd", (int)pid);
	int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
	DIR *directory = pidfd >= 0 ? opendir(path) : NULL;
	struct dirent *entry;
	struct stat wanted, st;
	bool found = false;

	while (directory && fstat(fd, &wanted) == 0 && !found && (entry = readdir(directory))) {
		int copy = descriptor_of(pidfd, dirfd(directory), entry);

		found = copy >= 0 && fstat(copy, &st) == 0 && st.st_ino == wanted.st_ino &&
			st.st_dev == wanted.st_dev;
		if (copy >= 0)
			close(copy);
	}
	if (directory)
		closedir(directory);
	if (pidfd >= 0)
		close(pidfd);
	return found;
}

struct tcp_health tcp_health(int fd)
{
	struct tcp_health health = {0};
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return health;
	health.stands = info.tcpi_state == TCP_ESTABLISHED;
	/* One probe may just be on its way: of keepalive, or of whether there is room by now. */
	if ((info.tcpi_unacked && info.tcpi_retransmits) || info.tcpi_probes > 1)
		health.silent_ms = info.tcpi_last_ack_recv;
	return health;
}

void tcp_disconnect(int fd)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	if (connect(fd, &none, sizeof(none)) < 0)
		shutdown(fd, SHUT_RDWR);
}

void tcp_keep_alive(int fd, int64_t ms)
{
	int on = 1, third_s = ms >= 3000 ? (int)(ms / 3000) : 1, probes = 2;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &third_s, sizeof(third_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &third_s, sizeof(third_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

void tcp_quickack(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

static char *numeric(const struct sockaddr *address, socklen_t len, struct err *err)
{
	char text[INET6_ADDRSTRLEN + 20];

	if (getnameinfo(address, len, text, sizeof(text), NULL, 0, NI_NUMERICHOST) != 0) {
		err_set(err, ERR_FAILED, "this host's address cannot be read");
		return NULL;
	}
	return str_dup(text);
}

/* connect(2) of a UDP socket only chooses the route, and with it our address. */
static char *local_address_to(const struct addrinfo *to, struct err *err)
{
	struct sockaddr_storage own;
	socklen_t len = sizeof(own);
	int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char *address = NULL;

	if (fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen) < 0 ||
	    getsockname(fd, (struct sockaddr *)&own, &len) < 0)
		err_errno(err, errno, "no route");
	else
		address = numeric((struct sockaddr *)&own, len, err);
	if (fd >= 0)
		close(fd);
	return address;
}

char *tcp_local_address(const char *host, struct err *err)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM};
	struct addrinfo *found = NULL;
	int result = getaddrinfo(host, "9", &hints, &found);
	char *address = NULL;

	if (result != 0) {
		err_set(err, ERR_FAILED, "%s: %s", host, gai_strerror(result));
		return NULL;
	}
	for (const struct addrinfo *a = found; a && !address; a = a->ai_next)
		address = local_address_to(a, err);
	freeaddrinfo(found);
	if (!address)
		err_wrap(err, "%s", host);
	return address;
}
