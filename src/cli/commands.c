/* The commands that are one migration: `migrate` runs it, `check` stops before its first
 * change. */
#include <stdio.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "journal/journal.h"

int exit_code_of(const struct migration *m, const struct err *err)
{
	if (!err)
		return EXIT_DONE;
	if (err->kind == ERR_HUMAN || m->left_behind.count)
		return EXIT_HUMAN;
	if (err->kind == ERR_REFUSED)
		return EXIT_REFUSED;
	return err->kind == ERR_INTERRUPTED ? EXIT_INTERRUPTED : EXIT_FAILED;
}

static int run(struct cmdline *cmd)
{
	struct err err = {0};
	struct loop *loop = loop_new(&err);
	struct migration *m;
	struct show *show;
	int ret, code;

	if (!loop) {
		fprintf(stderr, "vmferry: %s\n", err.text);
		return EXIT_FAILED;
	}
	show = show_new(cmd, loop);
	m = migration_new(loop, &cmd->options, &show->report);
	ret = cmd->only_check ? migration_check(m, &err) : migration_run(m, &err);
	code = exit_code_of(m, ret < 0 ? &err : NULL);
	if (cmd->only_check)
		show_plan(show, m);
	show_end(show, m, ret < 0 ? &err : NULL, code);
	migration_free(m);
	show_free(show);
	loop_free(loop);
	return code;
}

/* Running again is recovering: what an earlier vmferry has left is settled first. `check` only
 * objects to it. */
static int run_with_journals(struct cmdline *cmd)
{
	struct err err;
	_autofree_ char *directory = journal_directory(&err);
	int code;

	if (!directory) {
		fprintf(stderr, "vmferry: %s; nothing was changed\n", err.text);
		return EXIT_REFUSED;
	}
	cmd->options.journal_directory = directory;
	code = cmd->only_check ? -1 : recover_first(cmd);
	return code < 0 ? run(cmd) : code;
}

static int run_check(struct cmdline *cmd)
{
	cmd->only_check = true;
	return run_with_journals(cmd);
}

const struct command command_migrate = {
	.name = "migrate",
	.summary = "move a running guest with its disks",
	.bit = FOR_MIGRATE,
	.operands = "SOURCE DESTINATION",
	.run = run_with_journals,
};

const struct command command_check = {
	.name = "check",
	.summary = "show what migrate would do, and every objection; change nothing",
	.bit = FOR_MIGRATE,
	.operands = "SOURCE DESTINATION",
	.run = run_check,
};
