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

/* Which commands an option is for, and what stands behind it on the command line. */
enum command_bit {
	FOR_MIGRATE = 1 << 0, /* and check */
	FOR_BEGIN = 1 << 1,
	FOR_PREPARE = 1 << 2,
	FOR_PERFORM = 1 << 3,
	FOR_FINISH = 1 << 4,
	FOR_CONFIRM = 1 << 5,
	FOR_STATUS = 1 << 6,
	FOR_CANCEL = 1 << 7,
	FOR_RECOVER = 1 << 8,
	FOR_PHASES = FOR_BEGIN | FOR_PREPARE | FOR_PERFORM | FOR_FINISH | FOR_CONFIRM,
	FOR_ALL = (1 << 9) - 1,
};

/* A command: its words, and what it does. Returns an enum exit_code. */
struct cmdline;
struct command {
	const char *name;
	const char *summary;
	enum command_bit bit;
	const char *operands; /* for --help */
	int (*run)(struct cmdline *cmd);
};

/* A parsed command line. */
struct cmdline {
	const struct command *command;
	struct options options;
	const char **disks, **maps; /* behind options.disks, options.maps */
	bool json;
	bool ports;            /* --ports was given */
	bool batch;            /* nobody is asked anything */
	const char *vm;        /* status, cancel, recover: which; NULL: none was named */
	bool all;              /* recover: every one */
	bool only_check;       /* the command is `check` */
	bool cookie_on_stdout; /* so --json goes to stderr */
	enum verbosity verbosity;
	bool help, version;
	struct {
		char **list;
		size_t count;
	} words; /* strings owned here, pointed to by options */
};

/* Parses the arguments of @command, `argv[0]` being its name. ERR_USAGE on error. */
int cmdline_parse(struct cmdline *cmd, const struct command *command, int argc, const char **argv,
		  struct err *err);

/* Gives those that were not given (0) their defaults. */
void cmdline_default_timeouts(struct timeouts *t);

void cmdline_deinit(struct cmdline *cmd);

/* Prints the operands and options of @command. */
void cmdline_help(const struct command *command);

extern const struct command command_migrate;
extern const struct command command_check;
extern const struct command command_begin;
extern const struct command command_prepare;
extern const struct command command_perform;
extern const struct command command_finish;
extern const struct command command_confirm;
extern const struct command command_status;
extern const struct command command_cancel;
extern const struct command command_recover;

/* Settles, before a move of @source, what an earlier move of the same guest has left. -1 when
 * there is none, or the guest is on the source now: go on. Else the exit code. */
int recover_first(struct cmdline *cmd);

/* The exit code for how a migration ended; @err NULL: well. */
int exit_code_of(const struct migration *m, const struct err *err);

#endif
