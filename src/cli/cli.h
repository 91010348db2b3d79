/* The command line: what is parsed, shown and returned to the shell. The only layer that
 * prints or exits. */
#ifndef VMFERRY_CLI_CLI_H
#define VMFERRY_CLI_CLI_H

#include <stdbool.h>

#include "base/err.h"
#include "migrate/migrate.h"

/* Documented in the man page; scripts rely on them. */
enum exit_code {
	EXIT_DONE = 0,
	EXIT_USAGE = 2,       /* the command line is wrong; nothing was done */
	EXIT_REFUSED = 3,     /* refused before anything was changed */
	EXIT_FAILED = 4,      /* failed and undone: the guest runs on the source */
	EXIT_INTERRUPTED = 5, /* interrupted and undone: the guest runs on the source */
	EXIT_HUMAN = 6,       /* something has to be looked at; the message says what */
};

enum verbosity {
	QUIET = -1,
	NORMAL,
	VERBOSE,
};

/* A parsed command line. */
struct cmdline {
	struct options options;
	const char **disks, **maps; /* behind options.disks, options.maps */
	bool json;
	bool only_check; /* the command is `check` */
	enum verbosity verbosity;
	bool help, version;
	struct {
		char **list;
		size_t count;
	} words; /* strings owned here, pointed to by options */
};

/* Parses the arguments of one command, `argv[0]` being its name. ERR_USAGE on error. */
int cmdline_parse(struct cmdline *cmd, int argc, const char **argv, struct err *err);
void cmdline_deinit(struct cmdline *cmd);

/* Prints the options of `vmferry @command`. */
void cmdline_help(const char *command, const char *summary);

/* A command: its words, and what it does. Returns an enum exit_code. */
struct command {
	const char *name;
	const char *summary;
	int (*run)(struct cmdline *cmd);
};

extern const struct command command_migrate;
extern const struct command command_check;

/* The exit code for how a migration ended; @err NULL: well. */
int exit_code_of(const struct migration *m, const struct err *err);

#endif
