/* cancel: the vmferry that works on a move is told to end it, as by Ctrl-C. */
#include <signal.h>

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

static int cancel_entry(const struct journal_entry *entry)
{
	struct record last;
	struct err err;
	int code;

	if (!entry->readable)
		return journals_complain_of(entry);
	if (journal_signal_holder(entry->path, SIGTERM, CANCEL_PATIENCE_MS, &last, &err) == 0) {
		code = tell_outcome(&last);
		record_deinit(&last);
		return code;
	}
	if (err.kind != ERR_REFUSED)
		return journals_complain(err.text);
	journals_say(
		stderr,
		"vmferry: %s: nobody works on its move any more; `vmferry recover %s` undoes or "
		"finishes it",
		journals_guest(&entry->record), journals_guest(&entry->record));
	return EXIT_FAILED;
}

static int run_cancel(struct cmdline *cmd)
{
	struct journal_list list;
	int code = EXIT_USAGE;
	bool found = false;

	if (!cmd->vm) {
		journals_complain("which guest? name it; `vmferry status` shows them");
		return EXIT_USAGE;
	}
	if (journals_read(&list) < 0)
		return EXIT_FAILED;
	for (size_t i = 0; !found && i < list.count; i++) {
		found = journals_is_named(&list.list[i], cmd->vm);
		if (found)
			code = cancel_entry(&list.list[i]);
	}
	if (!found)
		code = journals_unknown(&list, cmd->vm);
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
