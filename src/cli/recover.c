/* status, cancel and recover: what is on record of moves that are under way, or that were left
 * by a vmferry that died. */
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "journal/journal.h"
#include "migrate/recover.h"

/* A guest's name, a path, a host may be any bytes: none of it reaches a terminal as it is. */
__attribute__((format(printf, 2, 3))) static void say(FILE *to, const char *fmt, ...)
{
	va_list ap;
	char text[4096];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	str_sanitize(text);
	fprintf(to, "%s\n", text);
}

/* --- which --- */

static const char *guest_of(const struct record *r)
{
	return r->guest ? r->guest : r->source;
}

static const char *destination_of(const struct record *r)
{
	return r->dst_host ? r->dst_host : r->dst_socket;
}

/* A guest is named as it is known: by its name, its UUID, or its monitor on the source. */
static bool is_named(const struct journal_entry *entry, const char *vm)
{
	const struct record *r = &entry->record;
	_autofree_ char *path = realpath(vm, NULL);

	return str_eq(entry->path, vm) ||
	       (entry->readable && (str_eq(r->guest, vm) || str_eq(r->uuid, vm) ||
				    str_eq(r->source, vm) || str_eq(r->source, path)));
}

static int complain(const char *text)
{
	say(stderr, "vmferry: %s", text);
	return EXIT_FAILED;
}

static int complain_of(const struct journal_entry *entry)
{
	say(stderr,
	    "vmferry: %s: %s; remove it if nothing is left of that move, which only you can see",
	    entry->path, entry->error);
	return EXIT_HUMAN;
}

static int read_journals(struct journal_list *list)
{
	struct err err;
	_autofree_ char *directory = journal_directory(&err);

	*list = (struct journal_list){0};
	if (!directory || journal_list(directory, NULL, list, &err) < 0) {
		complain(err.text);
		return -1;
	}
	return 0;
}

static int unknown(const struct journal_list *list, const char *vm)
{
	_cleanup_buf_ struct buf there = {0};

	for (size_t i = 0; i < list->count; i++)
		buf_printf(&there, "%s %s", i ? "," : " are:",
			   list->list[i].readable ? guest_of(&list->list[i].record)
						  : list->list[i].path);
	say(stderr, "vmferry: no move of \"%s\" is on record; there%s", vm,
	    list->count ? there.data : " is none");
	return EXIT_USAGE;
}

/* --- recover --- */

static struct options options_for(const struct cmdline *cmd, const struct record *record)
{
	struct options opt = cmd->options;

	record_options(record, &opt);
	cmdline_default_timeouts(&opt.timeouts);
	opt.ssh.connect_timeout_ms = opt.timeouts.connect_ms;
	opt.ssh.answer_timeout_ms = opt.timeouts.answer_ms;
	return opt;
}

static int recover_journal(struct cmdline *cmd, struct loop *loop, struct journal *journal,
			   struct record *record, enum record_outcome *outcome)
{
	struct show *show = cmd->json ? show_json_new(cmd, loop) : show_text_new(cmd, loop);
	struct migration *m = migration_new(loop, &cmd->options, &show->report);
	struct err err = {0};
	int ret, code;

	record_take(m, journal, record);
	ret = migration_recover(m, &err);
	code = exit_code_of(m, ret < 0 ? &err : NULL);
	*outcome = m->outcome;
	show_end(show, m, ret < 0 ? &err : NULL, code);
	migration_free(m);
	show_free(show);
	return code;
}

/* The options stand for one guest; @cmd has the user's own again afterwards. */
static int recover_one(struct cmdline *cmd, const char *path, enum record_outcome *outcome)
{
	struct options own = cmd->options;
	struct record record, strings;
	struct journal *journal;
	struct err err;
	pid_t holder;
	struct loop *loop;
	int code;

	*outcome = RECORD_OPEN;
	journal = journal_open(path, &record, &holder, &err);
	if (!journal && err.kind == ERR_CLOSED)
		return EXIT_DONE; /* somebody else has */
	if (!journal) {
		complain(err.text);
		return err.kind == ERR_REFUSED ? EXIT_REFUSED : EXIT_HUMAN;
	}
	loop = loop_new(&err);
	if (!loop) {
		journal_close(journal);
		record_deinit(&record);
		return complain(err.text);
	}
	strings = record; /* they move to the migration, which outlives the options */
	cmd->options = options_for(cmd, &strings);
	code = recover_journal(cmd, loop, journal, &record, outcome);
	cmd->options = own;
	loop_free(loop);
	return code;
}

static int recover_entry(struct cmdline *cmd, const struct journal_entry *entry)
{
	enum record_outcome outcome;

	if (!entry->readable)
		return complain_of(entry);
	if (entry->holder && cmd->all)
		return EXIT_DONE; /* it is under way */
	return recover_one(cmd, entry->path, &outcome);
}

/* One that needs a human does not keep the others. */
static int recover_all(struct cmdline *cmd, const struct journal_list *list)
{
	int worst = EXIT_DONE;

	for (size_t i = 0; i < list->count; i++) {
		int code = recover_entry(cmd, &list->list[i]);

		if (code > worst)
			worst = code;
	}
	return worst;
}

static int recover_named(struct cmdline *cmd, const struct journal_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		if (is_named(&list->list[i], cmd->vm))
			return recover_entry(cmd, &list->list[i]);
	return unknown(list, cmd->vm);
}

static int run_recover(struct cmdline *cmd)
{
	struct journal_list list;
	int code;

	if (!cmd->vm && !cmd->all) {
		complain("which guest? name it, or give --all; `vmferry status` shows them");
		return EXIT_USAGE;
	}
	if (read_journals(&list) < 0)
		return EXIT_FAILED;
	code = cmd->all ? recover_all(cmd, &list) : recover_named(cmd, &list);
	journal_list_deinit(&list);
	return code;
}

/* Only the monitor is known before its QEMU was asked; record_open() compares the rest. */
static const struct journal_entry *entry_of_source(const struct journal_list *list,
						   const char *source)
{
	_autofree_ char *path = realpath(source, NULL);

	for (size_t i = 0; i < list->count; i++)
		if (list->list[i].readable &&
		    record_is_of(&list->list[i].record, path ? path : source, NULL, NULL))
			return &list->list[i];
	return NULL;
}

/* Whether that move was to where the user wants this one to go. */
static bool goes_there(const struct cmdline *cmd, const struct record *r)
{
	const struct destination *dst = &cmd->options.dst;

	return str_eq(dst->socket, r->dst_socket) &&
	       (dst->host ? str_eq(dst->host, r->dst_host) : !r->dst_host);
}

static int tell_elsewhere(const struct record *r)
{
	say(stderr,
	    "vmferry: %s: LOOK AT THIS: the earlier move could be finished, so it is on %s now, "
	    "not "
	    "where this move was to bring it; move it on from there",
	    guest_of(r), destination_of(r));
	return EXIT_HUMAN;
}

static int recover_abandoned(struct cmdline *cmd, const struct journal_entry *entry)
{
	enum record_outcome outcome;
	int code;

	say(stderr, "vmferry: an earlier move of %s to %s was not ended: that first",
	    guest_of(&entry->record), destination_of(&entry->record));
	code = recover_one(cmd, entry->path, &outcome);
	if (code != EXIT_DONE || outcome == RECORD_MOVED)
		return code == EXIT_DONE && !goes_there(cmd, &entry->record)
			       ? tell_elsewhere(&entry->record)
			       : code;
	return -1;
}

int recover_first(struct cmdline *cmd)
{
	const struct journal_entry *entry;
	struct journal_list list;
	int code = -1;

	if (read_journals(&list) < 0)
		return EXIT_REFUSED;
	entry = entry_of_source(&list, cmd->options.source);
	if (entry && entry->holder) {
		_autofree_ char *who = record_holder_words(entry->holder);

		say(stderr,
		    "vmferry: %s: it is being moved to %s already, %s; `vmferry cancel %s` ends "
		    "that; nothing was changed",
		    guest_of(&entry->record), destination_of(&entry->record), who,
		    guest_of(&entry->record));
		code = EXIT_REFUSED;
	} else if (entry) {
		code = recover_abandoned(cmd, entry);
	}
	journal_list_deinit(&list);
	return code;
}

/* --- cancel --- */

/* Past the point of no return it goes on to its end. */
static int tell_outcome(const struct record *last)
{
	if (last->state == RECORD_ENDED && last->outcome == RECORD_BACK) {
		say(stdout, "%s: cancelled, the guest is on the source as before", guest_of(last));
		return EXIT_DONE;
	}
	if (last->state == RECORD_ENDED) {
		say(stderr, "vmferry: %s: it was too late: the guest is on %s", guest_of(last),
		    destination_of(last));
		return EXIT_FAILED;
	}
	say(stderr,
	    "vmferry: %s: LOOK AT THIS: that vmferry has ended, but could not undo all; see "
	    "`vmferry status`, and try `vmferry recover %s`",
	    guest_of(last), guest_of(last));
	return EXIT_HUMAN;
}

/* The undo has deadlines of its own. */
#define CANCEL_PATIENCE_MS 120000

static int cancel_entry(const struct journal_entry *entry)
{
	struct record last;
	struct err err;
	int code;

	if (!entry->readable)
		return complain_of(entry);
	if (journal_signal_holder(entry->path, SIGTERM, CANCEL_PATIENCE_MS, &last, &err) == 0) {
		code = tell_outcome(&last);
		record_deinit(&last);
		return code;
	}
	if (err.kind != ERR_REFUSED)
		return complain(err.text);
	say(stderr,
	    "vmferry: %s: nobody works on its move any more; `vmferry recover %s` undoes or "
	    "finishes it",
	    guest_of(&entry->record), guest_of(&entry->record));
	return EXIT_FAILED;
}

static int run_cancel(struct cmdline *cmd)
{
	struct journal_list list;
	int code = EXIT_USAGE;
	bool found = false;

	if (!cmd->vm) {
		complain("which guest? name it; `vmferry status` shows them");
		return EXIT_USAGE;
	}
	if (read_journals(&list) < 0)
		return EXIT_FAILED;
	for (size_t i = 0; !found && i < list.count; i++) {
		found = is_named(&list.list[i], cmd->vm);
		if (found)
			code = cancel_entry(&list.list[i]);
	}
	if (!found)
		code = unknown(&list, cmd->vm);
	journal_list_deinit(&list);
	return code;
}

/* --- status --- */

struct status {
	const struct record *record;
	pid_t holder;
	const char *src_words, *dst_words; /* NULL: not asked */
};

static void time_words(int64_t seconds, char *text, size_t size)
{
	time_t when = (time_t)seconds;
	struct tm tm;

	if (!localtime_r(&when, &tm) || !strftime(text, size, "%Y-%m-%d %H:%M:%S", &tm))
		snprintf(text, size, "?");
}

static void print_text(const struct status *s)
{
	const struct record *r = s->record;
	_autofree_ char *who = s->holder
				       ? record_holder_words(s->holder)
				       : str_printf("abandoned: `vmferry recover %s`", guest_of(r));
	char since[32];

	time_words(r->since, since, sizeof(since));
	say(stdout, "%s: to %s, step \"%s\" %s since %s, %s", guest_of(r), destination_of(r),
	    r->step, record_state_name(r->state), since, who);
	if (s->src_words)
		say(stdout, "  %s", s->src_words);
	if (s->dst_words)
		say(stdout, "  %s", s->dst_words);
}

static void add_string(struct buf *b, const char *key, const char *value)
{
	buf_printf(b, ",\"%s\":", key);
	buf_json_string(b, value);
}

static void print_json(const struct status *s)
{
	const struct record *r = s->record;
	_cleanup_buf_ struct buf b = {0};

	buf_printf(&b, "{\"vmferry\":1,\"type\":\"migration\"");
	add_string(&b, "guest", r->guest);
	add_string(&b, "uuid", r->uuid);
	add_string(&b, "source", r->source);
	add_string(&b, "host", r->dst_host);
	add_string(&b, "destination", r->dst_socket);
	add_string(&b, "step", r->step);
	add_string(&b, "state", record_state_name(r->state));
	buf_printf(&b, ",\"begun\":%" PRId64 ",\"since\":%" PRId64 ",\"pid\":%d,\"abandoned\":%s",
		   r->begun, r->since, (int)s->holder, s->holder ? "false" : "true");
	add_string(&b, "source_seen", s->src_words);
	add_string(&b, "destination_seen", s->dst_words);
	printf("%s}\n", b.data);
}

static void print_status(const struct cmdline *cmd, const struct status *s)
{
	if (cmd->json)
		print_json(s);
	else
		print_text(s);
}

/* A monitor serves one client: while vmferry works on it, nobody else can ask. */
static void ask_and_print(struct cmdline *cmd, struct loop *loop, struct journal_entry *entry)
{
	struct show *show = cmd->json ? show_json_new(cmd, loop) : show_text_new(cmd, loop);
	struct migration *m = migration_new(loop, &cmd->options, &show->report);
	struct found found;

	record_take(m, NULL, &entry->record);
	recover_look(m, &found);
	print_status(cmd, &(struct status){.record = &m->record,
					   .src_words = found.src_words,
					   .dst_words = found.dst_words});
	fflush(stdout);
	found_deinit(&found);
	migration_free(m);
	show_free(show);
}

static int status_of(struct cmdline *cmd, struct loop *loop, struct journal_entry *entry)
{
	struct options own = cmd->options;

	if (!entry->readable)
		return complain_of(entry);
	if (entry->holder) {
		print_status(cmd,
			     &(struct status){.record = &entry->record, .holder = entry->holder});
		return EXIT_DONE;
	}
	cmd->options = options_for(cmd, &entry->record);
	ask_and_print(cmd, loop, entry);
	cmd->options = own;
	return EXIT_DONE;
}

static int status_of_all(struct cmdline *cmd, struct loop *loop, struct journal_list *list)
{
	int code = EXIT_DONE;
	bool any = !cmd->vm;

	for (size_t i = 0; i < list->count; i++) {
		int one;

		if (cmd->vm && !is_named(&list->list[i], cmd->vm))
			continue;
		any = true;
		one = status_of(cmd, loop, &list->list[i]);
		if (one != EXIT_DONE)
			code = one;
	}
	return any ? code : unknown(list, cmd->vm);
}

static int run_status(struct cmdline *cmd)
{
	struct journal_list list;
	struct err err;
	struct loop *loop = loop_new(&err);
	int code;

	if (!loop)
		return complain(err.text);
	if (read_journals(&list) < 0) {
		loop_free(loop);
		return EXIT_FAILED;
	}
	code = status_of_all(cmd, loop, &list);
	journal_list_deinit(&list);
	loop_free(loop);
	return code;
}

const struct command command_status = {
	.name = "status",
	.summary = "what is on record of moves, and what both sides are like",
	.bit = FOR_STATUS,
	.operands = "[VM]",
	.run = run_status,
};

const struct command command_cancel = {
	.name = "cancel",
	.summary = "end a move that is under way; the guest stays",
	.bit = FOR_CANCEL,
	.operands = "VM",
	.run = run_cancel,
};

const struct command command_recover = {
	.name = "recover",
	.summary = "go on with, finish or undo a move whose vmferry has died",
	.bit = FOR_RECOVER,
	.operands = "VM | --all",
	.run = run_recover,
};
