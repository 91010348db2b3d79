/* The guard on this host, in each of several shells: what it starts, and what is left when its
 * connection ends. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "migrate/guard.h"
#include "unit.h"

#define PATIENCE_MS 20000

static const char *shell; /* what runs the guard */
static struct loop *loop;
static struct host *host;
static struct host_ops ops;
static const struct host_ops *local;
static struct guard *guard;
static char directory[64], *files[3];
static struct err err;

static void touch(const char *path)
{
	FILE *f = fopen(path, "w");

	ck_assert(f != NULL);
	fclose(f);
}

static struct stream *by_shell(struct host *h, const char *command, struct err *e)
{
	_autofree_ char *word = str_shell_quote(command);
	_autofree_ char *line = str_printf("exec %s -c %s", shell, word);

	return local->program(h, line, e);
}

/* What a guard and its program are known by: it is in the environment of both. */
#define MARK "VMFERRY_TEST_GUARD"

static void begin_with(int silence_s)
{
	struct guard_patience patience = {.answer_ms = PATIENCE_MS, .silence_s = silence_s};

	strcpy(directory, "/tmp/vmferry guard XXXXXX");
	ck_assert(mkdtemp(directory) != NULL);
	for (int i = 0; i < 3; i++) {
		files[i] = str_printf("%s/file '%d'\n.img", directory, i);
		touch(files[i]);
	}
	loop = loop_new(NULL);
	host = host_local(loop, PATIENCE_MS);
	local = host->ops;
	ops = *local;
	ops.program = by_shell;
	host->ops = &ops;
	setenv(MARK, directory, 1);
	guard = guard_start(loop, host, files, 3, &patience, &err);
	unsetenv(MARK);
	ck_assert_msg(guard != NULL, "%s", err.text);
}

static void begin(void)
{
	begin_with(60);
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

/* As holds(), while nothing is served: nobody hears of us. */
static bool holds_in_silence(bool (*condition)(void *arg), void *arg)
{
	int64_t until_ms = loop_now_ms() + PATIENCE_MS;

	while (!condition(arg) && loop_now_ms() < until_ms)
		usleep(5000);
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

/* By a shell: what it prints of all processes of the guard and of the program, each of them "$d" in
 * turn, its folder of /proc. */
static void of_all(const char *what, char *said, size_t size)
{
	_autofree_ char *command =
		str_printf("for d in /proc/[0-9]*; do if grep -aqs '%s=%s' $d/environ; then %s; "
			   "fi; done",
			   MARK, directory, what);
	FILE *f = popen(command, "r"); /* not by the loop, which would serve the guard */

	said[fread(said, 1, size - 1, f)] = '\0';
	pclose(f);
}

static bool all_are_gone(void *arg)
{
	char said[4096];

	(void)arg;
	of_all("echo ${d#/proc/}", said, sizeof(said));
	return !said[0];
}

/* Only this one is left. */
static bool all_but_one_are_gone(void *pid)
{
	_autofree_ char *one = str_printf("%d\n", *(pid_t *)pid);
	char said[4096];

	of_all("echo ${d#/proc/}", said, sizeof(said));
	return str_eq(said, one);
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
	ck_assert(holds(all_are_gone, NULL));
	end();
}
END_TEST

static void make_keys(const char *path)
{
	_autofree_ char *key = str_printf("%s/keys.psk", path);

	ck_assert_int_eq(mkdir(path, 0700), 0);
	touch(key);
}

START_TEST(a_lost_connection_removes_the_keys)
{
	_autofree_ char *path = NULL;

	begin();
	path = str_printf("%s/keys", directory);
	ck_assert_ok(guard_keys(guard, path, &err), &err);
	make_keys(path);
	run_program();
	guard_close(guard);
	guard = NULL;
	ck_assert(holds(is_gone, path));
	ck_assert(holds(all_are_gone, NULL));
	end();
}
END_TEST

/* We may have died before they were made, or after they were removed. */
START_TEST(keys_that_are_not_there_are_no_matter)
{
	_autofree_ char *path = NULL;

	begin();
	path = str_printf("%s/keys", directory);
	ck_assert_ok(guard_keys(guard, path, &err), &err);
	ck_assert_ok(guard_made(guard, 1, &err), &err);
	guard_close(guard);
	guard = NULL;
	ck_assert(holds(is_gone, files[1]));
	ck_assert(holds(all_are_gone, NULL));
	end();
}
END_TEST

/* The guest is there by then, so nobody needs them any more. */
START_TEST(a_guard_that_was_released_removes_the_keys)
{
	_autofree_ char *path = NULL;
	pid_t pid;

	begin();
	path = str_printf("%s/keys", directory);
	ck_assert_ok(guard_keys(guard, path, &err), &err);
	make_keys(path);
	pid = run_program();
	ck_assert_ok(guard_release(guard, PATIENCE_MS, &err), &err);
	guard_close(guard);
	guard = NULL;
	ck_assert(holds(is_gone, path));
	ck_assert(holds(all_but_one_are_gone, &pid));
	kill(pid, SIGKILL);
	end();
}
END_TEST

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
	ck_assert(holds(all_are_gone, NULL));
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
	ck_assert_ok(guard_release(guard, PATIENCE_MS, &err), &err);
	guard_close(guard);
	guard = NULL;
	ck_assert(holds(all_but_one_are_gone, &pid));
	ck_assert_int_eq(getsid(pid), pid);
	ck_assert(is_there(files[0]));
	kill(pid, SIGKILL);
	end();
}
END_TEST

START_TEST(a_release_is_waited_for)
{
	char said[4096];

	begin();
	run_program();
	of_all("case $(cat $d/comm) in sleep) ;; *) kill -STOP ${d#/proc/} ;; esac", said,
	       sizeof(said));
	ck_assert_int_eq(guard_release(guard, 500, &err), -1);
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	of_all("kill -CONT ${d#/proc/}", said, sizeof(said));
	ck_assert_ok(guard_undo(guard, PATIENCE_MS, &err), &err);
	end();
}
END_TEST

START_TEST(an_undo_after_a_release)
{
	pid_t pid;

	begin();
	ck_assert_ok(guard_made(guard, 0, &err), &err);
	pid = run_program();
	ck_assert_ok(guard_release(guard, PATIENCE_MS, &err), &err);
	ck_assert_ok(guard_release(guard, PATIENCE_MS, &err), &err);
	ck_assert_ok(guard_undo(guard, PATIENCE_MS, &err), &err);
	ck_assert(is_dead(&pid) && is_gone(files[0]));
	end();
}
END_TEST

/* Nobody reads what it writes any more, and it does not wait for that. */
START_TEST(a_released_program_may_write)
{
	const char *argv[] = {"sh", "-c",
			      "trap '' PIPE; while [ ! -e go ]; do sleep 0.1; done; "
			      "i=0; while [ $i -lt 40 ]; do i=$((i + 1)); "
			      "dd if=/dev/zero bs=65536 count=1 >&2; done; >done",
			      NULL};
	_autofree_ char *go = NULL;
	_autofree_ char *done = NULL;

	begin();
	go = str_printf("%s/go", directory);
	done = str_printf("%s/done", directory);
	ck_assert_ok(guard_run(guard, directory, NULL, argv, &err), &err);
	ck_assert_ok(guard_release(guard, PATIENCE_MS, &err), &err);
	touch(go);
	ck_assert(holds_in_silence(is_there, done));
	end();
}
END_TEST

/* The network takes and brings nothing, or we are stopped; the connection stays. */
START_TEST(a_silence_ends_all_and_removes_what_was_made)
{
	pid_t pid;

	begin_with(2);
	ck_assert_ok(guard_made(guard, 1, &err), &err);
	pid = run_program();
	ck_assert(holds_in_silence(is_dead, &pid));
	ck_assert(holds_in_silence(is_gone, files[1]));
	ck_assert(holds(all_are_gone, NULL));
	ck_assert(holds(has_ended, guard));
	ck_assert_int_eq(guard_release(guard, PATIENCE_MS, &err), -1);
	end();
}
END_TEST

START_TEST(a_silence_after_a_release_ends_only_the_guard)
{
	pid_t pid;

	begin_with(2);
	ck_assert_ok(guard_made(guard, 1, &err), &err);
	pid = run_program();
	ck_assert_ok(guard_release(guard, PATIENCE_MS, &err), &err);
	ck_assert(holds_in_silence(all_but_one_are_gone, &pid));
	ck_assert(is_there(files[1]));
	kill(pid, SIGKILL);
	end();
}
END_TEST

static bool is_later(void *ms)
{
	return loop_now_ms() >= *(int64_t *)ms;
}

START_TEST(who_is_heard_of_is_not_silent)
{
	int64_t until_ms = loop_now_ms() + 5000;
	pid_t pid;

	begin_with(2);
	pid = run_program();
	ck_assert_int_eq(loop_wait(loop, is_later, &until_ms, INT64_MAX), LOOP_DONE);
	ck_assert(!is_dead(&pid) && !guard_program_ended(guard));
	ck_assert_ok(guard_undo(guard, PATIENCE_MS, &err), &err);
	ck_assert(holds(all_are_gone, NULL));
	end();
}
END_TEST

/* ps(1) shows the arguments of everybody to everybody. */
START_TEST(the_token_is_in_no_command_line)
{
	char said[4096];

	begin();
	run_program();
	of_all("tr '\\0' ' ' <$d/cmdline | grep -oE '[0-9a-f]{16}'", said, sizeof(said));
	ck_assert_str_eq(said, "");
	of_all("cat $d/comm", said, sizeof(said));
	ck_assert_str_ne(said, "");
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
	ck_assert(holds(all_are_gone, NULL));
	end();
}
END_TEST

/* Nor for what the program has started itself, which may hold its stderr open. */
START_TEST(an_undo_is_not_kept_by_a_grandchild)
{
	const char *argv[] = {"sh", "-c", "sleep 20 & echo >pid; exec sleep 1000", NULL};
	int64_t begun_ms;
	_autofree_ char *path = NULL;

	begin();
	path = str_printf("%s/pid", directory);
	ck_assert_ok(guard_run(guard, directory, NULL, argv, &err), &err);
	ck_assert(holds(is_there, path));
	begun_ms = loop_now_ms();
	ck_assert_ok(guard_undo(guard, PATIENCE_MS, &err), &err);
	ck_assert_int_lt(loop_now_ms() - begun_ms, 15000);
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
	const char *argv[] = {"sh", "-c", "echo 'x undone'; echo undone; exec sleep 1000", NULL};

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

/* bash 5.2 loses a \x01 behind a byte that is no UTF-8. */
static void random_word(char *word, size_t size)
{
	static const char alphabet[] = "ab '\"\\$`\n\t,=;&|<>(){}[]*?~#!%-\x7f\xc3\x01";
	size_t count = sizeof(alphabet) - (str_starts(shell, "bash") ? 2 : 1);
	size_t len = (size_t)rand() % (size - 1);

	for (size_t i = 0; i < len; i++)
		word[i] = alphabet[(size_t)rand() % count];
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

/* What a program says that then ends, and what is told of it. */
static void check_words(const char *said, const char *told)
{
	const char *argv[] = {"sh", "-c", "printf '%b' \"$0\" >&2; exit 1", said, NULL};

	ck_assert_ok(guard_run(guard, "/", NULL, argv, &err), &err);
	ck_assert(holds(has_ended, guard));
	ck_assert_str_eq(guard_last_words(guard), told);
}

/* As QEMU has them: warnings, an error, and what explains it. */
START_TEST(an_error_is_told_with_what_explains_it)
{
	_autofree_ char *line = mem_zalloc(1, 1001);
	_autofree_ char *said = NULL;
	_autofree_ char *told = NULL;

	begin();
	check_words("kvm: warning: no pni\\nkvm: unsupported machine type\\n"
		    "Use -machine help to list supported machines\\n",
		    "kvm: unsupported machine type; Use -machine help to list supported machines");
	check_words("kvm: -chardev socket,id=a: info: waiting\\nVNC runs\\n", "VNC runs");
	check_words("", "it gave no reason");
	memset(line, 'x', 1000);
	said = str_printf("q: %s\\nmore and more and more and more\\nthe end\\n", line);
	told = str_printf("q: %s; the end", line);
	check_words(said, told);
	end();
}
END_TEST

/* Debian's sh, the busiest of other distributions', and the smallest's. */
static const char *const shells[] = {"sh", "bash", "bash --posix", "busybox sh"};

static bool is_installed(const char *words)
{
	_autofree_ char *command = str_printf("%s -c true", words);

	return WEXITSTATUS(system(command)) == 0;
}

int main(void)
{
	const char *only = getenv("VMFERRY_TEST_SHELL");
	int failed = EXIT_SUCCESS;

	const TTest *const tests[] = {
		a_lost_connection_ends_all_and_removes_what_was_made,
		a_file_of_another_move_stays,
		a_program_gets_no_descriptors,
		a_released_program_lives,
		a_released_program_may_write,
		a_release_is_waited_for,
		a_lost_connection_removes_the_keys,
		keys_that_are_not_there_are_no_matter,
		a_guard_that_was_released_removes_the_keys,
		an_undo_after_a_release,
		a_silence_ends_all_and_removes_what_was_made,
		a_silence_after_a_release_ends_only_the_guard,
		who_is_heard_of_is_not_silent,
		the_token_is_in_no_command_line,
		an_undo_is_waited_for,
		an_undo_is_not_kept_by_a_grandchild,
		a_program_that_does_not_obey_is_killed,
		a_program_that_ends_is_told_with_its_last_words,
		an_error_is_told_with_what_explains_it,
		a_program_is_not_the_guard,
		arguments_arrive_byte_for_byte,
		any_arguments_arrive_byte_for_byte,
		the_environment_is_set,
	};

	for (size_t i = 0; i < COUNT_OF(shells); i++) {
		shell = shells[i];
		if (only && !str_eq(only, shell))
			continue;
		printf("by %s\n", shell);
		if (!is_installed(shell) || unit_run("guard", tests, COUNT_OF(tests)))
			failed = EXIT_FAILURE;
	}
	return failed;
}
