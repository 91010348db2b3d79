/* The command line as options: what is not as it was typed. */
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/cli.h"
#include "unit.h"

static struct cmdline cmd;
static struct err err;

/* @words: NULL at the end, the command's name first. */
static int parse(const struct command *command, const char **words)
{
	int count = 0;

	while (words[count])
		count++;
	return cmdline_parse(&cmd, command, count, words, &err);
}

static void parse_files(const char *config, const char *identity, const char *known_hosts)
{
	const char *words[] = {"migrate",       "-F",        config, "-i",       identity,
			       "--known-hosts", known_hosts, "/a",   "hostb:/b", NULL};

	ck_assert_ok(parse(&command_migrate, words), &err);
}

START_TEST(files_of_ssh_are_found_from_everywhere)
{
	ck_assert_int_eq(chdir("/usr"), 0);
	parse_files("config", "keys/id", "./known");
	ck_assert_str_eq(cmd.options.ssh.config, "/usr/config");
	ck_assert_str_eq(cmd.options.ssh.identity, "/usr/keys/id");
	ck_assert_str_eq(cmd.options.ssh.known_hosts, "/usr/./known");
	cmdline_deinit(&cmd);
	ck_assert_int_eq(chdir("/"), 0);
	parse_files("config", "/etc/id", "known");
	ck_assert_str_eq(cmd.options.ssh.config, "/config");
	ck_assert_str_eq(cmd.options.ssh.identity, "/etc/id");
	ck_assert_str_eq(cmd.options.ssh.known_hosts, "/known");
	cmdline_deinit(&cmd);
}
END_TEST

START_TEST(no_configuration_of_ssh_is_no_file)
{
	ck_assert_int_eq(chdir("/usr"), 0);
	parse_files("none", "none", "none");
	ck_assert_str_eq(cmd.options.ssh.config, "none");
	ck_assert_str_eq(cmd.options.ssh.identity, "/usr/none");
	cmdline_deinit(&cmd);
}
END_TEST

START_TEST(a_directory_that_has_gone_is_told)
{
	char directory[] = "/tmp/test-cmdline-XXXXXX";
	const char *words[] = {"migrate", "-F", "config", "/a", "hostb:/b", NULL};

	ck_assert_ptr_nonnull(mkdtemp(directory));
	ck_assert_int_eq(chdir(directory), 0);
	ck_assert_int_eq(rmdir(directory), 0);
	ck_assert_int_eq(parse(&command_migrate, words), -1);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_has(err.text, "--ssh-config config: the working directory");
	cmdline_deinit(&cmd);
}
END_TEST

START_TEST(what_was_asked_for_is_told_from_what_is_so_by_default)
{
	const char *words[] = {"migrate", "--timeout", "answer=5", "--reconnect",
			       "0",       "/a",        "hostb:/b", NULL};
	const struct options *opt = &cmd.options;

	ck_assert_ok(parse(&command_migrate, words), &err);
	ck_assert_int_eq(opt->asked.answer_ms, 5000);
	ck_assert_int_eq(opt->asked.reconnect_ms, -1);
	ck_assert_int_eq(opt->asked.connect_ms, 0);
	ck_assert_int_eq(opt->timeouts.answer_ms, 5000);
	ck_assert_int_eq(opt->timeouts.reconnect_ms, -1);
	ck_assert_int_eq(opt->timeouts.connect_ms, 10000);
	ck_assert_int_eq(opt->ssh.connect_timeout_ms, 0);
	cmdline_deinit(&cmd);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		files_of_ssh_are_found_from_everywhere,
		no_configuration_of_ssh_is_no_file,
		a_directory_that_has_gone_is_told,
		what_was_asked_for_is_told_from_what_is_so_by_default,
	};

	return unit_run("cmdline", tests, COUNT_OF(tests));
}
