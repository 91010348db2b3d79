/* The five phases by hand: a cookie on stdin, the next one on stdout, all else on stderr. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "cookie/cookie.h"

/* Up to one byte more than a cookie may have, so that a longer one is refused as such. */
static int read_stdin(struct buf *text, struct err *err)
{
	char chunk[4096];
	ssize_t n;

	if (isatty(STDIN_FILENO))
		return err_set(err, ERR_USAGE,
			       "the cookie of the phase before is expected on stdin (< cookie)");
	while (text->len <= COOKIE_TEXT_MAX &&
	       (n = read(STDIN_FILENO, chunk, sizeof(chunk))) != 0) {
		if (n < 0 && errno != EINTR)
			return err_errno(err, errno, "the cookie on stdin");
		if (n > 0)
			buf_add(text, chunk, (size_t)n);
	}
	return 0;
}

static int take_cookie(struct cookie *cookie, struct err *err)
{
	_cleanup_buf_ struct buf text = {0};

	if (read_stdin(&text, err) < 0)
		return -1;
	if (!text.len)
		return err_set(err, ERR_REFUSED,
			       "stdin is empty: the phase before gave no cookie; see what it said");
	return cookie_read(cookie, text.data, text.len, err);
}

/* A cookie that is lost would leave what was done without anybody to go on with it. */
static int give_cookie(const struct cookie *cookie, struct err *err)
{
	_autofree_ char *text = cookie_write(cookie, err);

	if (!text)
		return -1;
	if (fputs(text, stdout) < 0 || fflush(stdout) < 0)
		return err_errno(err, errno, "the cookie could not be written to stdout");
	return 0;
}

/* Before anything was looked at: there is no migration yet that could show it. */
static int refuse(const struct err *err)
{
	fprintf(stderr, "vmferry: %s\n", err->text);
	return err->kind == ERR_USAGE ? EXIT_USAGE : EXIT_REFUSED;
}

static int run(struct cmdline *cmd, struct loop *loop, enum phase phase, const struct cookie *in)
{
	struct show *show = show_new(cmd, loop);
	struct migration *m = migration_new(loop, &cmd->options, &show->report);
	struct cookie out = {0};
	struct err err = {0}, lost;
	bool gave;
	int ret = migration_phase(m, phase, in, &out, &gave, &err);
	int code = exit_code_of(m, ret < 0 ? &err : NULL);

	if (gave && give_cookie(&out, &lost) < 0) {
		migration_phase_lost(m, &lost);
		err = lost;
		ret = -1;
		code = exit_code_of(m, &err);
	}
	show_end(show, m, ret < 0 ? &err : NULL, code);
	cookie_deinit(&out);
	migration_free(m);
	show_free(show);
	return code;
}

static int run_phase(struct cmdline *cmd, enum phase phase)
{
	struct cookie in = {0};
	struct err err;
	struct loop *loop;
	int code;

	cmd->cookie_on_stdout = true;
	if (phase != PHASE_BEGIN && take_cookie(&in, &err) < 0)
		return refuse(&err);
	loop = loop_new(&err);
	if (!loop) {
		cookie_deinit(&in);
		return refuse(&err);
	}
	code = run(cmd, loop, phase, phase == PHASE_BEGIN ? NULL : &in);
	loop_free(loop);
	cookie_deinit(&in);
	return code;
}

static int run_begin(struct cmdline *cmd)
{
	return run_phase(cmd, PHASE_BEGIN);
}

static int run_prepare(struct cmdline *cmd)
{
	return run_phase(cmd, PHASE_PREPARE);
}

static int run_perform(struct cmdline *cmd)
{
	return run_phase(cmd, PHASE_PERFORM);
}

static int run_finish(struct cmdline *cmd)
{
	return run_phase(cmd, PHASE_FINISH);
}

static int run_confirm(struct cmdline *cmd)
{
	return run_phase(cmd, PHASE_CONFIRM);
}

const struct command command_begin = {
	.name = "begin",
	.summary = "by hand, on the source: look; > a cookie for prepare",
	.bit = FOR_BEGIN,
	.operands = "SOURCE",
	.run = run_begin,
};

const struct command command_prepare = {
	.name = "prepare",
	.summary = "on the destination: create, start, export; > for perform",
	.bit = FOR_PREPARE,
	.operands = "DESTINATION",
	.run = run_prepare,
};

const struct command command_perform = {
	.name = "perform",
	.summary = "on the source: mirror, migrate; > for finish",
	.bit = FOR_PERFORM,
	.operands = "SOURCE",
	.run = run_perform,
};

const struct command command_finish = {
	.name = "finish",
	.summary = "on the destination: run the guest; > for confirm",
	.bit = FOR_FINISH,
	.operands = "DESTINATION",
	.run = run_finish,
};

const struct command command_confirm = {
	.name = "confirm",
	.summary = "on the source: end it, or take the guest back",
	.bit = FOR_CONFIRM,
	.operands = "SOURCE",
	.run = run_confirm,
};
