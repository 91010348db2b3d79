/* Opening and closing channels (RFC 4254, 5). A closed channel lives on in libssh2 until
 * the server has closed its side too; nobody waits for that, the loop reaps it. */
#include <stdlib.h>
#include <string.h>

#include "ssh/internal.h"

struct ssh_zombie {
	struct ssh_zombie *next;
	LIBSSH2_CHANNEL *channel;
};

struct opening {
	const char *type;
	const struct buf *message;
	LIBSSH2_CHANNEL *channel;
	int rc;
};

static bool open_step(struct ssh *ssh, void *arg)
{
	struct opening *o = arg;

	o->channel = libssh2_channel_open_ex(
		ssh->session, o->type, (unsigned)strlen(o->type), LIBSSH2_CHANNEL_WINDOW_DEFAULT,
		LIBSSH2_CHANNEL_PACKET_DEFAULT, o->message ? o->message->data : NULL,
		o->message ? (unsigned)o->message->len : 0);
	o->rc = o->channel ? 0 : libssh2_session_last_errno(ssh->session);
	return o->rc != LIBSSH2_ERROR_EAGAIN;
}

/* libssh2 keeps the half-open channel in the session and would go on with it. */
int ssh_channel_possible(const struct ssh *ssh, struct err *err)
{
	if (ssh->closed)
		return ssh_io_closed(ssh, err);
	if (ssh->opening_stuck)
		return err_set(err, ERR_TIMEOUT,
			       "%s: the server never answered an earlier request for a channel; "
			       "is it overloaded?",
			       ssh->host);
	return 0;
}

LIBSSH2_CHANNEL *ssh_channel_open(struct ssh *ssh, const char *type, const struct buf *message,
				  bool *refused, struct err *err)
{
	struct opening o = {.type = type, .message = message};
	char *text = NULL;

	if (refused)
		*refused = false;
	if (ssh_channel_possible(ssh, err) < 0)
		return NULL;
	if (ssh_io_run(ssh, "the server to open a channel", open_step, &o, err) < 0) {
		ssh->opening_stuck = true;
		return NULL;
	}
	if (o.channel)
		return o.channel;
	if (ssh_io_lost(ssh, o.rc)) {
		ssh_io_closed(ssh, err);
		return NULL;
	}
	if (refused)
		*refused = o.rc == LIBSSH2_ERROR_CHANNEL_FAILURE;
	libssh2_session_last_error(ssh->session, &text, NULL, 0);
	err_set(err, ERR_FAILED, "%s", text && *text ? text : "no channel");
	return NULL;
}

void ssh_channel_release(struct ssh *ssh, LIBSSH2_CHANNEL *channel)
{
	struct ssh_zombie *z;

	if (!channel || libssh2_channel_free(channel) != LIBSSH2_ERROR_EAGAIN)
		return;
	z = mem_zalloc(1, sizeof(*z));
	z->channel = channel;
	z->next = ssh->zombies;
	ssh->zombies = z;
}

void ssh_channel_reap(struct ssh *ssh)
{
	struct ssh_zombie **p = &ssh->zombies;

	while (*p) {
		struct ssh_zombie *z = *p;

		if (libssh2_channel_free(z->channel) == LIBSSH2_ERROR_EAGAIN) {
			p = &z->next;
			continue;
		}
		*p = z->next;
		free(z);
	}
}

/* The channels themselves go with the session. */
void ssh_channel_deinit(struct ssh *ssh)
{
	while (ssh->zombies) {
		struct ssh_zombie *z = ssh->zombies;

		ssh->zombies = z->next;
		free(z);
	}
}

/* A server's "are you there" (ClientAliveInterval) wants an answer also while nobody here
 * reads. libssh2 has no call that only takes packets in; waiting for the end of some
 * channel's input does just that. Without any channel there is no way; then
 * an answer has to wait for the next request. */
void ssh_channel_drain(struct ssh *ssh)
{
	LIBSSH2_CHANNEL *channel = ssh_stream_channel(ssh);
	int rc;

	if (!channel && ssh->sftp)
		channel = libssh2_sftp_get_channel(ssh->sftp);
	if (!channel)
		return;
	rc = libssh2_channel_wait_eof(channel);
	if (rc < 0 && rc != LIBSSH2_ERROR_EAGAIN)
		ssh_io_lost(ssh, rc);
}
