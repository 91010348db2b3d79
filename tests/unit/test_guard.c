/* The guard on this host: what it starts, and what is left when its connection ends. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "migrate/guard.h"
#include "unit.h"

#define PATIENCE_MS 20000

static struct loop *loop;
static struct host *host;
static struct guard *guard;
static char directory[64], *files[3];
static struct err err;

static void touch(const char *path)
{
	FILE *f = fopen(path, "w");

	ck_assert(f != NULL);
	fclose(f);
}

static void begin(void)
{
	strcpy(directory, "/tmp/vmferry guard XXXXXX");
	ck_assert(mkdtemp(directory) != NULL);
	for (int i = 0; i < 3; i++) {
		files[i] = str_printf("%s/file '%d'\n.img", directory, i);
		touch(files[i]);
	}
	loop = loop_new(NULL);
	host = host_local(loop, PATIENCE_MS);
	guard = guard_start(loop, host, files, 3, PATIENCE_MS, &err);
	ck_assert_msg(guard != NULL, "%s", err.text);
}

static void end(void)
{
	_autofree_ char *word = str_shell_quote(directory);
	_autofree_ char *command = str_printf("rm -rf %s", word);
	struct process_output output;

	guard_close(guard);
	ck_assert_ok(host_command(host, command, PATIENCE_MS, &output, &err), &err);
	process_output_deinit(&output);
	host_close(host);
	loop_free(loop);
	for (int i = 0; i < 3; i++)
		free(files[i]);
}

static bool holds(bool (*condition)(void *arg), void *arg)
{
	int64_t until_ms = loop_now_ms() + PATIENCE_MS;

	while (!condition(arg) && loop_now_ms() < until_ms) {
		loop_poll(loop);
		usleep(5000);
	}
	return condition(arg);
}

static bool is_there(void *path)
{
	return access(path, F_OK) == 0;
}

static bool is_gone(void *path)
{
	return access(path, F_OK) < 0;
}

static bool is_dead(void *pid)
{
	return kill(*(pid_t *)pid, 0) < 0 && errno == ESRCH;
}

static bool has_ended(void *arg)
{
	return guard_program_ended(arg);
}

static bool has_content(void *path)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_size;
}

/* Starts one that tells its pid and stays; its pid. */
static pid_t run_program(void)
{
	_autofree_ char *path = str_printf("%s/pid", directory);
	const char *argv[] = {"sh", "-c", "echo $$ >pid.new; mv pid.new pid; exec sleep 1000",
			      NULL};
	int pid = 0;
	FILE *f;

	ck_assert_ok(guard_run(guard, directory, NULL, argv, &err), &err);
	ck_assert(holds(is_there, path));
	f = fopen(path, "r");
	ck_assert_int_eq(fscanf(f, "%d", &pid), 1);
	fclose(f);
	return pid;
}

START_TEST(a_lost_connection_ends_all_and_removes_what_was_made)
{
	pid_t pid;

	begin();
	ck_assert_ok(guard_made(guard, 1, &err), &err);
	ck_assert_ok(guard_made(guard, 2, &err), &err);
	pid = run_program();
	guard_close(guard);
	guard = NULL;
	ck_assert(holds(is_dead, &pid));
	ck_assert(holds(is_gone, files[1]) && holds(is_gone, files[2]));
	ck_assert(is_there(files[0]));
	end();
}
END_TEST

static bool guards_are_gone(void *arg)
{
	const char *name = (const char *)arg + strlen("/tmp/vmferry guard ");
	_autofree_ char *command =
		str_printf("! grep -aqs '[%c]%s' /proc/[0-9]*/cmdline", *name, name + 1);
	struct process_output output;
	bool gone;

	ck_assert_ok(host_command(host, command, PATIENCE_MS, &output, &err), &err);
	gone = output.status == 0;
	process_output_deinit(&output);
	return gone;
}

/* The user has removed it, and begun anew, before the connection's end was seen. */
START_TEST(a_file_of_another_move_stays)
{
	begin();
	for (size_t i = 0; i < 3; i++)
		ck_assert_ok(guard_made(guard, i, &err), &err);
	run_program();
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(unlink(files[i]), 0);
	for (int i = 0; i < 2; i++)
		touch(files[i]);
	guard_close(guard);
	guard = NULL;
	ck_assert(holds(is_gone, files[2]));
	ck_assert(holds(guards_are_gone, directory));
	ck_assert(is_there(files[0]) && is_there(files[1]));
	end();
}
END_TEST

/* None of the files that the guard holds. */
START_TEST(a_program_gets_no_descriptors)
{
	const char *argv[] = {"sh", "-c", "ls -l /proc/self/fd | grep -c '\\.img' >&2", NULL};

	begin();
	for (size_t i = 0; i < 3; i++)
		ck_assert_ok(guard_made(guard, i, &err), &err);
	ck_assert_ok(guard_run(guard, "/", NULL, argv, &err), &err);
	ck_assert(holds(has_ended, guard));
	ck_assert_str_eq(guard_last_words(guard), "0");
	end();
}
END_TEST

START_TEST(a_released_program_lives)
{
	pid_t pid;

	begin();
	ck_assert_ok(guard_made(guard, 0, &err), &err);
	pid = run_program();
	ck_assert_ok(guard_release(guard, &err), &err);
	guard_close(guard);
	guard = NULL;
	usleep(300000);
	ck_assert(!is_dead(&pid));
	ck_assert_int_eq(getsid(pid), pid);
	ck_assert(is_there(files[0]));
	kill(pid, SIGKILL);
	end();
}
END_TEST

START_TEST(an_undo_is_waited_for)
{
	pid_t pid;

	begin();
	ck_assert_ok(guard_made(guard, 0, &err), &err);
	pid = run_program();
	ck_assert_ok(guard_undo(guard, PATIENCE_MS, &err), &err);
	ck_assert(is_dead(&pid));
	ck_assert(is_gone(files[0]) && is_there(files[1]));
	end();
}
END_TEST

START_TEST(a_program_that_does_not_obey_is_killed)
{
	const char *argv[] = {"sh", "-c", "trap '' TERM; echo $$ >pid; while :; do sleep 0.1; done",
			      NULL};
	_autofree_ char *path = NULL;
	int pid = 0;
	FILE *f;

	begin();
	path = str_printf("%s/pid", directory);
	ck_assert_ok(guard_run(guard, directory, NULL, argv, &err), &err);
	ck_assert(holds(has_content, path));
	f = fopen(path, "r");
	ck_assert_int_eq(fscanf(f, "%d", &pid), 1);
	fclose(f);
	ck_assert_ok(guard_undo(guard, PATIENCE_MS, &err), &err);
	ck_assert(is_dead(&pid));
	end();
}
END_TEST

START_TEST(a_program_that_ends_is_told_with_its_last_words)
{
	const char *argv[] = {"sh", "-c", "echo first >&2; echo 'no such machine' >&2; exit 7",
			      NULL};

	begin();
	ck_assert_ok(guard_run(guard, "/", NULL, argv, &err), &err);
	ck_assert(holds(has_ended, guard));
	ck_assert_str_eq(guard_last_words(guard), "no such machine");
	end();
}
END_TEST

/* A program cannot speak as the guard: it does not know the token. */
START_TEST(a_program_is_not_the_guard)
{
	const char *argv[] = {"sh", "-c", "echo 'x undone'; echo undone; sleep 1000", NULL};

	begin();
	ck_assert_ok(guard_run(guard, "/", NULL, argv, &err), &err);
	ck_assert(!guard_program_ended(guard));
	ck_assert_ok(guard_undo(guard, PATIENCE_MS, &err), &err);
	end();
}
END_TEST

static void check_argv(const char *const *words, size_t count)
{
	_autofree_ char *path = str_printf("%s/argv", directory);
	const char *argv[21] = {"sh", "-c",
				"for a; do printf '%s|' \"$a\"; done >argv.new; mv argv.new argv",
				"sh"};
	_cleanup_buf_ struct buf wanted = {0};
	char got[8192] = "";
	FILE *f;

	for (size_t i = 0; i < count; i++) {
		argv[4 + i] = words[i];
		buf_printf(&wanted, "%s|", words[i]);
	}
	ck_assert_ok(guard_run(guard, directory, NULL, argv, &err), &err);
	ck_assert(holds(is_there, path));
	f = fopen(path, "r");
	got[fread(got, 1, sizeof(got) - 1, f)] = '\0';
	fclose(f);
	ck_assert_str_eq(got, wanted.data);
}

START_TEST(arguments_arrive_byte_for_byte)
{
	static const char *const words[] = {
		"",
		"a b",
		"it's",
		"'",
		"''",
		"\"$HOME\" `id` $(id) \\",
		"two\nlines\n",
		"\n",
		"file=/a,,b.img,id=x",
		"{\"driver\": \"raw\", \"file\": {\"filename\": \"/a b\"}}",
		"json:{\"a\":\"\\u00e9\"}",
		"\xc3\xa9\t*?[~]",
		"-n",
		"a\\nb",
	};

	begin();
	check_argv(words, COUNT_OF(words));
	end();
}
END_TEST

static void random_word(char *word, size_t size)
{
	static const char alphabet[] = "ab '\"\\$`\n\t,=;&|<>(){}[]*?~#!%-\x01\x7f\xc3";
	size_t len = (size_t)rand() % (size - 1);

	for (size_t i = 0; i < len; i++)
		word[i] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
	word[len] = '\0';
}

START_TEST(any_arguments_arrive_byte_for_byte)
{
	srand((unsigned)_i + 1);
	for (int round = 0; round < 20; round++) {
		char words[14][40];
		const char *pointers[14];

		begin();
		for (int i = 0; i < 14; i++) {
			random_word(words[i], sizeof(words[i]));
			pointers[i] = words[i];
		}
		check_argv(pointers, 14);
		end();
	}
}
END_TEST

START_TEST(the_environment_is_set)
{
	const char *environment[] = {"QEMU_X=a b'c\n", NULL};
	const char *argv[] = {"sh", "-c", "printf %s \"$QEMU_X\" >&2; echo >&2; exit 1", NULL};

	begin();
	ck_assert_ok(guard_run(guard, "/", environment, argv, &err), &err);
	ck_assert(holds(has_ended, guard));
	ck_assert_str_eq(guard_last_words(guard), "a b'c");
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_lost_connection_ends_all_and_removes_what_was_made,
		a_file_of_another_move_stays,
		a_program_gets_no_descriptors,
		a_released_program_lives,
		an_undo_is_waited_for,
		a_program_that_does_not_obey_is_killed,
		a_program_that_ends_is_told_with_its_last_words,
		a_program_is_not_the_guard,
		arguments_arrive_byte_for_byte,
		any_arguments_arrive_byte_for_byte,
		the_environment_is_set,
	};

	return unit_run("guard", tests, COUNT_OF(tests));
}
