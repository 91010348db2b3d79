/* The options as one table: parsing, --help, and (by a test) man page and completions all
 * follow it. */
#include <arpa/inet.h>
#include <errno.h>
#include <popt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/terminal.h"

/* A row's handler takes the argument (NULL for a flag). */
struct row {
	const char *name;
	char letter;
	const char *arg; /* its name in --help; NULL for a flag */
	int commands;    /* of enum command_bit */
	int (*take)(struct cmdline *cmd, const char *arg, struct err *err);
	const char *help;
};

static int bad(struct err *err, const char *option, const char *arg, const char *wanted)
{
	return err_set(err, ERR_USAGE, "%s %s: %s", option, arg, wanted);
}

/* popt's strings end with its context: keep them here. */
static const char *keep(struct cmdline *cmd, char *word)
{
	cmd->words.list = mem_grow(cmd->words.list, cmd->words.count + 1, sizeof(char *));
	cmd->words.list[cmd->words.count++] = word;
	return word;
}

static void append(const char ***list, const char *word)
{
	size_t n = 0;

	while (*list && (*list)[n])
		n++;
	*list = mem_grow(*list, n + 2, sizeof(char *));
	(*list)[n] = word;
	(*list)[n + 1] = NULL;
}

static int take_disk(struct cmdline *cmd, const char *arg, struct err *err)
{
	if (!*arg || *arg == '=' || arg[strlen(arg) - 1] == '=')
		return bad(err, "--disk", arg, "wants NAME or NAME=PATH");
	append(&cmd->disks, arg);
	cmd->options.disks = cmd->disks;
	return 0;
}

static int take_map(struct cmdline *cmd, const char *arg, struct err *err)
{
	const char *eq = strchr(arg, '=');

	if (*arg != '/' || !eq || eq[1] != '/')
		return bad(err, "--map", arg, "wants /SRCPREFIX=/DSTPREFIX");
	append(&cmd->maps, arg);
	cmd->options.maps = cmd->maps;
	return 0;
}

static int take_start(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)err;
	cmd->options.start = arg;
	return 0;
}

static int take_clone(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->options.clone = true;
	return 0;
}

static int take_copy_extra(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->options.copy_extra = true;
	return 0;
}

static int take_scope(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->options.scope = true;
	return 0;
}

static int take_mirror(struct cmdline *cmd, const char *arg, struct err *err)
{
	static const char *const names[] = {"auto", "blockdev", "drive", "none"};

	for (int i = 0; i < 4; i++) {
		if (!str_eq(arg, names[i]))
			continue;
		cmd->options.mirror = (enum mirror_method)i;
		return 0;
	}
	return bad(err, "--mirror", arg, "wants auto, blockdev, drive or none");
}

static int take_incremental(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->options.incremental = true;
	return 0;
}

static int take_trust_backing(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->options.trust_backing = true;
	return 0;
}

static int take_fast(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->options.fast = true;
	return 0;
}

static int take_bandwidth(struct cmdline *cmd, const char *arg, struct err *err)
{
	if (!str_parse_size(arg, &cmd->options.bandwidth) || !cmd->options.bandwidth ||
	    cmd->options.bandwidth > 1ull << 50)
		return bad(err, "--bandwidth", arg, "wants bytes a second, as 500k, 100M or 2G");
	return 0;
}

static bool parse_number(const char *arg, long low, long high, long *value)
{
	char *end;

	errno = 0;
	*value = strtol(arg, &end, 10);
	return *arg >= '0' && *arg <= '9' && !*end && !errno && *value >= low && *value <= high;
}

static int take_downtime_limit(struct cmdline *cmd, const char *arg, struct err *err)
{
	long ms;

	if (!parse_number(arg, 1, 2000000, &ms))
		return bad(err, "--downtime-limit", arg, "wants 1 to 2000000 milliseconds");
	cmd->options.downtime_limit_ms = (uint64_t)ms;
	return 0;
}

static int take_encrypt(struct cmdline *cmd, const char *arg, struct err *err)
{
	if (str_eq(arg, "none"))
		cmd->options.encrypt = ENCRYPT_NONE;
	else if (str_eq(arg, "psk"))
		cmd->options.encrypt = ENCRYPT_PSK;
	else if (str_eq(arg, "ssh"))
		cmd->options.encrypt = ENCRYPT_SSH;
	else if (str_starts(arg, "x509:/"))
		cmd->options.encrypt = ENCRYPT_X509;
	else
		return bad(err, "--encrypt", arg, "wants psk, x509:/DIRECTORY, ssh or none");
	cmd->options.certificates = cmd->options.encrypt == ENCRYPT_X509 ? strchr(arg, '/') : NULL;
	return 0;
}

static int take_data_address(struct cmdline *cmd, const char *arg, struct err *err)
{
	struct in6_addr any;

	if (inet_pton(AF_INET, arg, &any) != 1 && inet_pton(AF_INET6, arg, &any) != 1)
		return bad(err, "--data-address", arg, "wants a numeric IPv4 or IPv6 address");
	cmd->options.data_address = arg;
	return 0;
}

static int take_ports(struct cmdline *cmd, const char *arg, struct err *err)
{
	_autofree_ char *low = str_printf("%.*s", (int)strcspn(arg, "-"), arg);
	const char *dash = strchr(arg, '-');
	long from, to;

	if (!dash || !parse_number(low, 1, 65535, &from) ||
	    !parse_number(dash + 1, 1, 65535, &to) || from >= to)
		return bad(err, "--ports", arg, "wants LOW-HIGH, two or more of 1 to 65535");
	cmd->options.port_low = (int)from;
	cmd->options.port_high = (int)to;
	cmd->ports = true;
	return 0;
}

static int take_keep_source(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->options.keep_source = true;
	return 0;
}

static int take_timeout(struct cmdline *cmd, const char *arg, struct err *err)
{
	struct timeouts *t = &cmd->options.timeouts;
	const struct {
		const char *name;
		int64_t *ms;
	} known[] = {
		{"connect=", &t->connect_ms},       {"answer=", &t->answer_ms},
		{"start=", &t->start_ms},           {"stall=", &t->stall_ms},
		{"switchover=", &t->switchover_ms},
	};
	long seconds;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!str_starts(arg, known[i].name) ||
		    !parse_number(arg + strlen(known[i].name), 1, 1000000, &seconds))
			continue;
		*known[i].ms = seconds * 1000;
		return 0;
	}
	return bad(err, "--timeout", arg,
		   "wants WHAT=SECONDS, WHAT being connect, answer, start, stall or switchover");
}

static int take_reconnect(struct cmdline *cmd, const char *arg, struct err *err)
{
	long seconds;

	if (!parse_number(arg, 0, 100000, &seconds))
		return bad(err, "--reconnect", arg, "wants a number of seconds, 0 to 100000");
	cmd->options.timeouts.reconnect_ms = seconds ? seconds * 1000 : -1;
	return 0;
}

static int take_retries(struct cmdline *cmd, const char *arg, struct err *err)
{
	long retries;

	if (!parse_number(arg, 0, 1000, &retries))
		return bad(err, "--retries", arg, "wants a number, 0 to 1000");
	cmd->options.retries = (int)retries;
	return 0;
}

/* What is put on record is used by `recover`, which cron starts in another directory. */
static int take_path(struct cmdline *cmd, const char *option, const char *arg, const char **path,
		     struct err *err)
{
	_autofree_ char *cwd = *arg && *arg != '/' ? getcwd(NULL, 0) : NULL;

	*path = arg;
	if (!*arg || *arg == '/')
		return 0;
	if (!cwd)
		return bad(err, option, arg, "the working directory, where it is to be, has gone");
	*path = keep(cmd, str_printf("%s/%s", str_eq(cwd, "/") ? "" : cwd, arg));
	return 0;
}

static int take_identity(struct cmdline *cmd, const char *arg, struct err *err)
{
	return take_path(cmd, "--identity", arg, &cmd->options.ssh.identity, err);
}

/* "none" is ssh(1)'s word for no file at all. */
static int take_config(struct cmdline *cmd, const char *arg, struct err *err)
{
	if (!str_eq(arg, "none"))
		return take_path(cmd, "--ssh-config", arg, &cmd->options.ssh.config, err);
	cmd->options.ssh.config = arg;
	return 0;
}

static int take_known_hosts(struct cmdline *cmd, const char *arg, struct err *err)
{
	return take_path(cmd, "--known-hosts", arg, &cmd->options.ssh.known_hosts, err);
}

static int take_sudo(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->options.ssh.sudo = true;
	return 0;
}

static int take_batch(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->batch = true;
	return 0;
}

static int take_all(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->all = true;
	return 0;
}

static int take_json(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->json = true;
	return 0;
}

static int take_quiet(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->verbosity = QUIET;
	return 0;
}

static int take_verbose(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->verbosity = VERBOSE;
	return 0;
}

static int take_help(struct cmdline *cmd, const char *arg, struct err *err)
{
	(void)arg;
	(void)err;
	cmd->help = true;
	return 0;
}

#define FOR_MOST (FOR_ALL & ~FOR_CANCEL)
#define FOR_SSH (FOR_MIGRATE | FOR_STATUS | FOR_RECOVER)

static const struct row rows[] = {
	{"disk", 0, "NAME[=PATH]", FOR_MIGRATE | FOR_BEGIN | FOR_PREPARE, take_disk,
	 "move this disk (and only those named so); its path over there. Repeatable"},
	{"map", 0, "SRC=DST", FOR_MIGRATE | FOR_PREPARE, take_map,
	 "paths that begin with SRC here begin with DST over there. Repeatable"},
	{"start", 0, "COMMAND", FOR_MIGRATE | FOR_PREPARE, take_start,
	 "run COMMAND over there to start the waiting QEMU"},
	{"clone", 0, NULL, FOR_MIGRATE, take_clone,
	 "start the waiting QEMU over there by the source's own command line"},
	{"copy-extra", 0, NULL, FOR_MIGRATE, take_copy_extra,
	 "with that: copy CD-ROMs, firmware, variable stores and the like that are not there"},
	{"scope", 0, NULL, FOR_MIGRATE, take_scope,
	 "with that: run it over there in a scope of systemd of its own"},
	{"mirror", 0, "METHOD", FOR_MIGRATE | FOR_BEGIN | FOR_PREPARE | FOR_PERFORM, take_mirror,
	 "auto, blockdev or drive (blockdev-mirror, drive-mirror); none: the old way, `migrate` "
	 "blk or inc"},
	{"incremental", 0, NULL, FOR_MIGRATE | FOR_BEGIN, take_incremental,
	 "copy only each disk's top image: the other host has its backing image already"},
	{"trust-backing", 0, NULL, FOR_MIGRATE | FOR_BEGIN | FOR_PREPARE, take_trust_backing,
	 "with that: do not compare the backing images of the two hosts"},
	{"fast", 0, NULL, FOR_MIGRATE | FOR_PERFORM, take_fast,
	 "copy as fast as the machine can, at the guest's cost"},
	{"bandwidth", 0, "RATE", FOR_MIGRATE | FOR_PERFORM, take_bandwidth,
	 "bytes a second for disks and RAM together; k, M, G"},
	{"downtime-limit", 0, "MS", FOR_MIGRATE | FOR_PERFORM, take_downtime_limit,
	 "how long RAM may keep the guest stopped (QEMU's downtime-limit)"},
	{"encrypt", 0, "METHOD", FOR_MIGRATE, take_encrypt,
	 "psk (default to another host): by a key for this move; x509:DIR: by certificates; ssh: "
	 "through SSH, with no port opened; none"},
	{"data-address", 0, "ADDR", FOR_MIGRATE | FOR_PREPARE, take_data_address,
	 "the destination's address for disks and RAM (default: the one SSH reached)"},
	{"ports", 0, "LOW-HIGH", FOR_MIGRATE | FOR_PREPARE, take_ports,
	 "ports of the destination for disks and RAM (default: 49152-49215)"},
	{"reconnect", 0, "SECONDS", FOR_MIGRATE | FOR_PERFORM | FOR_RECOVER, take_reconnect,
	 "how long a lost connection is waited for while disks are copied (default: 60; 0: not)"},
	{"retries", 0, "N", FOR_MIGRATE, take_retries,
	 "how often a QEMU over there that dies while RAM is sent is started again (default: 0)"},
	{"keep-source", 0, NULL, FOR_MIGRATE | FOR_CONFIRM, take_keep_source,
	 "leave the source's QEMU, stopped"},
	{"all", 0, NULL, FOR_RECOVER, take_all, "recover every guest"},
	{"timeout", 0, "WHAT=SECONDS", FOR_MOST, take_timeout,
	 "deadline of connect (10), answer (30), start (60), stall (60), switchover (15). "
	 "Repeatable"},
	{"identity", 'i', "FILE", FOR_SSH, take_identity, "SSH: use only this private key"},
	{"ssh-config", 'F', "FILE", FOR_SSH, take_config, "SSH: an ssh_config(5)"},
	{"known-hosts", 0, "FILE", FOR_SSH, take_known_hosts,
	 "SSH: the only file with known host keys"},
	{"sudo", 0, NULL, FOR_SSH, take_sudo,
	 "SSH: a login that is not root becomes it by sudo, which asks nothing"},
	{"batch", 0, NULL, FOR_SSH, take_batch, "ask nothing, as when stdin is no terminal"},
	{"json", 0, NULL, FOR_MOST, take_json, "one JSON object a line on stdout"},
	{"quiet", 'q', NULL, FOR_MOST, take_quiet, "errors only"},
	{"verbose", 'v', NULL, FOR_MOST, take_verbose,
	 "every QMP line; check: also what each QEMU can"},
	{"help", 'h', NULL, FOR_ALL, take_help, "show these options"},
};

#define ROWS_COUNT (sizeof(rows) / sizeof(rows[0]))

/* popt's form of the table; an option's val is its row + 1. @commands: only the options of
 * these. */
static void to_popt(struct poptOption *table, int commands)
{
	memset(table, 0, (ROWS_COUNT + 1) * sizeof(*table));
	for (size_t i = 0; i < ROWS_COUNT; i++) {
		if (!(rows[i].commands & commands))
			continue;
		*table++ = (struct poptOption){
			.longName = rows[i].name,
			.shortName = rows[i].letter,
			.argInfo = rows[i].arg ? POPT_ARG_STRING : POPT_ARG_NONE,
			.val = (int)i + 1,
			.descrip = rows[i].help,
			.argDescrip = rows[i].arg,
		};
	}
}

static int take_options(struct cmdline *cmd, poptContext popt, struct err *err)
{
	int row;

	while ((row = poptGetNextOpt(popt)) > 0) {
		char *arg = poptGetOptArg(popt);
		const char *kept = arg ? keep(cmd, arg) : NULL;

		if (!(rows[row - 1].commands & cmd->command->bit))
			return err_set(err, ERR_USAGE,
				       "--%s is no option of %s; \"vmferry %s --help\" "
				       "shows those",
				       rows[row - 1].name, cmd->command->name, cmd->command->name);
		if (rows[row - 1].take(cmd, kept, err) < 0)
			return -1;
	}
	if (row < -1)
		return err_set(err, ERR_USAGE, "%s: %s",
			       poptBadOption(popt, POPT_BADOPTION_NOALIAS), poptStrerror(row));
	return 0;
}

static int take_source(struct cmdline *cmd, poptContext popt, struct err *err)
{
	const char *source = poptGetArg(popt);

	if (!source)
		return err_set(err, ERR_USAGE, "SOURCE is missing");
	cmd->options.source = keep(cmd, str_dup(source));
	return 0;
}

/* prepare and finish run where the destination is: there it is a path. */
static int take_destination(struct cmdline *cmd, poptContext popt, struct err *err)
{
	struct options *opt = &cmd->options;
	const char *destination = poptGetArg(popt);
	int ret;

	if (!destination)
		return err_set(err, ERR_USAGE, "DESTINATION is missing");
	if (cmd->command->bit != FOR_MIGRATE && *destination != '/')
		return err_set(
			err, ERR_USAGE,
			"destination \"%s\": %s runs on the destination's host and takes the "
			"path of its monitor there, /path/qmp.sock",
			destination, cmd->command->name);
	if (opt->clone && opt->start)
		return err_set(err, ERR_USAGE, "--clone and --start exclude one another");
	if (opt->clone)
		ret = destination_parse_host(destination, opt->source, &opt->dst, err);
	else
		ret = destination_parse(destination, &opt->dst, err);
	if (ret < 0)
		return -1;
	if (opt->encrypt == ENCRYPT_SSH && !opt->dst.host)
		return err_set(err, ERR_USAGE,
			       "--encrypt=ssh: \"%s\" is on this host, which is not reached by SSH",
			       destination);
	opt->ssh.host = opt->dst.host;
	opt->ssh.user = opt->dst.user;
	opt->ssh.port = opt->dst.port;
	opt->ssh.answer_timeout_ms = opt->timeouts.answer_ms;
	opt->ssh.silence_ms = opt->timeouts.reconnect_ms;
	return 0;
}

static int check_retries(const struct options *opt, struct err *err)
{
	if (opt->retries && !opt->start && !opt->clone)
		return err_set(err, ERR_USAGE,
			       "--retries: goes with --start or --clone only, by which the QEMU "
			       "over there is started again");
	if (opt->retries && opt->timeouts.reconnect_ms < 0)
		return err_set(err, ERR_USAGE, "--retries and --reconnect 0 exclude one another");
	return 0;
}

/* What has no part in a move whose data goes through SSH. */
static int check_ssh_data(const struct cmdline *cmd, struct err *err)
{
	const struct options *opt = &cmd->options;

	if (opt->encrypt != ENCRYPT_SSH)
		return 0;
	if (opt->data_address)
		return err_set(err, ERR_USAGE,
			       "--data-address: with --encrypt=ssh all goes to where SSH goes");
	if (cmd->ports)
		return err_set(err, ERR_USAGE, "--ports: with --encrypt=ssh no port is opened");
	if (opt->retries)
		return err_set(err, ERR_USAGE, "--retries and --encrypt=ssh exclude one another");
	return 0;
}

/* In prepare the cookie says whether it is incremental. */
static int check_together(const struct cmdline *cmd, struct err *err)
{
	if (!cmd->help && (check_retries(&cmd->options, err) < 0 || check_ssh_data(cmd, err) < 0))
		return -1;
	if (cmd->options.trust_backing && !cmd->options.incremental && !cmd->help &&
	    cmd->command->bit != FOR_PREPARE)
		return err_set(err, ERR_USAGE, "--trust-backing: goes with --incremental only");
	if (cmd->options.copy_extra && !cmd->options.clone && !cmd->help)
		return err_set(err, ERR_USAGE, "--copy-extra: goes with --clone only");
	if (cmd->options.scope && !cmd->options.clone && !cmd->help)
		return err_set(err, ERR_USAGE, "--scope: goes with --clone only");
	return 0;
}

static int take_operands(struct cmdline *cmd, poptContext popt, struct err *err)
{
	int bit = cmd->command->bit;

	if (cmd->help)
		return 0;
	if ((bit & (FOR_MIGRATE | FOR_BEGIN | FOR_PERFORM | FOR_CONFIRM)) &&
	    take_source(cmd, popt, err) < 0)
		return -1;
	if ((bit & (FOR_MIGRATE | FOR_PREPARE | FOR_FINISH)) &&
	    take_destination(cmd, popt, err) < 0)
		return -1;
	if ((bit & (FOR_STATUS | FOR_CANCEL | FOR_RECOVER)) && poptPeekArg(popt))
		cmd->vm = keep(cmd, str_dup(poptGetArg(popt)));
	if (poptPeekArg(popt))
		return err_set(err, ERR_USAGE, "\"%s\" is one argument too many",
			       poptPeekArg(popt));
	return 0;
}

static void give(int64_t *ms, int64_t by_default)
{
	if (!*ms)
		*ms = by_default;
}

void cmdline_default_timeouts(struct timeouts *t)
{
	give(&t->connect_ms, 10000);
	give(&t->answer_ms, 30000);
	give(&t->start_ms, 60000);
	give(&t->stall_ms, 60000);
	give(&t->switchover_ms, 15000);
	give(&t->reconnect_ms, 60000);
}

static void set_defaults(struct cmdline *cmd)
{
	*cmd = (struct cmdline){
		.options = {.port_low = 49152,
			    .port_high = 49215,
			    .halt_before = getenv("VMFERRY_TEST_HALT_BEFORE")},
	};
}

int cmdline_parse(struct cmdline *cmd, const struct command *command, int argc, const char **argv,
		  struct err *err)
{
	struct poptOption table[ROWS_COUNT + 1];
	poptContext popt;
	int ret;

	set_defaults(cmd);
	cmd->command = command;
	to_popt(table, FOR_ALL);
	popt = poptGetContext("vmferry", argc, argv, table, 0);
	ret = take_options(cmd, popt, err);
	cmd->options.ssh.connect_timeout_ms =
		cmd->options.timeouts.connect_ms; /* else ssh_config's */
	cmd->options.asked = cmd->options.timeouts;
	if (!(command->bit & (FOR_STATUS | FOR_RECOVER))) /* there the journal's come first */
		cmdline_default_timeouts(&cmd->options.timeouts);
	if (!cmd->batch && isatty(STDIN_FILENO))
		cmd->options.ssh.ask = terminal_ask;
	if (ret == 0)
		ret = check_together(cmd, err);
	if (ret == 0)
		ret = take_operands(cmd, popt, err);
	poptFreeContext(popt);
	return ret;
}

void cmdline_deinit(struct cmdline *cmd)
{
	for (size_t i = 0; i < cmd->words.count; i++)
		free(cmd->words.list[i]);
	free(cmd->words.list);
	free(cmd->disks);
	free(cmd->maps);
	destination_deinit(&cmd->options.dst);
}

void cmdline_help(const struct command *command)
{
	struct poptOption table[ROWS_COUNT + 1];
	const char *argv[] = {"vmferry", NULL};
	poptContext popt;

	to_popt(table, command->bit);
	printf("vmferry %s: %s\n\n", command->name, command->summary);
	fflush(stdout);
	popt = poptGetContext("vmferry", 1, argv, table, 0);
	_autofree_ char *operands =
		str_printf("%s [OPTION...] %s", command->name, command->operands);
	poptSetOtherOptionHelp(popt, operands);
	poptPrintHelp(popt, stdout, 0);
	poptFreeContext(popt);
}
