/* cancel: the vmferry that works on a move is told to end it, as by Ctrl-C. */
#include <signal.h>

#include "base/str.h"
#include "cli/journals.h"

/* Past the point of no return it goes on to its end. */
static int tell_outcome(const struct record *last)
{
	if (last->state == RECORD_ENDED && last->outcome == RECORD_BACK) {
		journals_say(stdout, "%s: cancelled, the guest is on the source as before",
			     journals_guest(last));
		return EXIT_DONE;
	}
	if (last->state == RECORD_ENDED) {
		journals_say(stderr, "vmferry: %s: it was too late: the guest is on %s",
			     journals_guest(last), journals_destination(last));
		return EXIT_FAILED;
	}
	journals_say(
		stderr,
		"vmferry: %s: LOOK AT THIS: that vmferry has ended, but could not undo all; see "
		"`vmferry status`, and try `vmferry recover %s`",
		journals_guest(last), journals_guest(last));
	return EXIT_HUMAN;
}

/* The undo has deadlines of its own. */
#define CANCEL_PATIENCE_MS 120000

static int tell_nobody(const struct journal_entry *entry)
{
	journals_say(
		stderr,
		"vmferry: %s: nobody works on its move any more; `vmferry recover %s` undoes or "
		"finishes it",
		journals_guest(&entry->record), journals_guest(&entry->record));
	return EXIT_FAILED;
}

/* It was told to end, unless it could not be. */
static int tell_failed(const struct journal_entry *entry, const struct err *err)
{
	const char *guest = journals_guest(&entry->record);

	if (err->kind == ERR_REFUSED)
		return tell_nobody(entry);
	if (err->kind == ERR_CLOSED) {
		journals_say(stderr, "vmferry: %s: it was too late: its move has just ended",
			     guest);
		return EXIT_FAILED;
	}
	journals_say(stderr, "vmferry: %s: LOOK AT THIS: %s; see `vmferry status`", guest,
		     err->text);
	return EXIT_HUMAN;
}

static int cancel_entry(const struct journal_entry *entry)
{
	struct record last;
	struct err err;
	int code;

	if (!entry->readable)
		return journals_complain_of(entry);
	if (entry->holder < 0) {
		journals_say(stderr,
			     "vmferry: %s: its vmferry is in another pid namespace, where `vmferry "
			     "cancel` ends it; nothing was changed",
			     journals_guest(&entry->record));
		return EXIT_REFUSED;
	}
	if (journal_signal_holder(entry->path, SIGTERM, CANCEL_PATIENCE_MS, &last, &err) < 0)
		return tell_failed(entry, &err);
	code = tell_outcome(&last);
	record_deinit(&last);
	return code;
}

/* Which of them the user means. */
static bool is_meant(const struct journal_entry *entry, const char *vm, bool under_way)
{
	return journals_is_named(entry, vm) && (entry->holder || !under_way);
}

static size_t count_meant(const struct journal_list *list, const char *vm, bool under_way)
{
	size_t count = 0;

	for (size_t i = 0; i < list->count; i++)
		count += is_meant(&list->list[i], vm, under_way);
	return count;
}

static int tell_ambiguous(const struct journal_list *list, const char *vm)
{
	_cleanup_buf_ struct buf there = {0};

	for (size_t i = 0; i < list->count; i++)
		if (is_meant(&list->list[i], vm, true))
			buf_printf(&there, "%s %s", there.len ? "," : "",
				   list->list[i].record.source);
	journals_say(stderr,
		     "vmferry: more than one guest is called \"%s\", and none was cancelled; name "
		     "it by its monitor, of:%s",
		     vm, there.data);
	return EXIT_USAGE;
}

/* Of one name, the one that is under way. */
static int cancel_named(const struct journal_list *list, const char *vm)
{
	size_t under_way = count_meant(list, vm, true);

	if (under_way > 1)
		return tell_ambiguous(list, vm);
	for (size_t i = 0; i < list->count; i++)
		if (is_meant(&list->list[i], vm, under_way))
			return cancel_entry(&list->list[i]);
	return journals_unknown(list, vm);
}

static int run_cancel(struct cmdline *cmd)
{
	struct journal_list list;
	int code;

	if (!cmd->vm)
		return journals_complain(EXIT_USAGE,
					 "which guest? name it; `vmferry status` shows them");
	if (journals_read(&list) < 0)
		return EXIT_HUMAN;
	code = cancel_named(&list, cmd->vm);
	journal_list_deinit(&list);
	return code;
}

const struct command command_cancel = {
	.name = "cancel",
	.summary = "end a move that is under way; the guest stays",
	.bit = FOR_CANCEL,
	.operands = "VM",
	.run = run_cancel,
};
