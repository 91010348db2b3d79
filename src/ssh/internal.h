/* What the files of this layer know of a session and share with each other. */
#ifndef VMFERRY_SSH_INTERNAL_H
#define VMFERRY_SSH_INTERNAL_H

#include <libssh2.h>
#include <libssh2_sftp.h>
#include <stdbool.h>
#include <stdint.h>

#include "ssh/config.h"
#include "ssh/proxy.h"
#include "ssh/ssh.h"

struct bridge;
struct ssh_stream;
struct ssh_zombie;

struct ssh {
	struct loop *loop;
	char *host;               /* as the user named it, for the words */
	struct ssh_config config; /* what that name stands for */
	char peer[64];            /* numeric address of the other end; "": not known */
	struct proxy *proxy;      /* NULL: a TCP connection of our own */
	struct ssh *login;        /* root.c: the session that this one is inside of, or NULL */
	struct bridge *bridge;    /* to its channel */
	char *key;                /* that has logged in: "ssh-ed25519 AAAA..." */
	LIBSSH2_SESSION *session;
	LIBSSH2_SFTP *sftp; /* NULL until a file is asked for */
	int64_t wait_ms;    /* for one answer of the server */
	bool established;   /* requests cannot be given up half-way from here on */
	bool opening_stuck; /* a channel's opening was never answered */

	/* io.c */
	int fd;
	struct loop_fd *watch; /* NULL when the connection is gone */
	bool armed;            /* poll(2) looks for bytes to read */
	struct buf outbox;     /* encrypted, not yet taken by the kernel */
	size_t budget;         /* bytes that may be read before others have their turn */
	bool closed;           /* nothing goes in or out any more, for the reason */
	bool heard;            /* something came since the last look of keepalive.c */
	bool freeing;          /* nobody waits for an answer any more */
	char reason[256];
	int unanswered; /* questions of keepalive.c */
	struct loop_timer *alive_timer;
	int kick_fd; /* eventfd: serve all streams in the next round of the loop */
	struct loop_fd *kick_watch;
	int running; /* requests under way in ssh_io_run */
	int serving; /* streams' callbacks under way */
	struct ssh_stream *streams;
	struct ssh_zombie *zombies;
};

/* --- io.c: the bytes of the session, and waiting for answers --- */

/* Gives the connected socket @fd, which becomes the session's, and the session to each
 * other and to the loop. */
int ssh_io_start(struct ssh *ssh, int fd, struct err *err);

/* Says goodbye when that is possible at once, and closes. */
void ssh_io_stop(struct ssh *ssh);

/* Waits in the loop until @step(@ssh, @arg) is true. It is asked after every round of
 * callbacks, and answers false when libssh2 answered LIBSSH2_ERROR_EAGAIN. Errors: the time
 * is over, a signal came, the connection was lost. */
int ssh_io_wait(struct ssh *ssh, const char *what, int64_t timeout_ms,
		bool (*step)(struct ssh *ssh, void *arg), void *arg, struct err *err);

/* As ssh_io_wait, for the answer to a request: for at most ssh->wait_ms, and shielded from
 * signals once the session is established. libssh2 keeps the state of a request in the
 * session, so one that was begun has to be finished, or its kind cannot be used again. */
int ssh_io_run(struct ssh *ssh, const char *what, bool (*step)(struct ssh *ssh, void *arg),
	       void *arg, struct err *err);

/* The connection is lost for @reason, seen elsewhere. */
void ssh_io_give_up(struct ssh *ssh, const char *reason);

/* All streams are called in the next round of the loop. */
void ssh_io_kick(struct ssh *ssh);

/* True, and all is over, when @rc of libssh2 means that the connection is lost. */
bool ssh_io_lost(struct ssh *ssh, int rc);

/* "hostb: the SSH connection was lost: REASON", ERR_CLOSED. Returns -1. */
int ssh_io_closed(const struct ssh *ssh, struct err *err);

/* Whether more may be written; when not, the kernel has to take something first. */
bool ssh_io_writable(const struct ssh *ssh);

/* --- stream.c --- */

/* The stream of an open @channel, which it takes over; @name for words. */
struct stream *ssh_stream_new(struct ssh *ssh, LIBSSH2_CHANNEL *channel, const char *name);

/* --- channel.c --- */

/* 0 when the session can have a new channel. */
int ssh_channel_possible(const struct ssh *ssh, struct err *err);

/* Opens a channel of @type with @message (RFC 4254, 5.1). NULL with @err; @refused, which
 * may be NULL, is true when it was the server who said no. */
LIBSSH2_CHANNEL *ssh_channel_open(struct ssh *ssh, const char *type, const struct buf *message,
				  bool *refused, struct err *err);

/* Closes and frees the channel, without waiting. NULL is accepted. */
void ssh_channel_release(struct ssh *ssh, LIBSSH2_CHANNEL *channel);

/* Goes on with the channels that are being closed. */
void ssh_channel_reap(struct ssh *ssh);
void ssh_channel_deinit(struct ssh *ssh);

/* Takes what came from the server off the socket when nobody else reads. */
void ssh_channel_drain(struct ssh *ssh);

/* --- stream.c --- */

/* The session ends: the streams that have owners only say so from now on. */
void ssh_stream_orphan(struct ssh *ssh);

/* Writes what is waiting in the streams and calls their owners. */
void ssh_stream_serve(struct ssh *ssh);

/* The channel of the first stream, or NULL. */
LIBSSH2_CHANNEL *ssh_stream_channel(const struct ssh *ssh);

/* --- the steps of ssh_open --- */

/* connect.c: a TCP connection to the host. -1 with @err, or the descriptor. */
int ssh_connect(struct loop *loop, const char *host, const struct ssh_config *config,
		int64_t until_ms, struct err *err);

/* algorithms.c: of those that ssh_config allows; before the handshake. */
int ssh_algorithms_prefer(struct ssh *ssh, struct err *err);

/* hostkey.c: asks for the kinds of host key that are known; to be called before the
 * handshake. Then refuses the key that is not. */
int ssh_hostkey_prefer(struct ssh *ssh, struct err *err);
int ssh_hostkey_check(struct ssh *ssh, struct err *err);

/* root.c: starts sshd as root in @ssh->login, and gives the descriptor to it. */
int ssh_root_start(struct ssh *ssh, int *fd, struct err *err);

/* keepalive.c: from now on. */
void ssh_keepalive_start(struct ssh *ssh);

/* auth.c */
int ssh_auth(struct ssh *ssh, const struct ssh_target *target, struct err *err);

#endif
