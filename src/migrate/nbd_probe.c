/* NBD's fixed newstyle negotiation (doc/proto.md of the NBD project), its first and its last
 * message. */
#include "migrate/nbd_probe.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "base/tcp.h"

/* "NBDMAGIC", "IHAVEOPT", 16 bits of handshake flags. */
#define GREETING_SIZE 18
#define MAGIC "NBDMAGICIHAVEOPT"

/* 32 bits of client flags: fixed newstyle; then an option: abort, without data. */
static const char goodbye[] = "\0\0\0\1"
			      "IHAVEOPT"
			      "\0\0\0\2"
			      "\0\0\0\0";

struct probe {
	int fd;
	char data[512]; /* the greeting, and an answer to our goodbye: 20 bytes and maybe words */
	size_t len;
	bool ended; /* the server has closed, or there was an error */
};

static void on_readable(void *arg, short revents)
{
	struct probe *probe = arg;
	ssize_t n = recv(probe->fd, probe->data + probe->len, sizeof(probe->data) - probe->len, 0);

	(void)revents;
	if (n > 0)
		probe->len += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		probe->ended = true;
}

static bool greeted_or_ended(void *arg)
{
	const struct probe *probe = arg;

	return probe->len >= GREETING_SIZE || probe->ended;
}

static bool ended(void *arg)
{
	return ((const struct probe *)arg)->ended;
}

static int converse(struct loop *loop, struct probe *probe, int64_t timeout_ms, struct err *err)
{
	struct err ignored;

	if (loop_await(loop, "the greeting of the NBD server", timeout_ms, greeted_or_ended, probe,
		       err) < 0)
		return -1;
	if (probe->len < GREETING_SIZE || memcmp(probe->data, MAGIC, strlen(MAGIC)) != 0)
		return err_set(err, ERR_FAILED, "what listens there is no NBD server");
	/* What becomes of it does not matter. */
	if (send(probe->fd, goodbye, sizeof(goodbye) - 1, MSG_NOSIGNAL) > 0)
		loop_await(loop, "its end", timeout_ms, ended, probe, &ignored);
	return 0;
}

int nbd_probe_connected(struct loop *loop, int fd, int64_t timeout_ms, struct err *err)
{
	struct probe probe = {.fd = fd};
	struct loop_fd *watch = loop_fd_add(loop, fd, POLLIN, on_readable, &probe);
	int ret = converse(loop, &probe, timeout_ms, err);

	loop_fd_del(watch);
	close(fd);
	return ret;
}

int nbd_probe(struct loop *loop, const char *address, int port, int64_t timeout_ms, struct err *err)
{
	int fd = tcp_connect(loop, address, port, timeout_ms, err);

	return fd < 0 ? -1 : nbd_probe_connected(loop, fd, timeout_ms, err);
}
