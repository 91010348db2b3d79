/* Journals among several processes: whose they are, who holds them, what there is. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal_rig.h"
#include "unit.h"

/* --- who may --- */

START_TEST(file_of_others_is_refused)
{
	struct journal *journal;
	_autofree_ char *real = NULL;

	rig_set_up();
	journal = rig_create();
	journal_close(journal);
	chmod(rig.path, 0620);
	rig_check_open_fails(ERR_FAILED, "others may write to it");
	chmod(rig.path, 0602);
	rig_check_open_fails(ERR_FAILED, "others may write to it");
	chmod(rig.path, 0644);
	ck_assert_int_eq(rig_last_since(), 1);
	real = str_printf("%s/real", rig.directory);
	ck_assert_int_eq(rename(rig.path, real), 0);
	ck_assert_int_eq(symlink("real", rig.path), 0);
	rig_check_open_fails(ERR_FAILED, "is a symbolic link");
	unlink(rig.path);
	mkfifo(rig.path, 0600);
	rig_check_open_fails(ERR_FAILED, "is no regular file");
	unlink(rig.path);
	mkdir(rig.path, 0700);
	rig_check_open_fails(ERR_FAILED, "open: Is a directory");
	rig_remove_all();
}
END_TEST

START_TEST(directory_of_others_is_refused)
{
	struct record record = rig_record_of(1);
	struct journal_list list;
	struct journal *journal;

	rig_set_up();
	journal = rig_create();
	journal_close(journal);
	chmod(rig.directory, 0770);
	rig_check_open_fails(ERR_FAILED, "others may write to it");
	ck_assert_ptr_null(journal_create(rig.directory, &record, &rig.err));
	ck_assert_has(rig.err.text, "others may write to it");
	ck_assert_int_eq(journal_lock_directory(rig.directory, 0, &rig.err), -1);
	ck_assert_int_eq(journal_list(rig.directory, NULL, &list, &rig.err), -1);
	ck_assert_has(rig.err.text, rig.directory);
	rig_remove_all();
}
END_TEST

START_TEST(owner_is_looked_at)
{
	struct journal *journal;

	if (geteuid() != 0)
		return; /* only root can give a file away */
	rig_set_up();
	journal = rig_create();
	journal_close(journal);
	ck_assert_int_eq(chown(rig.path, 1, 0), 0);
	rig_check_open_fails(ERR_FAILED, "belongs to another user");
	ck_assert_int_eq(chown(rig.path, 0, 0), 0);
	ck_assert_int_eq(chown(rig.directory, 1, 0), 0);
	rig_check_open_fails(ERR_FAILED, "belongs to another user");
	rig_remove_all();
}
END_TEST

/* --- the lock --- */

START_TEST(second_process_is_refused_with_the_first_ones_pid)
{
	struct record record;
	pid_t holder;

	rig_set_up();
	rig_fork_child(rig_child_holds);
	ck_assert_ptr_null(journal_open(rig.path, &record, &holder, &rig.err));
	ck_assert_int_eq(rig.err.kind, ERR_REFUSED);
	ck_assert_int_eq(holder, rig.child);
	ck_assert_has(rig.err.text, "works on it");
	rig_reap(SIGKILL);
	ck_assert_int_eq(rig_last_since(), 2);
	rig_remove_all();
}
END_TEST

static void check_holder(const struct journal *own, pid_t holder)
{
	struct journal_list list;

	ck_assert_ok(journal_list(rig.directory, own, &list, &rig.err), &rig.err);
	ck_assert_uint_eq(list.count, 1);
	ck_assert_int_eq(list.list[0].holder, holder);
	journal_list_deinit(&list);
}

/* Tells by its exit code whether it may open @path. */
static bool another_may_open(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct record record;
		pid_t holder;

		_exit(journal_open(rig.path, &record, &holder, &rig.err) != NULL);
	}
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

START_TEST(listing_does_not_drop_our_lock)
{
	struct record record = rig_record_of(1);
	struct journal *journal, *other;
	_autofree_ char *second = NULL;

	rig_set_up();
	record.id = (char[]){"fedcba9876543210fedcba9876543210"};
	other = journal_create(rig.directory, &record, &rig.err);
	journal_close(other);
	journal = rig_create();
	second = str_printf("%s/second-name.journal", rig.directory);
	ck_assert_int_eq(link(rig.path, second), 0);
	check_holder(journal, 0);
	ck_assert(!another_may_open());
	journal_close(journal);
	ck_assert(another_may_open());
	rig_remove_all();
}
END_TEST

/* --- listing --- */

static void create_old(const char *id, int64_t begun)
{
	struct record record = rig_record_of(1);

	record.id = (char *)id;
	record.begun = begun;
	journal_close(journal_create(rig.directory, &record, &rig.err));
}

START_TEST(list_is_in_order_of_age)
{
	struct journal_list list;

	rig_set_up();
	create_old("11111111111111111111111111111111", 30);
	create_old("22222222222222222222222222222222", 10);
	create_old("33333333333333333333333333333333", 20);
	rig_write_whole("hello\n", 6);
	ck_assert_ok(journal_list(rig.directory, NULL, &list, &rig.err), &rig.err);
	ck_assert_uint_eq(list.count, 4);
	ck_assert_int_eq(list.list[0].record.begun, 10);
	ck_assert_int_eq(list.list[1].record.begun, 20);
	ck_assert_int_eq(list.list[2].record.begun, 30);
	ck_assert(!list.list[3].readable);
	ck_assert_str_eq(list.list[3].path, rig.path);
	ck_assert_has(list.list[3].error, "is no JSON");
	journal_list_deinit(&list);
	rig_remove_all();
}
END_TEST

START_TEST(list_tells_who_holds)
{
	rig_set_up();
	rig_fork_child(rig_child_holds);
	check_holder(NULL, rig.child);
	rig_reap(SIGKILL);
	check_holder(NULL, 0);
	rig_remove_all();
}
END_TEST

START_TEST(list_has_journals_only)
{
	struct journal_list list;
	_autofree_ char *other = NULL;

	rig_set_up();
	other = str_printf("%s/notes.txt", rig.directory);
	ck_assert_int_eq(symlink("/etc/passwd", rig.path), 0);
	ck_assert_int_eq(symlink("/etc/passwd", other), 0);
	ck_assert_ok(journal_list(rig.directory, NULL, &list, &rig.err), &rig.err);
	ck_assert_uint_eq(list.count, 1);
	ck_assert_str_eq(list.list[0].error, "is a symbolic link");
	journal_list_deinit(&list);
	rig_remove_all();
	ck_assert_uint_eq(rig_count_files(), 0); /* nor a directory */
}
END_TEST

/* --- to end another's work --- */

START_TEST(holder_ends_and_its_last_record_is_had)
{
	struct record last;

	rig_set_up();
	rig_fork_child(rig_child_ends_it);
	ck_assert_ok(journal_signal_holder(rig.path, SIGTERM, 60000, &last, &rig.err), &rig.err);
	ck_assert_int_eq(last.since, 3);
	ck_assert_int_eq(last.state, RECORD_ENDED);
	ck_assert_int_eq(last.outcome, RECORD_BACK);
	record_deinit(&last);
	ck_assert(rig_is_empty_directory());
	rig_reap(SIGKILL);
	rig_remove_all();
}
END_TEST

START_TEST(holder_dies_and_its_last_record_is_had)
{
	struct record last;

	rig_set_up();
	rig_fork_child(rig_child_holds);
	ck_assert_ok(journal_signal_holder(rig.path, SIGKILL, 60000, &last, &rig.err), &rig.err);
	ck_assert_int_eq(last.since, 2);
	ck_assert_int_eq(last.state, RECORD_BEGUN);
	record_deinit(&last);
	rig_reap(0);
	ck_assert_int_eq(rig_last_since(), 2);
	rig_remove_all();
}
END_TEST

START_TEST(holder_that_goes_on_is_waited_for_no_longer)
{
	struct record last;

	rig_set_up();
	rig_fork_child(rig_child_takes_no_notice);
	ck_assert_int_eq(journal_signal_holder(rig.path, SIGTERM, 100, &last, &rig.err), -1);
	ck_assert_int_eq(rig.err.kind, ERR_TIMEOUT);
	ck_assert_ptr_null(last.id);
	check_holder(NULL, rig.child);
	rig_reap(SIGKILL);
	rig_remove_all();
}
END_TEST

START_TEST(nobody_is_signalled)
{
	struct record last;

	rig_set_up();
	ck_assert_int_eq(journal_signal_holder(rig.path, SIGTERM, 0, &last, &rig.err), -1);
	ck_assert_int_eq(rig.err.kind, ERR_CLOSED);
	journal_close(rig_create());
	ck_assert_int_eq(journal_signal_holder(rig.path, SIGTERM, 0, &last, &rig.err), -1);
	ck_assert_int_eq(rig.err.kind, ERR_REFUSED);
	ck_assert_ptr_null(last.id);
	rig_remove_all();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		file_of_others_is_refused,
		directory_of_others_is_refused,
		owner_is_looked_at,
		second_process_is_refused_with_the_first_ones_pid,
		listing_does_not_drop_our_lock,
		list_is_in_order_of_age,
		list_tells_who_holds,
		list_has_journals_only,
		holder_ends_and_its_last_record_is_had,
		holder_dies_and_its_last_record_is_had,
		holder_that_goes_on_is_waited_for_no_longer,
		nobody_is_signalled,
	};

	return unit_run("journal_others", tests, COUNT_OF(tests));
}
