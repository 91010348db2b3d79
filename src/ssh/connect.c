/* From a host's name to a connected socket.
 *
 * Names are looked up by getent(1), which asks what getaddrinfo(3) asks: getaddrinfo
 * itself blocks for as long as the resolver likes, and the loop would stand still.
 *
 * A peer that vanished is found out by TCP's own keepalive within 15 s, which costs nothing here;
 * QMP over a connection that is dead must not look alive for hours. Who says TCPKeepAlive no wants
 * to live through that, so there neither question nor deadline is set. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/process.h"
#include "ssh/internal.h"

#define ADDRESSES_MAX 16
#define BETWEEN_ATTEMPTS_MS 1000
#define KEEPALIVE_IDLE_S 5
#define KEEPALIVE_EVERY_S 5
#define KEEPALIVE_COUNT 3
#define DEAD_AFTER_MS 15000

struct address {
	struct sockaddr_storage sa;
	socklen_t len;
	char text[64];
};

struct addresses {
	struct address address[ADDRESSES_MAX];
	size_t count;
};

/* Adds what @text, a numeric address, means. False when it is none. */
static bool add_numeric(struct addresses *a, const char *text, const struct ssh_config *config)
{
	struct addrinfo hints = {
		.ai_family = config->family,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
	};
	struct addrinfo *found = NULL;
	struct address *to = &a->address[a->count];
	_autofree_ char *port = str_printf("%d", config->port);

	if (a->count == ADDRESSES_MAX || getaddrinfo(text, port, &hints, &found) != 0)
		return false;
	memcpy(&to->sa, found->ai_addr, found->ai_addrlen);
	to->len = found->ai_addrlen;
	freeaddrinfo(found);
	getnameinfo((struct sockaddr *)&to->sa, to->len, to->text, sizeof(to->text), NULL, 0,
		    NI_NUMERICHOST);
	a->count++;
	return true;
}

/* getent ahosts: "192.0.2.1  STREAM name", the same again with DGRAM and RAW. */
static void take_getent(struct addresses *a, char *text, const struct ssh_config *config)
{
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *end = line + strcspn(line, " \t");

		if (!strstr(end, "STREAM"))
			continue;
		*end = '\0';
		add_numeric(a, line, config);
	}
}

static int look_up(struct loop *loop, const char *host, const struct ssh_config *config,
		   int64_t until_ms, struct addresses *a, struct err *err)
{
	const char *const argv[] = {"getent", "ahosts", config->hostname, NULL};
	struct process_output output = {0};
	int ret = 0;

	if (add_numeric(a, config->hostname, config))
		return 0;
	ret = process_run(loop, argv, until_ms - loop_now_ms(), &output, err);
	if (ret < 0)
		err_wrap(err, "%s: look up the name %s", host, config->hostname);
	else if (output.status == 0 && output.out.len)
		take_getent(a, output.out.data, config);
	process_output_deinit(&output);
	if (ret == 0 && !a->count)
		ret = err_set(err, ERR_REFUSED,
			      "%s: there is no host named %s; see `getent ahosts %s`, /etc/hosts "
			      "and ssh_config",
			      host, config->hostname, config->hostname);
	return ret;
}

struct attempt {
	bool done;
};

static void on_connected(void *arg, short revents)
{
	(void)revents;
	((struct attempt *)arg)->done = true;
}

static bool is_connected(void *arg)
{
	return ((struct attempt *)arg)->done;
}

static const char *advice(int errnum)
{
	switch (errnum) {
	case ECONNREFUSED:
		return "; is sshd running there, on that port?";
	case EHOSTUNREACH:
	case ENETUNREACH:
		return "; is there a route to it?";
	default:
		return "";
	}
}

/* Waits until the connection that was begun on @fd is there. */
static int wait_connected(struct loop *loop, int fd, int64_t timeout_ms, int *errnum,
			  struct err *err)
{
	struct attempt attempt = {0};
	struct loop_fd *watch = loop_fd_add(loop, fd, POLLOUT, on_connected, &attempt);
	socklen_t len = sizeof(*errnum);
	int ret = loop_await(loop, "the connection; is a firewall in between?", timeout_ms,
			     is_connected, &attempt, err);

	loop_fd_del(watch);
	if (ret == 0)
		getsockopt(fd, SOL_SOCKET, SO_ERROR, errnum, &len);
	return ret;
}

/* BindAddress: an address of ours, of the family of @fd, or of the other, which is an error. */
static int bind_to(int fd, int family, const char *address, struct err *err)
{
	struct addrinfo hints = {
		.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
	struct addrinfo *found = NULL;
	int ret = 0;

	if (getaddrinfo(address, NULL, &hints, &found) != 0)
		return err_set(err, ERR_REFUSED,
			       "BindAddress %s of ssh_config is no numeric address of its kind",
			       address);
	if (bind(fd, found->ai_addr, found->ai_addrlen) < 0)
		ret = err_errno(err, errno, "BindAddress %s", address);
	freeaddrinfo(found);
	return ret;
}

static int try_address(struct loop *loop, const struct address *to, const char *bind_address,
		       int64_t timeout_ms, int *result, struct err *err)
{
	int fd = socket(to->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int errnum = 0;
	int ret = 0;

	if (fd < 0)
		return err_errno(err, errno, "socket");
	if (bind_address)
		ret = bind_to(fd, to->sa.ss_family, bind_address, err);
	if (ret == 0 && connect(fd, (const struct sockaddr *)&to->sa, to->len) < 0) {
		errnum = errno;
		if (errnum == EINPROGRESS)
			ret = wait_connected(loop, fd, timeout_ms, &errnum, err);
	}
	if (ret == 0 && errnum)
		ret = err_set(err, ERR_FAILED, "%s%s", strerror(errnum), advice(errnum));
	if (ret < 0)
		close(fd);
	else
		*result = fd;
	return ret;
}

static void set_keepalive(int fd, int64_t silence_ms)
{
	const int on = 1, idle = KEEPALIVE_IDLE_S, every = KEEPALIVE_EVERY_S;
	const int count = KEEPALIVE_COUNT;
	const unsigned dead = (unsigned)(silence_ms > DEAD_AFTER_MS ? silence_ms : DEAD_AFTER_MS);

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead, sizeof(dead));
}

/* One attempt: each address in turn, the time being shared among them and the @later ones. */
static int try_addresses(struct loop *loop, const struct addresses *a,
			 const struct ssh_config *config, int64_t until_ms, size_t later, int *fd,
			 struct err *err)
{
	for (size_t i = 0; i < a->count; i++) {
		int64_t left_ms = until_ms - loop_now_ms();

		if (try_address(loop, &a->address[i], config->bind_address,
				left_ms / (int64_t)(later + a->count - i), fd, err) == 0)
			return 0;
		err_wrap(err, "connect to %s port %d", a->address[i].text, config->port);
		if (err->kind == ERR_INTERRUPTED)
			return -1;
	}
	return -1;
}

/* As ssh(1): a second between two attempts. False: a signal came, or the time is over. */
static bool pause_for_next(struct loop *loop, int64_t until_ms)
{
	return loop_now_ms() + BETWEEN_ATTEMPTS_MS < until_ms &&
	       loop_rest(loop, BETWEEN_ATTEMPTS_MS);
}

static int attempt(struct loop *loop, const struct addresses *a, const struct ssh_config *config,
		   int64_t until_ms, int *fd, struct err *err)
{
	for (int left = config->attempts > 1 ? config->attempts - 1 : 0;; left--) {
		if (try_addresses(loop, a, config, until_ms, (size_t)left * a->count, fd, err) == 0)
			return 0;
		if (!left || err->kind == ERR_INTERRUPTED || err->kind == ERR_REFUSED ||
		    !pause_for_next(loop, until_ms))
			return -1;
	}
}

int ssh_connect(struct loop *loop, const char *host, const struct ssh_config *config,
		int64_t until_ms, struct err *err)
{
	struct addresses a = {0};
	struct err why = {0};
	const int on = 1;
	int fd = -1;

	if (look_up(loop, host, config, until_ms, &a, err) < 0)
		return -1;
	if (attempt(loop, &a, config, until_ms, &fd, &why) < 0)
		return err_set(err, why.kind, "%s: %s", host, why.text);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (config->tcp_keepalive)
		set_keepalive(fd, config->silence_ms);
	return fd;
}
