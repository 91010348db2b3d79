/* The bytes of the session.
 *
 * libssh2 is non-blocking, and one packet of it may be under way only once: when the
 * kernel takes a part of a packet, the very call that sent it has to be repeated with the
 * very same buffer before anybody sends another one (send_existing() in src/transport.c of
 * 1.10.0 answers LIBSSH2_ERROR_BAD_USE otherwise). With several streams and a request in
 * one session that cannot be promised. So libssh2 never sees a part: our send callback
 * takes every packet whole, into `outbox` if need be, and the loop writes that. What libssh2
 * waits for is then always something to read, which any of its calls may do for all others.
 *
 * Bytes that one call read and that belong to another channel are in libssh2's memory
 * where poll(2) does not see them. So each time our receive callback brought bytes, all
 * streams are called in the loop's next round (the kick, an eventfd), never from within a
 * libssh2 call. Nothing is called when nothing came: an idle session costs nothing.
 *
 * Reading is edge-triggered: seen POLLIN, the loop does not look again until somebody
 * read the socket empty. A server that sends when nobody reads does not make us spin.
 *
 * The end of the connection is not told to libssh2, to which the socket is then just
 * silent: what it has decrypted before is still delivered. `closed` is asked instead. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ssh/bridge.h"
#include "ssh/internal.h"

/* Between two rounds of the loop, so that a fast peer delays no other connection, and
 * none can keep a libssh2 call from ever returning. */
#define READ_BUDGET (1u << 20)

/* What libssh2 may still send when the kernel takes nothing: above the first streams stop
 * writing; the second is reached only by a peer that makes us answer without reading. */
#define OUTBOX_BUSY (256u << 10)
#define OUTBOX_MAX (16u << 20)

static void watch_events(struct ssh *ssh)
{
	if (ssh->watch)
		loop_fd_events(ssh->watch, (short)((ssh->armed ? POLLIN : 0) |
						   (ssh->outbox.len ? POLLOUT : 0)));
}

static void arm(struct ssh *ssh, bool on)
{
	ssh->armed = on;
	watch_events(ssh);
}

void ssh_io_kick(struct ssh *ssh)
{
	eventfd_write(ssh->kick_fd, 1);
}

static void lost(struct ssh *ssh, const char *reason)
{
	if (ssh->closed)
		return;
	ssh->closed = true;
	snprintf(ssh->reason, sizeof(ssh->reason), "%s", reason);
	loop_fd_del(ssh->watch);
	ssh->watch = NULL;
	buf_deinit(&ssh->outbox);
	ssh_io_kick(ssh);
}

void ssh_io_give_up(struct ssh *ssh, const char *reason)
{
	lost(ssh, reason);
}

/* For poll(2)'s "hung up", which cannot be switched off: what is left is read without. */
static void hang_up(struct ssh *ssh)
{
	loop_fd_del(ssh->watch);
	ssh->watch = NULL;
	ssh_io_kick(ssh);
}

/* Why there is nothing any more: what carries it mostly knows better than the socket. */
static void lost_below(struct ssh *ssh, const char *reason)
{
	if (ssh->proxy)
		reason = "its ProxyCommand or ProxyJump ended";
	else if (ssh->bridge && bridge_reason(ssh->bridge))
		reason = bridge_reason(ssh->bridge);
	lost(ssh, reason);
}

static LIBSSH2_RECV_FUNC(on_recv)
{
	struct ssh *ssh = *abstract;
	ssize_t n;

	(void)flags;
	if (ssh->freeing)
		return -EPIPE;
	if (ssh->closed)
		return -EAGAIN;
	if (!ssh->budget) {
		ssh_io_kick(ssh);
		return -EAGAIN;
	}
	n = recv(socket, buffer, length < ssh->budget ? length : ssh->budget, 0);
	if (n > 0) {
		ssh->budget -= (size_t)n;
		ssh->heard = true;
		ssh_io_kick(ssh);
		return n;
	}
	if (n == 0)
		lost(ssh,
		     ssh->proxy ? "its ProxyCommand or ProxyJump ended" : "the server closed it");
	else if (errno == EAGAIN || errno == EINTR)
		arm(ssh, true);
	else
		lost_below(ssh, strerror(errno));
	return -EAGAIN;
}

static void flush_outbox(struct ssh *ssh)
{
	ssize_t n;

	while (ssh->outbox.len && !ssh->closed) {
		n = send(ssh->fd, ssh->outbox.data, ssh->outbox.len, MSG_NOSIGNAL);
		if (n > 0)
			buf_drop(&ssh->outbox, (size_t)n);
		else if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		else
			lost_below(ssh, strerror(errno));
	}
	watch_events(ssh);
}

static LIBSSH2_SEND_FUNC(on_send)
{
	struct ssh *ssh = *abstract;

	(void)socket;
	(void)flags;
	if (ssh->closed)
		return ssh->freeing ? -EPIPE : (ssize_t)length;
	if (ssh->outbox.len + length > OUTBOX_MAX) {
		lost(ssh, "the server sends requests but reads no answers");
		return (ssize_t)length;
	}
	buf_add(&ssh->outbox, buffer, length);
	flush_outbox(ssh);
	return (ssize_t)length;
}

static LIBSSH2_DISCONNECT_FUNC(on_disconnect)
{
	struct ssh *ssh = *abstract;
	char text[sizeof(ssh->reason)];

	(void)session;
	(void)language;
	(void)language_len;
	if (message && message_len > 0)
		snprintf(text, sizeof(text), "the server said: %.*s", message_len, message);
	else
		snprintf(text, sizeof(text), "the server ended it (%d)", reason);
	lost(ssh, text);
}

static void serve(struct ssh *ssh)
{
	ssh->budget = READ_BUDGET;
	ssh_stream_serve(ssh);
	ssh_channel_reap(ssh);
}

static void on_socket(void *arg, short revents)
{
	struct ssh *ssh = arg;

	if (revents & POLLOUT)
		flush_outbox(ssh);
	if (revents & (POLLHUP | POLLERR | POLLNVAL))
		hang_up(ssh);
	if (revents & POLLIN)
		arm(ssh, false);
	serve(ssh);
	if (!ssh->armed && !ssh->closed && !ssh->running)
		ssh_channel_drain(ssh);
}

static void on_kick(void *arg, short revents)
{
	struct ssh *ssh = arg;
	eventfd_t count;

	(void)revents;
	eventfd_read(ssh->kick_fd, &count);
	serve(ssh);
}

int ssh_io_start(struct ssh *ssh, int fd, struct err *err)
{
	ssh->fd = fd;
	ssh->budget = READ_BUDGET;
	ssh->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ssh->kick_fd < 0)
		return err_errno(err, errno, "eventfd");
	ssh->session = libssh2_session_init_ex(NULL, NULL, NULL, ssh);
	if (!ssh->session)
		return err_set(err, ERR_FAILED, "libssh2 makes no session");
	libssh2_session_set_blocking(ssh->session, 0);
	libssh2_session_callback_set(ssh->session, LIBSSH2_CALLBACK_RECV, (void *)on_recv);
	libssh2_session_callback_set(ssh->session, LIBSSH2_CALLBACK_SEND, (void *)on_send);
	libssh2_session_callback_set(ssh->session, LIBSSH2_CALLBACK_DISCONNECT,
				     (void *)on_disconnect);
	ssh->kick_watch = loop_fd_add(ssh->loop, ssh->kick_fd, POLLIN, on_kick, ssh);
	ssh->armed = true;
	ssh->watch = loop_fd_add(ssh->loop, fd, POLLIN, on_socket, ssh);
	return 0;
}

/* With `closed` no libssh2 call can block, and `freeing` tells them that the socket is
 * gone, so that none waits for an answer either. */
void ssh_io_stop(struct ssh *ssh)
{
	if (ssh->session && !ssh->closed && ssh->established && !ssh->opening_stuck)
		libssh2_session_disconnect(ssh->session, "done");
	if (ssh->kick_fd >= 0)
		lost(ssh, "done");
	ssh->freeing = true;
	ssh_channel_deinit(ssh);
	if (ssh->session)
		libssh2_session_free(ssh->session);
	loop_timer_del(ssh->alive_timer);
	loop_fd_del(ssh->kick_watch);
	if (ssh->kick_fd >= 0)
		close(ssh->kick_fd);
	if (ssh->fd >= 0)
		close(ssh->fd);
	buf_deinit(&ssh->outbox);
}

struct run {
	struct ssh *ssh;
	bool (*step)(struct ssh *ssh, void *arg);
	void *arg;
	bool ended;
};

static bool run_done(void *arg)
{
	struct run *run = arg;

	run->ssh->budget = READ_BUDGET;
	run->ended = run->step(run->ssh, run->arg);
	return run->ended || run->ssh->closed;
}

int ssh_io_wait(struct ssh *ssh, const char *what, int64_t timeout_ms,
		bool (*step)(struct ssh *ssh, void *arg), void *arg, struct err *err)
{
	struct run run = {.ssh = ssh, .step = step, .arg = arg};
	int ret;

	ssh->running++;
	ret = loop_await(ssh->loop, what, timeout_ms, run_done, &run, err);
	ssh->running--;
	if (ret < 0)
		return err_wrap(err, "%s", ssh->host);
	return run.ended ? 0 : ssh_io_closed(ssh, err);
}

int ssh_io_run(struct ssh *ssh, const char *what, bool (*step)(struct ssh *ssh, void *arg),
	       void *arg, struct err *err)
{
	const bool shield = ssh->established;
	int ret;

	if (shield)
		loop_shield(ssh->loop, true);
	ret = ssh_io_wait(ssh, what, ssh->wait_ms, step, arg, err);
	if (shield)
		loop_shield(ssh->loop, false);
	return ret;
}

/* Those after which nothing that comes could be understood. */
bool ssh_io_lost(struct ssh *ssh, int rc)
{
	static const int fatal[] = {
		LIBSSH2_ERROR_SOCKET_NONE,    LIBSSH2_ERROR_SOCKET_SEND,
		LIBSSH2_ERROR_SOCKET_RECV,    LIBSSH2_ERROR_SOCKET_DISCONNECT,
		LIBSSH2_ERROR_INVALID_MAC,    LIBSSH2_ERROR_DECRYPT,
		LIBSSH2_ERROR_ENCRYPT,        LIBSSH2_ERROR_PROTO,
		LIBSSH2_ERROR_KEX_FAILURE,    LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE,
		LIBSSH2_ERROR_OUT_OF_BOUNDARY};
	char *text = NULL;

	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
		if (rc != fatal[i])
			continue;
		libssh2_session_last_error(ssh->session, &text, NULL, 0);
		lost(ssh, text && *text ? text : "protocol error");
	}
	return ssh->closed;
}

int ssh_io_closed(const struct ssh *ssh, struct err *err)
{
	return err_set(err, ERR_CLOSED, "%s: the SSH connection was lost: %s", ssh->host,
		       ssh->reason);
}

bool ssh_io_writable(const struct ssh *ssh)
{
	return !ssh->closed && ssh->outbox.len < OUTBOX_BUSY;
}
