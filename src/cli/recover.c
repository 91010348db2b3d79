/* recover: a move whose vmferry has died goes on, is finished or undone. */
#include <stdlib.h>

#include "base/str.h"
#include "cli/journals.h"
#include "cli/show.h"
#include "migrate/recover.h"

static int recover_journal(struct cmdline *cmd, struct loop *loop, struct journal *journal,
			   struct record *record, enum record_outcome *outcome)
{
	struct show *show = show_new(cmd, loop);
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
	if (!journal)
		return journals_complain(err.kind == ERR_REFUSED ? EXIT_REFUSED : EXIT_HUMAN,
					 err.text);
	loop = loop_new(&err);
	if (!loop) {
		journal_close(journal);
		record_deinit(&record);
		return journals_complain(EXIT_REFUSED, err.text);
	}
	strings = record; /* they move to the migration, which outlives the options */
	cmd->options = journals_options(cmd, &strings);
	code = recover_journal(cmd, loop, journal, &record, outcome);
	cmd->options = own;
	loop_free(loop);
	return code;
}

static int recover_entry(struct cmdline *cmd, const struct journal_entry *entry)
{
	enum record_outcome outcome;

	if (!entry->readable)
		return journals_complain_of(entry);
	if (entry->holder && cmd->all)
		return EXIT_DONE; /* it is under way */
	return recover_one(cmd, entry->path, &outcome);
}

/* All that are meant, those first whose guest may stand still. One that needs a human does not
 * keep the others. */
static int recover_each(struct cmdline *cmd, struct journal_list *list)
{
	int worst = EXIT_DONE;
	bool any = cmd->all;

	journals_sort(list);
	for (size_t i = 0; i < list->count; i++) {
		int code;

		if (!cmd->all && !journals_is_named(&list->list[i], cmd->vm))
			continue;
		any = true;
		code = recover_entry(cmd, &list->list[i]);
		if (code > worst)
			worst = code;
	}
	return any ? worst : journals_unknown(list, cmd->vm);
}

static int run_recover(struct cmdline *cmd)
{
	struct journal_list list;
	int code;

	if (!cmd->vm && !cmd->all)
		return journals_complain(
			EXIT_USAGE,
			"which guest? name it, or give --all; `vmferry status` shows them");
	if (journals_read(&list) < 0)
		return EXIT_HUMAN;
	code = recover_each(cmd, &list);
	journal_list_deinit(&list);
	return code;
}

static const struct journal_entry *find_entry(const struct journal_list *list, const char *source,
					      const char *process, const char *boot)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->list[i].readable &&
		    record_is_of(&list->list[i].record, source, process, boot))
			return &list->list[i];
	return NULL;
}

/* By the monitor, or, for it may have more than one, by the process behind it. */
static const struct journal_entry *entry_of_source(const struct journal_list *list,
						   const char *source)
{
	_autofree_ char *path = realpath(source, NULL);
	_autofree_ char *process = NULL, *boot = NULL;
	const struct journal_entry *entry = find_entry(list, path ? path : source, NULL, NULL);
	struct loop *loop;

	if (entry || !list->count)
		return entry;
	loop = loop_new(NULL);
	if (!loop)
		return NULL;
	record_find_process(loop, source, &process, &boot);
	loop_free(loop);
	return find_entry(list, NULL, process, boot);
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
	journals_say(stderr,
		     "vmferry: %s: LOOK AT THIS: the earlier move could be finished, so it is on "
		     "%s now, "
		     "not "
		     "where this move was to bring it; move it on from there",
		     journals_guest(r), journals_destination(r));
	return EXIT_HUMAN;
}

static int recover_abandoned(struct cmdline *cmd, const struct journal_entry *entry)
{
	enum record_outcome outcome;
	int code;

	journals_say(stderr, "vmferry: an earlier move of %s to %s was not ended: that first",
		     journals_guest(&entry->record), journals_destination(&entry->record));
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

	if (journals_read(&list) < 0)
		return EXIT_REFUSED;
	entry = entry_of_source(&list, cmd->options.source);
	if (entry && entry->holder) {
		_autofree_ char *who = record_holder_words(entry->holder);

		journals_say(stderr,
			     "vmferry: %s: it is being moved to %s already, %s; `vmferry cancel "
			     "%s` ends "
			     "that; nothing was changed",
			     journals_guest(&entry->record), journals_destination(&entry->record),
			     who, journals_guest(&entry->record));
		code = EXIT_REFUSED;
	} else if (entry) {
		code = recover_abandoned(cmd, entry);
	}
	journal_list_deinit(&list);
	return code;
}

const struct command command_recover = {
	.name = "recover",
	.summary = "go on with, finish or undo a move whose vmferry has died",
	.bit = FOR_RECOVER,
	.operands = "VM | --all",
	.run = run_recover,
};
