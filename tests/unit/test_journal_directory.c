/* Where journals are, and the making of the directory. */
#include <poll.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal_rig.h"
#include "unit.h"

START_TEST(directory_is_made_with_its_parents)
{
	_autofree_ char *deep = NULL;
	struct stat st;
	int fd;

	rig_set_up();
	deep = str_printf("%s/state/a/b/", rig.directory);
	fd = journal_lock_directory(deep, 1000, &rig.err);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(stat(deep, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0700);
	journal_unlock_directory(fd);
	fd = journal_lock_directory(deep, 0, &rig.err);
	ck_assert_int_ge(fd, 0);
	journal_unlock_directory(fd);
	rig_remove_all();
}
END_TEST

START_TEST(directory_is_held_by_one)
{
	int fd, second;

	rig_set_up();
	fd = journal_lock_directory(rig.directory, 0, &rig.err);
	ck_assert_int_eq(journal_lock_directory(rig.directory, 50, &rig.err), -1);
	ck_assert_int_eq(rig.err.kind, ERR_TIMEOUT);
	journal_unlock_directory(fd);
	second = journal_lock_directory(rig.directory, 0, &rig.err);
	ck_assert_int_ge(second, 0);
	journal_unlock_directory(second);
	journal_unlock_directory(-1);
	rig_remove_all();
}
END_TEST

START_TEST(directory_is_waited_for)
{
	char byte;
	int ready[2], fd;
	pid_t pid;

	rig_set_up();
	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		fd = journal_lock_directory(rig.directory, 0, &rig.err);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		poll(NULL, 0, 100); /* it makes its journal */
		journal_unlock_directory(fd);
		_exit(0);
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	fd = journal_lock_directory(rig.directory, 60000, &rig.err);
	ck_assert_int_ge(fd, 0);
	journal_unlock_directory(fd);
	waitpid(pid, NULL, 0);
	rig_remove_all();
}
END_TEST

static void check_directory(const char *expected)
{
	_autofree_ char *found = journal_directory(&rig.err);

	if (expected)
		ck_assert_str_eq(found, expected);
	else
		ck_assert_ptr_null(found);
}

START_TEST(directory_is_where_systemd_says)
{
	setenv("STATE_DIRECTORY", "/var/lib/a", 1);
	check_directory("/var/lib/a");
	setenv("STATE_DIRECTORY", "/var/lib/a:/var/lib/b", 1);
	check_directory("/var/lib/a");
	setenv("STATE_DIRECTORY", "a", 1);
	check_directory(NULL);
	ck_assert_has(rig.err.text, "STATE_DIRECTORY a is no absolute path");
}
END_TEST

START_TEST(directory_is_at_home)
{
	unsetenv("STATE_DIRECTORY");
	if (geteuid() == 0) {
		check_directory("/var/lib/vmferry");
		ck_assert_int_eq(seteuid(1), 0);
	}
	setenv("HOME", "/home/a", 1);
	setenv("XDG_STATE_HOME", "/state", 1);
	check_directory("/state/vmferry");
	setenv("XDG_STATE_HOME", "state", 1);
	check_directory("/home/a/.local/state/vmferry");
	unsetenv("XDG_STATE_HOME");
	check_directory("/home/a/.local/state/vmferry");
	unsetenv("HOME");
	check_directory(NULL);
	ck_assert_has(rig.err.text, "set HOME");
	if (getuid() == 0 && seteuid(0) == 0)
		prctl(PR_SET_DUMPABLE, 1); /* or LeakSanitizer could not look */
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		directory_is_made_with_its_parents,
		directory_is_held_by_one,
		directory_is_waited_for,
		directory_is_where_systemd_says,
		directory_is_at_home,
	};

	return unit_run("journal_directory", tests, COUNT_OF(tests));
}
