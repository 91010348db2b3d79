/* Streams to Unix sockets of the other host: channels of type
 * direct-streamlocal@openssh.com (OpenSSH's PROTOCOL, 2.4). libssh2 1.10 has no function of
 * its own for them; the generic one does.
 *
 * What the owner writes is copied into `out` first. A libssh2_channel_write() that
 * answered LIBSSH2_ERROR_EAGAIN has fixed the packet's length already and must be repeated
 * with the same bytes (_libssh2_channel_write() in src/channel.c of 1.10.0), and the owner
 * of a stream promises no such thing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssh/internal.h"
#include "ssh/wire.h"

#define OUT_MAX (32u << 10)

struct ssh_stream {
	struct stream stream;
	struct ssh *ssh; /* NULL: it has ended before its stream */
	struct ssh_stream *next;
	LIBSSH2_CHANNEL *channel; /* NULL: closed by its owner */
	char *path;
	struct buf out;
	bool want_write;
};

static int stream_closed(const struct ssh_stream *s, struct err *err)
{
	if (s->ssh && s->ssh->closed)
		return ssh_io_closed(s->ssh, err);
	return err_set(err, ERR_CLOSED, "%s: the connection was closed", s->path);
}

static int stream_failed(struct ssh_stream *s, int rc, struct err *err)
{
	char *text = NULL;

	if (ssh_io_lost(s->ssh, rc))
		return ssh_io_closed(s->ssh, err);
	if (rc == LIBSSH2_ERROR_CHANNEL_CLOSED || rc == LIBSSH2_ERROR_CHANNEL_EOF_SENT)
		return stream_closed(s, err);
	libssh2_session_last_error(s->ssh->session, &text, NULL, 0);
	return err_set(err, ERR_FAILED, "%s: %s", s->path,
		       text && *text ? text : "the SSH channel failed");
}

/* libssh2 answers 0 also when it read something that was not for this channel; the rest
 * may wait in its memory, so that needs another look. */
static ssize_t ssh_stream_read(struct stream *stream, void *data, size_t len, struct err *err)
{
	struct ssh_stream *s = (struct ssh_stream *)stream;
	ssize_t n;

	if (!s->ssh)
		return stream_closed(s, err);
	n = libssh2_channel_read_ex(s->channel, 0, data, len);
	if (n > 0)
		return n;
	if (n < 0 && n != LIBSSH2_ERROR_EAGAIN)
		return stream_failed(s, (int)n, err);
	if (s->ssh->closed || libssh2_channel_eof(s->channel))
		return stream_closed(s, err);
	if (n == 0)
		ssh_io_kick(s->ssh);
	return STREAM_AGAIN;
}

/* Hands `out` to libssh2, as far as the server's window and the kernel let it. */
static int write_out(struct ssh_stream *s, struct err *err)
{
	ssize_t n;

	while (s->out.len) {
		n = libssh2_channel_write_ex(s->channel, 0, s->out.data, s->out.len);
		if (n < 0 && n != LIBSSH2_ERROR_EAGAIN)
			return stream_failed(s, (int)n, err);
		if (s->ssh->closed)
			return stream_closed(s, err);
		if (n == 0)
			ssh_io_kick(s->ssh);
		if (n <= 0)
			break;
		buf_drop(&s->out, (size_t)n);
	}
	return 0;
}

static ssize_t ssh_stream_write(struct stream *stream, const void *data, size_t len,
				struct err *err)
{
	struct ssh_stream *s = (struct ssh_stream *)stream;

	if (!s->ssh || s->ssh->closed || libssh2_channel_eof(s->channel))
		return stream_closed(s, err);
	if (write_out(s, err) < 0)
		return -1;
	if (!len || s->out.len || !ssh_io_writable(s->ssh))
		return STREAM_AGAIN;
	if (len > OUT_MAX)
		len = OUT_MAX;
	buf_add(&s->out, data, len);
	return write_out(s, err) < 0 ? -1 : (ssize_t)len;
}

static bool may_write(const struct ssh_stream *s)
{
	return s->want_write && s->ssh && !s->out.len && ssh_io_writable(s->ssh);
}

static void ssh_stream_want_write(struct stream *stream, bool on)
{
	struct ssh_stream *s = (struct ssh_stream *)stream;

	s->want_write = on;
	if (may_write(s))
		ssh_io_kick(s->ssh);
}

static void free_stream(struct ssh_stream *s)
{
	buf_deinit(&s->out);
	free(s->path);
	free(s);
}

static void free_closed(struct ssh *ssh)
{
	struct ssh_stream **p = &ssh->streams;

	if (ssh->serving)
		return;
	while (*p) {
		struct ssh_stream *s = *p;

		if (s->channel) {
			p = &s->next;
			continue;
		}
		*p = s->next;
		free_stream(s);
	}
}

void ssh_stream_orphan(struct ssh *ssh)
{
	struct ssh_stream *s, *next;

	for (s = ssh->streams; s; s = next) {
		next = s->next;
		if (!s->channel) {
			free_stream(s);
			continue;
		}
		s->channel = NULL;
		s->ssh = NULL;
	}
	ssh->streams = NULL;
}

/* What was written and has not left yet gets one try. */
static void ssh_stream_close(struct stream *stream)
{
	struct ssh_stream *s = (struct ssh_stream *)stream;

	if (!s->ssh) {
		free_stream(s);
		return;
	}
	write_out(s, NULL);
	ssh_channel_release(s->ssh, s->channel);
	s->channel = NULL;
	s->stream.ready = NULL;
	free_closed(s->ssh);
}

static const struct stream_ops ssh_stream_ops = {
	.read = ssh_stream_read,
	.write = ssh_stream_write,
	.want_write = ssh_stream_want_write,
	.close = ssh_stream_close,
};

static void serve_one(struct ssh_stream *s)
{
	if (!s->ssh->closed)
		write_out(s, NULL); /* an error comes again when the owner reads */
	if (s->stream.ready)
		s->stream.ready(s->stream.arg);
	if (s->channel && s->stream.ready && may_write(s))
		ssh_io_kick(s->ssh);
}

void ssh_stream_serve(struct ssh *ssh)
{
	ssh->serving++;
	for (struct ssh_stream *s = ssh->streams; s; s = s->next)
		if (s->channel)
			serve_one(s);
	ssh->serving--;
	free_closed(ssh);
}

LIBSSH2_CHANNEL *ssh_stream_channel(const struct ssh *ssh)
{
	for (const struct ssh_stream *s = ssh->streams; s; s = s->next)
		if (s->channel && !libssh2_channel_eof(s->channel))
			return s->channel;
	return NULL;
}

/* OpenSSH answers "connect failed" when nothing listens, the path is absent or the user may
 * not connect, and "administratively prohibited" for AllowStreamLocalForwarding no,
 * DisableForwarding and "restrict" in authorized_keys - but some versions say "open
 * failed" for either, so both ways out are named. */
static void explain_refusal(struct ssh *ssh, const char *path, struct err *err)
{
	char why[ERR_TEXT_MAX];

	if (!err)
		return;
	memcpy(why, err->text, sizeof(why));
	err_set(err, ERR_REFUSED,
		"%s: %s: the server did not open it: %s; is QEMU running there with its monitor "
		"at that path, may %s connect to it, and does sshd_config say "
		"AllowStreamLocalForwarding yes?",
		ssh->host, path, why, ssh->config.user);
}

struct stream *ssh_stream_new(struct ssh *ssh, LIBSSH2_CHANNEL *channel, const char *name)
{
	struct ssh_stream *s = mem_zalloc(1, sizeof(*s));

	s->stream.ops = &ssh_stream_ops;
	s->ssh = ssh;
	s->channel = channel;
	s->path = str_dup(name);
	s->next = ssh->streams;
	ssh->streams = s;
	ssh_io_kick(ssh);
	return &s->stream;
}

struct stream *ssh_unix_stream(struct ssh *ssh, const char *path, struct err *err)
{
	struct buf message _cleanup_buf_ = {0};
	LIBSSH2_CHANNEL *channel;
	bool refused;

	wire_add_string(&message, path, strlen(path));
	wire_add_string(&message, "", 0);
	wire_add_u32(&message, 0);
	channel = ssh_channel_open(ssh, "direct-streamlocal@openssh.com", &message, &refused, err);
	if (!channel) {
		if (refused)
			explain_refusal(ssh, path, err);
		return NULL;
	}
	return ssh_stream_new(ssh, channel, path);
}
