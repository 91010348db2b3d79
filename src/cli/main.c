#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"

static const struct command *const commands[] = {
	&command_migrate, &command_check,   &command_begin,  &command_prepare, &command_perform,
	&command_finish,  &command_confirm, &command_status, &command_cancel,  &command_recover,
};

#define COMMANDS_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_usage(FILE *out)
{
	fprintf(out, "Usage: vmferry COMMAND [OPTION...] OPERAND...\n"
		     "\n"
		     "Moves a running QEMU guest with its local disks to another host.\n"
		     "\n"
		     "SOURCE is the QMP socket of the guest's QEMU on this host; DESTINATION is\n"
		     "[user@]host:/path/qmp.sock, ssh://[user@]host[:port]/path/qmp.sock, or\n"
		     "/path/qmp.sock for a QEMU on this host. begin to confirm are the same move\n"
		     "cut in five, each on its own host, with a cookie between them.\n"
		     "\n"
		     "Commands:\n");
	for (size_t i = 0; i < COMMANDS_COUNT; i++)
		fprintf(out, "  %-8s%-20s%s\n", commands[i]->name, commands[i]->operands,
			commands[i]->summary);
	fprintf(out, "\n"
		     "vmferry COMMAND --help shows the options; vmferry --version the version.\n");
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMANDS_COUNT; i++)
		if (str_eq(commands[i]->name, name))
			return commands[i];
	return NULL;
}

static int usage_error(const char *text)
{
	fprintf(stderr, "vmferry: %s\nTry \"vmferry --help\".\n", text);
	return EXIT_USAGE;
}

static int run_command(const struct command *command, int argc, const char **argv)
{
	struct cmdline cmd;
	struct err err;
	int code;

	if (cmdline_parse(&cmd, command, argc, argv, &err) < 0) {
		code = usage_error(err.text);
	} else if (cmd.help) {
		cmdline_help(command);
		code = EXIT_DONE;
	} else {
		code = command->run(&cmd);
	}
	cmdline_deinit(&cmd);
	return code;
}

int main(int argc, const char **argv)
{
	_autofree_ char *text = NULL;
	const struct command *command;

	if (argc < 2)
		return usage_error("a command is missing");
	if (str_eq(argv[1], "--version")) {
		printf("vmferry %s\n", VMFERRY_VERSION);
		return EXIT_DONE;
	}
	if (str_eq(argv[1], "--help") || str_eq(argv[1], "-h") || str_eq(argv[1], "help")) {
		print_usage(stdout);
		return EXIT_DONE;
	}
	command = find_command(argv[1]);
	if (command)
		return run_command(command, argc - 1, argv + 1);
	text = str_printf("there is no command \"%s\"", argv[1]);
	str_sanitize(text);
	return usage_error(text);
}
