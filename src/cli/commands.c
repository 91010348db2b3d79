/* The commands that are one migration: `migrate` runs it, `check` stops before its first
 * change. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/show.h"

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
	show = cmd->json ? show_json_new(cmd, loop) : show_text_new(cmd, loop);
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

static int run_migrate(struct cmdline *cmd)
{
	return run(cmd);
}

static int run_check(struct cmdline *cmd)
{
	cmd->only_check = true;
	return run(cmd);
}

const struct command command_migrate = {
	.name = "migrate",
	.summary = "move a running guest with its disks",
	.bit = FOR_MIGRATE,
	.operands = "SOURCE DESTINATION",
	.run = run_migrate,
};

const struct command command_check = {
	.name = "check",
	.summary = "show what migrate would do, and every objection; change nothing",
	.bit = FOR_MIGRATE,
	.operands = "SOURCE DESTINATION",
	.run = run_check,
};
