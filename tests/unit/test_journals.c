/* What status, cancel and recover make of the journals that are there. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/journals.h"
#include "journal_rig.h"
#include "unit.h"

/* --- the journals --- */

static void set_up(void)
{
	rig_set_up();
	setenv("STATE_DIRECTORY", rig.directory, 1);
}

/* An abandoned journal of the @n-th move, which is that of rig_create() but for the rest. */
static void leave_journal(int n, const char *guest, const char *step, int64_t begun)
{
	_autofree_ char *id = str_printf("%032x", n), *source = str_printf("/run/%d.sock", n);
	_autofree_ char *name = str_dup(guest), *word = str_dup(step);
	struct record record = record_minimal();
	struct journal *journal;

	record.id = id;
	record.source = source;
	record.guest = name;
	record.step = word;
	record.begun = begun;
	journal = journal_create(rig.directory, &record, &rig.err);
	ck_assert_msg(journal != NULL, "%s", rig.err.text);
	journal_close(journal);
}

/* Those whose QEMUs are all gone are settled. */
static bool is_there(int n)
{
	_autofree_ char *path = str_printf("%s/%032x.journal", rig.directory, n);

	return access(path, F_OK) == 0;
}

/* --- the commands, and what they say on stderr --- */

static char said[4096];

static int run(const struct command *command, const char *vm)
{
	struct cmdline cmd = {.command = command, .vm = vm, .all = !vm, .batch = true};
	FILE *to = tmpfile();
	int saved = dup(STDERR_FILENO), code;
	size_t len;

	ck_assert_ptr_nonnull(to);
	fflush(stderr);
	dup2(fileno(to), STDERR_FILENO);
	code = command->run(&cmd);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(to);
	len = fread(said, 1, sizeof(said) - 1, to);
	said[len] = '\0';
	fclose(to);
	return code;
}

/* --- their order --- */

START_TEST(those_that_stand_still_come_first)
{
	static const char *const order[] = {"window", "younger window", "start", "copy",
					    "younger copy"};
	struct journal_list list;

	set_up();
	leave_journal(1, "copy", "copy", 1);
	leave_journal(2, "start", "start", 2);
	leave_journal(3, "window", "switchover", 3);
	leave_journal(4, "younger window", "ram", 4);
	leave_journal(5, "younger copy", "copy", 5);
	ck_assert_ok(journal_list(rig.directory, NULL, &list, &rig.err), &rig.err);
	ck_assert_uint_eq(list.count, COUNT_OF(order));
	ck_assert_str_eq(list.list[0].record.guest, "copy");
	journals_sort(&list);
	for (size_t i = 0; i < COUNT_OF(order); i++)
		ck_assert_str_eq(list.list[i].record.guest, order[i]);
	journal_list_deinit(&list);
	rig_remove_all();
}
END_TEST

static const char *place_of(const char *words)
{
	const char *place = strstr(said, words);

	ck_assert_msg(place != NULL, "no \"%s\" in: %s", words, said);
	return place;
}

START_TEST(recover_begins_with_those_that_stand_still)
{
	set_up();
	leave_journal(1, "one", "copy", 1);
	leave_journal(2, "two", "hold", 2);
	leave_journal(3, "three", "switchover", 3);
	run(&command_recover, NULL);
	ck_assert(place_of("three") < place_of("two"));
	ck_assert(place_of("two") < place_of("one"));
	rig_remove_all();
}
END_TEST

START_TEST(recover_takes_all_of_a_name)
{
	set_up();
	leave_journal(1, "web", "copy", 1);
	leave_journal(2, "db", "copy", 2);
	leave_journal(3, "web", "copy", 3);
	run(&command_recover, "web");
	ck_assert(!is_there(1) && is_there(2) && !is_there(3));
	ck_assert_int_eq(run(&command_recover, "mail"), EXIT_USAGE);
	rig_remove_all();
}
END_TEST

/* --- their options --- */

/* What `ssh -G` has for ConnectTimeout counts where neither user has said another. */
START_TEST(timeouts_are_the_users_then_the_records_then_the_usual)
{
	struct record record = record_minimal();
	struct cmdline cmd = {.batch = true};
	struct options opt = journals_options(&cmd, &record);

	ck_assert_int_eq(opt.ssh.connect_timeout_ms, 0);
	ck_assert_int_eq(opt.timeouts.connect_ms, 10000);
	ck_assert_int_eq(opt.timeouts.reconnect_ms, 60000);
	record.connect_ms = 3000;
	record.no_reconnect = true;
	opt = journals_options(&cmd, &record);
	ck_assert_int_eq(opt.ssh.connect_timeout_ms, 3000);
	ck_assert_int_eq(opt.timeouts.connect_ms, 3000);
	ck_assert_int_eq(opt.timeouts.reconnect_ms, -1);
	cmd.options.timeouts.connect_ms = 7000;
	cmd.options.timeouts.reconnect_ms = 5000;
	opt = journals_options(&cmd, &record);
	ck_assert_int_eq(opt.ssh.connect_timeout_ms, 7000);
	ck_assert_int_eq(opt.timeouts.reconnect_ms, 5000);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		those_that_stand_still_come_first,
		recover_begins_with_those_that_stand_still,
		recover_takes_all_of_a_name,
		timeouts_are_the_users_then_the_records_then_the_usual,
	};

	return unit_run("journals", tests, COUNT_OF(tests));
}
