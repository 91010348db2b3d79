/* Commands on the other host.
 *
 * How is their end seen? Not by the end of the output: a child that the command left in the
 * background (a QEMU that was started) may keep it open for years. Nor by libssh2, which
 * gives 0 for an exit status that has not come (libssh2_channel_get_exit_status() in
 * src/channel.c of 1.10.0). So the command is wrapped: a shell runs it and then writes a
 * mark that nobody can guess, with the status, to both outputs; each output up to its mark
 * is what the command itself wrote. Without marks - the shell was killed, the server runs
 * something else (ForceCommand) - the channel's end and status count.
 *
 * The wrapped command is /bin/sh's, whatever the user's login shell is. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ssh/internal.h"

#define MARK_LEN 32   /* "vmferry-end-" and 20 hexadecimal digits */
#define STATUS_MAX 12 /* " 123;" with some air */

struct output {
	struct buf *to;
	struct buf held; /* what may be the beginning of the mark */
	bool marked;
	int status;
};

struct command {
	LIBSSH2_CHANNEL *channel;
	char mark[MARK_LEN + 1];
	char *wrapped;
	struct output out, err;
	int rc;
	bool eof;
	bool begun; /* the server may have been asked to run it */
};

static void keep(struct output *o, size_t len)
{
	size_t room = PROCESS_OUTPUT_MAX - o->to->len;

	if (len)
		buf_add(o->to, o->held.data, len < room ? len : room);
	buf_drop(&o->held, len);
}

/* "MARK 0;" - the status once all of it is there. */
static bool take_mark(struct output *o, const char *mark)
{
	const char *at = o->held.len ? memmem(o->held.data, o->held.len, mark, MARK_LEN) : NULL;
	char *end;
	long status;

	if (!at || !memchr(at, ';', o->held.len - (size_t)(at - o->held.data)))
		return false;
	status = strtol(at + MARK_LEN, &end, 10);
	if (*end != ';' || status < 0 || status > 255)
		return false;
	o->status = (int)status;
	o->marked = true;
	keep(o, (size_t)(at - o->held.data));
	buf_deinit(&o->held);
	return true;
}

static void take(struct output *o, const char *mark, const char *data, size_t len)
{
	const size_t hold = MARK_LEN + STATUS_MAX;

	if (o->marked)
		return; /* a child in the background goes on writing */
	buf_add(&o->held, data, len);
	if (!take_mark(o, mark) && o->held.len > hold)
		keep(o, o->held.len - hold);
}

/* Reads one of the outputs until there is no more now. The result is libssh2's. */
static int read_output(struct command *c, int stream, struct output *o)
{
	char chunk[16384];
	ssize_t n;

	while ((n = libssh2_channel_read_ex(c->channel, stream, chunk, sizeof(chunk))) > 0)
		take(o, c->mark, chunk, (size_t)n);
	return (int)n;
}

static bool output_step(struct ssh *ssh, void *arg)
{
	struct command *c = arg;
	int out = read_output(c, 0, &c->out);
	int err = read_output(c, SSH_EXTENDED_DATA_STDERR, &c->err);

	if (out == 0 || err == 0)
		ssh_io_kick(ssh);
	c->rc = out < 0 && out != LIBSSH2_ERROR_EAGAIN ? out : err;
	c->eof = libssh2_channel_eof(c->channel) == 1;
	return (c->out.marked && c->err.marked) || c->eof ||
	       (c->rc < 0 && c->rc != LIBSSH2_ERROR_EAGAIN);
}

static bool start_step(struct ssh *ssh, void *arg)
{
	struct command *c = arg;

	(void)ssh;
	c->rc = libssh2_channel_process_startup(c->channel, "exec", 4, c->wrapped,
						(unsigned)strlen(c->wrapped));
	return c->rc != LIBSSH2_ERROR_EAGAIN;
}

static bool eof_step(struct ssh *ssh, void *arg)
{
	struct command *c = arg;

	(void)ssh;
	c->rc = libssh2_channel_send_eof(c->channel);
	return c->rc != LIBSSH2_ERROR_EAGAIN;
}

static bool closed_step(struct ssh *ssh, void *arg)
{
	struct command *c = arg;

	(void)ssh;
	c->rc = libssh2_channel_wait_closed(c->channel);
	return c->rc != LIBSSH2_ERROR_EAGAIN;
}

static int failed(struct ssh *ssh, const struct command *c, const char *what, struct err *err)
{
	char *text = NULL;

	if (ssh_io_lost(ssh, c->rc))
		return ssh_io_closed(ssh, err);
	libssh2_session_last_error(ssh->session, &text, NULL, 0);
	return err_set(err, ERR_FAILED, "%s: %s: %s", ssh->host, what,
		       text ? text : "unknown error");
}

static int start_open(struct ssh *ssh, struct command *c, struct err *err)
{
	bool refused;

	c->channel = ssh_channel_open(ssh, "session", NULL, &refused, err);
	if (!c->channel)
		return refused ? err_wrap(err, "%s: the server allows no commands", ssh->host) : -1;
	c->begun = true;
	if (ssh_io_run(ssh, "the server to start a command", start_step, c, err) < 0)
		return -1;
	return c->rc < 0 ? failed(ssh, c, "start a command", err) : 0;
}

static int start(struct ssh *ssh, struct command *c, struct err *err)
{
	if (start_open(ssh, c, err) < 0)
		return -1;
	if (ssh_io_run(ssh, "the end of a command's input to be sent", eof_step, c, err) < 0)
		return -1;
	return c->rc < 0 ? failed(ssh, c, "end the command's input", err) : 0;
}

/* 128 + the number of a signal that the server named (RFC 4254, 6.10). */
static int signal_status(const char *name)
{
	static const struct {
		const char *name;
		int number;
	} signals[] = {{"ABRT", 6},  {"ALRM", 14}, {"FPE", 8},   {"HUP", 1},  {"ILL", 4},
		       {"INT", 2},   {"KILL", 9},  {"PIPE", 13}, {"QUIT", 3}, {"SEGV", 11},
		       {"TERM", 15}, {"USR1", 10}, {"USR2", 12}};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (strcmp(signals[i].name, name) == 0)
			return 128 + signals[i].number;
	return 128;
}

/* For a command that ended without its marks: what the server says of its end comes before
 * it closes the channel. "Success" is not believed then: libssh2 says so also when the server
 * said nothing, and what ran was perhaps not the command (ForceCommand). */
static int unmarked_status(struct ssh *ssh, struct command *c, int64_t timeout_ms, int *status,
			   struct err *err)
{
	char *name = NULL;

	if (ssh_io_wait(ssh, "a command to end", timeout_ms, closed_step, c, err) < 0)
		return -1;
	*status = libssh2_channel_get_exit_status(c->channel);
	if (libssh2_channel_get_exit_signal(c->channel, &name, NULL, NULL, NULL, NULL, NULL) == 0 &&
	    name)
		*status = signal_status(name);
	if (name)
		libssh2_free(ssh->session, name);
	if (*status != 0)
		return 0;
	return err_set(err, ERR_FAILED,
		       "%s: a command was not run to its end; is there a ForceCommand in "
		       "sshd_config, or a command=\"\" in authorized_keys?",
		       ssh->host);
}

/* Waiting for output can be given up at any time: nothing of it is kept in the session. */
static int wait_for_end(struct ssh *ssh, struct command *c, int64_t timeout_ms, struct err *err)
{
	int ret = ssh_io_wait(ssh, "a command to end", timeout_ms, output_step, c, err);

	if (ret == 0 && !c->eof && c->rc < 0 && c->rc != LIBSSH2_ERROR_EAGAIN)
		ret = failed(ssh, c, "read a command's output", err);
	return ret;
}

static int run(struct ssh *ssh, struct command *c, int64_t timeout_ms, int *status, struct err *err)
{
	const int64_t until_ms = loop_now_ms() + timeout_ms;

	if (start(ssh, c, err) < 0 || wait_for_end(ssh, c, timeout_ms, err) < 0)
		return -1;
	keep(&c->out, c->out.held.len);
	keep(&c->err, c->err.held.len);
	if (!c->out.marked && !c->err.marked)
		return unmarked_status(ssh, c, until_ms - loop_now_ms(), status, err);
	*status = c->out.marked ? c->out.status : c->err.status;
	return 0;
}

static int make_mark(struct command *c, struct err *err)
{
	uint64_t n[2];

	if (getrandom(n, sizeof(n), 0) != (ssize_t)sizeof(n))
		return err_errno(err, errno, "getrandom");
	snprintf(c->mark, sizeof(c->mark), "vmferry-end-%016" PRIx64 "%04x", n[0],
		 (unsigned)(n[1] & 0xffff));
	return 0;
}

/* The words of the mark are put together over there, so that a shell that shows what it
 * runs (set -x) does not show it by accident. */
static void wrap(struct command *c, const char *command)
{
	_autofree_ char *script = str_printf(
		"( %s ); s=$?; printf '%%s-%%s %%d;' vmferry-end %s $s; "
		"printf '%%s-%%s %%d;' vmferry-end %s $s >&2; exit $s",
		command, c->mark + strlen("vmferry-end-"), c->mark + strlen("vmferry-end-"));
	_autofree_ char *quoted = str_shell_quote(script);

	c->wrapped = str_printf("exec /bin/sh -c %s", quoted);
}

int ssh_command(struct ssh *ssh, const char *command, int64_t timeout_ms,
		struct process_output *output, struct err *err)
{
	struct command c = {.out.to = &output->out, .err.to = &output->err};
	int ret;

	*output = (struct process_output){0};
	if (make_mark(&c, err) < 0)
		return -1;
	wrap(&c, command);
	ret = run(ssh, &c, timeout_ms, &output->status, err);
	output->begun = c.begun;
	ssh_channel_release(ssh, c.channel);
	buf_deinit(&c.out.held);
	buf_deinit(&c.err.held);
	free(c.wrapped);
	return ret;
}

/* One stream for all: its stderr is its stdout. */
struct stream *ssh_program(struct ssh *ssh, const char *command, struct err *err)
{
	_autofree_ char *script = str_printf("exec 2>&1; %s", command);
	_autofree_ char *quoted = str_shell_quote(script);
	_autofree_ char *wrapped = str_printf("exec /bin/sh -c %s", quoted);
	struct command c = {.wrapped = wrapped};

	if (start_open(ssh, &c, err) == 0)
		return ssh_stream_new(ssh, c.channel, "a program");
	ssh_channel_release(ssh, c.channel);
	return NULL;
}
