/* ServerAliveInterval and ServerAliveCountMax of ssh_config(5): has the server, sshd itself, gone
 * silent? Whether its host is there, TCP finds out by itself (connect.c), but not behind a
 * ProxyCommand or ProxyJump; there the server is asked often also where ssh_config wants it rarely
 * or not at all (Debian's ssh(1) makes it 300 s of BatchMode yes), as TCP would.
 *
 * libssh2 sends the question and takes no notice of the answer, which stays in its queue of
 * packets that nobody asked for (seen with 1.10.0; some 100 bytes). So any byte from the server
 * counts, as with ssh(1), and nothing is asked while bytes come. */
#include <poll.h>

#include "ssh/internal.h"

#define PROXY_INTERVAL_S 3
#define PROXY_COUNT 3

/* Nobody may be reading just now. */
static bool bytes_wait(const struct ssh *ssh)
{
	struct pollfd fd = {.fd = ssh->fd, .events = POLLIN};

	return poll(&fd, 1, 0) > 0 && fd.revents & POLLIN;
}

static void on_tick(void *arg)
{
	struct ssh *ssh = arg;
	int unused;

	if (ssh->closed)
		return;
	if (ssh->heard || bytes_wait(ssh)) {
		ssh->heard = false;
		ssh->unanswered = 0;
		return;
	}
	if (ssh->unanswered++ >= ssh->config.alive_count_max)
		ssh_io_give_up(ssh, "the server does not answer any more (ServerAliveInterval)");
	else
		libssh2_keepalive_send(ssh->session, &unused);
}

void ssh_keepalive_start(struct ssh *ssh)
{
	struct ssh_config *c = &ssh->config;

	if (ssh->proxy && c->tcp_keepalive &&
	    (!c->alive_interval_s || c->alive_interval_s > PROXY_INTERVAL_S)) {
		c->alive_interval_s = PROXY_INTERVAL_S;
		c->alive_count_max = PROXY_COUNT;
	}
	if (!c->alive_interval_s)
		return;
	libssh2_keepalive_config(ssh->session, 1, 1); /* when to ask is decided here */
	ssh->alive_timer = loop_timer_add(ssh->loop, c->alive_interval_s * 1000, on_tick, ssh);
}
