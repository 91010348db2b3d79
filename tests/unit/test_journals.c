/* What status, cancel and recover make of the journals that are there. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/journals.h"
#include "journal_rig.h"
#include "migrate/record.h"
#include "unit.h"

/* In place of the real one, which has the patience of a user. */
int __wrap_journal_signal_holder(const char *path, int signal_number, int timeout_ms,
				 struct record *last, struct err *err);
int __real_journal_signal_holder(const char *path, int signal_number, int timeout_ms,
				 struct record *last, struct err *err);

static void (*before_signal)(void);

int __wrap_journal_signal_holder(const char *path, int signal_number, int timeout_ms,
				 struct record *last, struct err *err)
{
	ck_assert_int_gt(timeout_ms, 1000);
	if (before_signal)
		before_signal();
	return __real_journal_signal_holder(path, signal_number, 300, last, err);
}

/* --- the journals --- */

static void set_up(void)
{
	rig_set_up();
	setenv("STATE_DIRECTORY", rig.directory, 1);
}

/* An abandoned journal of the @n-th move, which is that of rig_create() but for the rest. */
static struct journal *leave_open(int n, const char *guest, const char *step, int64_t begun)
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
	return journal;
}

static void leave_journal(int n, const char *guest, const char *step, int64_t begun)
{
	journal_close(leave_open(n, guest, step, begun));
}

/* Those whose QEMUs are all gone are settled. */
static bool is_there(int n)
{
	_autofree_ char *path = str_printf("%s/%032x.journal", rig.directory, n);

	return access(path, F_OK) == 0;
}

/* The same of a vmferry that works on it. */
static void hold_journal(int n, const char *guest, pid_t *holder)
{
	int ready[2];
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	*holder = fork();
	if (*holder == 0) {
		signal(SIGTERM, SIG_DFL); /* Check's own would end the test, too */
		leave_open(n, guest, "copy", n);
		if (write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

static void end_holder(pid_t holder)
{
	kill(holder, SIGKILL);
	ck_assert_int_eq(waitpid(holder, NULL, 0), holder);
}

/* --- the commands, and what they say on stderr --- */

static char said[4096];

static int run_with(const struct command *command, struct cmdline cmd)
{
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

static int run(const struct command *command, const char *vm)
{
	struct cmdline cmd = {.command = command, .vm = vm, .all = !vm, .batch = true};

	return run_with(command, cmd);
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

START_TEST(the_other_host_is_reached_as_it_was)
{
	char host[] = "old", file[] = "/of/old";
	char *socket = file;
	struct record record = record_minimal();
	struct cmdline cmd = {.options.ssh = {.identity = "/of/new",
					      .config = "/of/new",
					      .known_hosts = "/of/new",
					      .sudo = true}};
	struct options opt;

	record.dst_host = host;
	record.identity = file;
	opt = journals_options(&cmd, &record); /* by `recover`, with these options for it */
	ck_assert_str_eq(opt.ssh.identity, "/of/new");
	ck_assert_str_eq(opt.ssh.config, "/of/new");
	cmd.options.dst = (struct destination){.host = host, .socket = socket};
	opt = journals_options(&cmd, &record);
	ck_assert_str_eq(opt.ssh.identity, "/of/new");
	cmd.options.dst.host = file;
	opt = journals_options(&cmd, &record);
	ck_assert_str_eq(opt.ssh.host, "old");
	ck_assert_str_eq(opt.ssh.identity, "/of/old");
	ck_assert_ptr_null(opt.ssh.config);
	ck_assert_ptr_null(opt.ssh.known_hosts);
	ck_assert(!opt.ssh.sudo);
}
END_TEST

/* --- before a move --- */

/* A Unix socket that this process listens on. */
static int listen_on(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

/* The move of a guest of this process, by another of its monitors. */
static void leave_own_journal(const char *monitor)
{
	struct record record = record_minimal();
	char guest[] = "web";
	struct err err;
	struct loop *loop = loop_new(&err);
	struct journal *journal;

	record.guest = guest;
	record_find_process(loop, monitor, &record.src_process, &record.src_boot);
	loop_free(loop);
	ck_assert_ptr_nonnull(record.src_process);
	ck_assert_ptr_nonnull(record.src_boot);
	journal = journal_create(rig.directory, &record, &rig.err);
	ck_assert_msg(journal != NULL, "%s", rig.err.text);
	journal_close(journal);
	free(record.src_process);
	free(record.src_boot);
}

static int recover_before(struct cmdline *cmd)
{
	return recover_first(cmd);
}

START_TEST(a_move_is_recovered_first_through_another_monitor)
{
	_autofree_ char *monitor = NULL, *none = NULL;
	struct cmdline cmd = {.batch = true};
	const struct command first = {.run = recover_before};
	int fd;

	set_up();
	monitor = str_printf("%s/second.sock", rig.directory);
	none = str_printf("%s/none.sock", rig.directory);
	fd = listen_on(monitor);
	leave_own_journal(monitor);
	cmd.options.source = none;
	ck_assert_int_eq(run_with(&first, cmd), -1);
	cmd.options.source = monitor;
	ck_assert_int_eq(run_with(&first, cmd), EXIT_HUMAN); /* its own monitor is not there */
	ck_assert_has(said, "an earlier move of web to /run/b.sock was not ended");
	close(fd);
	rig_remove_all();
}
END_TEST

/* --- what cannot be done, in exit codes --- */

START_TEST(journals_that_cannot_be_read_are_for_a_human)
{
	set_up();
	leave_journal(1, "web", "copy", 1);
	ck_assert_int_eq(chmod(rig.directory, 0777), 0);
	ck_assert_int_eq(run(&command_recover, NULL), EXIT_HUMAN);
	ck_assert_has(said, "others may write to it");
	ck_assert_int_eq(run(&command_status, "web"), EXIT_HUMAN);
	ck_assert_int_eq(run(&command_cancel, "web"), EXIT_HUMAN);
	ck_assert(is_there(1));
	rig_remove_all();
}
END_TEST

START_TEST(cancel_of_what_nobody_works_on)
{
	set_up();
	leave_journal(1, "web", "copy", 1);
	ck_assert_int_eq(run(&command_cancel, "web"), EXIT_FAILED);
	ck_assert_has(said, "nobody works on its move");
	rig_remove_all();
}
END_TEST

static void end_and_remove(void)
{
	rig_reap(SIGKILL);
	ck_assert_int_eq(unlink(rig.path), 0);
}

START_TEST(cancel_of_what_has_just_ended)
{
	set_up();
	rig_fork_child(rig_child_holds);
	before_signal = end_and_remove;
	ck_assert_int_eq(run(&command_cancel, "/run/a.sock"), EXIT_FAILED);
	ck_assert_has(said, "too late");
	rig_remove_all();
}
END_TEST

START_TEST(cancel_of_what_does_not_end)
{
	set_up();
	rig_fork_child(rig_child_takes_no_notice);
	ck_assert_int_eq(run(&command_cancel, "/run/a.sock"), EXIT_HUMAN);
	ck_assert_has(said, "still works on it");
	rig_reap(SIGKILL);
	rig_remove_all();
}
END_TEST

START_TEST(cancel_that_undoes)
{
	set_up();
	rig_fork_child(rig_child_ends_it);
	ck_assert_int_eq(run(&command_cancel, "/run/a.sock"), EXIT_DONE);
	rig_reap(SIGKILL);
	rig_remove_all();
}
END_TEST

/* --- of one name --- */

START_TEST(cancel_takes_the_one_that_is_under_way)
{
	pid_t holder;

	set_up();
	leave_journal(1, "web", "copy", 1);
	hold_journal(2, "web", &holder);
	ck_assert_int_eq(run(&command_cancel, "web"), EXIT_HUMAN); /* it has died of that */
	ck_assert_has(said, "could not undo all");
	end_holder(holder);
	rig_remove_all();
}
END_TEST

START_TEST(cancel_takes_none_of_several)
{
	pid_t first, second;

	set_up();
	hold_journal(1, "web", &first);
	hold_journal(2, "web", &second);
	ck_assert_int_eq(run(&command_cancel, "web"), EXIT_USAGE);
	ck_assert_has(said, "of: /run/1.sock, /run/2.sock");
	ck_assert_int_eq(waitpid(first, NULL, WNOHANG), 0);
	ck_assert_int_eq(waitpid(second, NULL, WNOHANG), 0);
	ck_assert_int_eq(run(&command_cancel, "/run/2.sock"), EXIT_HUMAN);
	ck_assert_int_eq(waitpid(first, NULL, WNOHANG), 0);
	end_holder(first);
	end_holder(second);
	rig_remove_all();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		those_that_stand_still_come_first,
		recover_begins_with_those_that_stand_still,
		recover_takes_all_of_a_name,
		timeouts_are_the_users_then_the_records_then_the_usual,
		the_other_host_is_reached_as_it_was,
		a_move_is_recovered_first_through_another_monitor,
		journals_that_cannot_be_read_are_for_a_human,
		cancel_of_what_nobody_works_on,
		cancel_of_what_has_just_ended,
		cancel_of_what_does_not_end,
		cancel_that_undoes,
		cancel_takes_the_one_that_is_under_way,
		cancel_takes_none_of_several,
	};

	return unit_run("journals", tests, COUNT_OF(tests));
}
