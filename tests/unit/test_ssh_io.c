/* What goes through an open session, against a real sshd: streams, commands, files. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "test_ssh_server.h"

#define MIB (1024 * 1024)

static struct server server;
static struct loop *loop;
static struct ssh *ssh;
static struct err err;

static void start(const char *sshd_config)
{
	unsetenv("SSH_AUTH_SOCK");
	server_start(&server, sshd_config);
	loop = loop_new(&err);
	ssh = server_open(loop, &server);
}

static void teardown(void)
{
	ssh_close(ssh);
	loop_free(loop);
	server_stop(&server);
}

/* --- streams --- */

/* Bytes that go to the echo service and come back, each as it has to be. */
struct flow {
	struct stream *stream;
	size_t total, sent, received, wrong;
	int calls;
	struct err err;
	bool failed;
};

static char byte_at(size_t i)
{
	return (char)(i * 2654435761u >> 13);
}

static void flow_write(struct flow *f)
{
	char chunk[50000];
	ssize_t n = 1;

	while (f->sent < f->total && n > 0) {
		size_t len = f->total - f->sent;

		if (len > sizeof(chunk))
			len = sizeof(chunk);
		for (size_t i = 0; i < len; i++)
			chunk[i] = byte_at(f->sent + i);
		n = stream_write(f->stream, chunk, len, &f->err);
		f->sent += n > 0 ? (size_t)n : 0;
		f->failed |= n < 0;
	}
	if (!f->failed)
		stream_want_write(f->stream, f->sent < f->total);
}

static void flow_ready(void *arg)
{
	struct flow *f = arg;
	char chunk[30000];
	ssize_t n;

	f->calls++;
	while (!f->failed && (n = stream_read(f->stream, chunk, sizeof(chunk), &f->err)) != 0) {
		f->failed |= n < 0;
		for (ssize_t i = 0; i < n; i++)
			f->wrong += chunk[i] != byte_at(f->received + (size_t)i);
		f->received += n > 0 ? (size_t)n : 0;
	}
	if (!f->failed)
		flow_write(f);
}

static bool flow_done(void *arg)
{
	struct flow *f = arg;

	return f->failed || f->received == f->total;
}

static void flow_start(struct flow *f, size_t total)
{
	*f = (struct flow){.total = total};
	f->stream = ssh_unix_stream(ssh, server.echo, &err);
	ck_assert_msg(f->stream != NULL, "%s", err.text);
	stream_watch(f->stream, flow_ready, f);
	flow_write(f);
}

static void flow_finish(struct flow *f)
{
	int ret = loop_await(loop, "echo", 60000, flow_done, f, &err);

	ck_assert_msg(ret == 0, "%s: sent %zu, received %zu", err.text, f->sent, f->received);
	ck_assert_msg(!f->failed, "%s", f->err.text);
	ck_assert_uint_eq(f->received, f->total);
	ck_assert_uint_eq(f->wrong, 0);
	stream_close(f->stream);
}

START_TEST(stream_echo)
{
	struct flow f;

	start(NULL);
	flow_start(&f, 1000);
	flow_finish(&f);
}
END_TEST

/* Two streams full both ways, while files and commands are asked for. */
static void busy_session(size_t total)
{
	struct flow f, g;
	struct file_info info;
	struct process_output output;
	uint64_t space;

	flow_start(&f, total);
	flow_start(&g, total);
	while (!flow_done(&f) || !flow_done(&g)) {
		ck_assert_msg(ssh_file_info(ssh, server.echo, &info, &err) == 0, "%s", err.text);
		ck_assert_int_eq(info.kind, FILE_OTHER);
		ck_assert_msg(ssh_free_space(ssh, server.dir, &space, &err) == 0, "%s", err.text);
		ck_assert_msg(ssh_command(ssh, "echo hello", 20000, &output, &err) == 0, "%s",
			      err.text);
		ck_assert_str_eq(output.out.data, "hello\n");
		process_output_deinit(&output);
	}
	flow_finish(&f);
	flow_finish(&g);
}

START_TEST(streams_and_requests_at_once)
{
	start(NULL);
	busy_session(8 * MIB);
}
END_TEST

START_TEST(keys_are_exchanged_anew)
{
	start("RekeyLimit 1M");
	busy_session(6 * MIB);
}
END_TEST

START_TEST(many_streams_one_after_another)
{
	struct flow f;

	start(NULL);
	for (int i = 0; i < 50; i++) {
		flow_start(&f, 5000);
		if (i % 2)
			flow_finish(&f);
		else
			stream_close(f.stream);
	}
}
END_TEST

START_TEST(stream_to_nobody)
{
	_autofree_ char *path = NULL;

	start(NULL);
	path = str_printf("%s/nobody", server.dir);
	ck_assert_ptr_null(ssh_unix_stream(ssh, path, &err));
	ck_assert_int_eq(err.kind, ERR_REFUSED);
	ck_assert_ptr_nonnull(strstr(err.text, "good: "));
	ck_assert_ptr_nonnull(strstr(err.text, path));
	ck_assert_ptr_nonnull(strstr(err.text, "is QEMU running there"));
	ck_assert_ptr_nonnull(strstr(err.text, "AllowStreamLocalForwarding"));
}
END_TEST

/* OpenSSH 9.2 answers the same as for a socket that nobody listens on. */
START_TEST(streams_are_not_allowed)
{
	start("AllowStreamLocalForwarding no");
	ck_assert_ptr_null(ssh_unix_stream(ssh, server.echo, &err));
	ck_assert_int_eq(err.kind, ERR_REFUSED);
	ck_assert_ptr_nonnull(strstr(err.text, "AllowStreamLocalForwarding yes"));
}
END_TEST

/* The service over there ends: the stream says so, the session goes on. */
START_TEST(stream_is_closed_by_its_service)
{
	struct flow f;
	struct file_info info;

	start(NULL);
	flow_start(&f, 1);
	ck_assert_int_eq(loop_await(loop, "echo", 20000, flow_done, &f, &err), 0);
	f.total = 2;
	ck_assert_int_eq(stream_write(f.stream, SERVER_QUIT, sizeof(SERVER_QUIT), &err),
			 sizeof(SERVER_QUIT));
	ck_assert_int_eq(loop_await(loop, "the end", 20000, flow_done, &f, &err), 0);
	ck_assert_int_eq(f.err.kind, ERR_CLOSED);
	stream_close(f.stream);
	ck_assert_int_eq(ssh_file_info(ssh, "/", &info, &err), 0);
}
END_TEST

START_TEST(server_is_killed)
{
	struct flow f;
	struct file_info info;

	start(NULL);
	flow_start(&f, 100 * MIB);
	ck_assert_int_eq(ssh_file_info(ssh, "/", &info, &err), 0);
	server_stop(&server);
	ck_assert_int_eq(loop_await(loop, "the end", 20000, flow_done, &f, &err), 0);
	ck_assert_int_eq(f.err.kind, ERR_CLOSED);
	ck_assert_int_eq(ssh_file_info(ssh, "/", &info, &err), -1);
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	ck_assert_ptr_nonnull(strstr(err.text, "good: the SSH connection was lost"));
	ck_assert_ptr_null(ssh_unix_stream(ssh, server.echo, &err));
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	stream_close(f.stream);
}
END_TEST

static bool never(void *arg)
{
	(void)arg;
	return false;
}

static int64_t cpu_ms(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

START_TEST(idle_session_costs_nothing)
{
	struct flow f;
	int64_t before_ms;

	start(NULL);
	flow_start(&f, 1000);
	ck_assert_int_eq(loop_await(loop, "echo", 20000, flow_done, &f, &err), 0);
	loop_wait(loop, never, NULL, loop_now_ms() + 50);
	before_ms = cpu_ms();
	f.calls = 0;
	ck_assert_int_eq(loop_wait(loop, never, NULL, loop_now_ms() + 500), LOOP_TIMEOUT);
	ck_assert_int_le(cpu_ms() - before_ms, 5);
	ck_assert_int_eq(f.calls, 0);
	stream_close(f.stream);
}
END_TEST

/* The server asks "are you there?" twice while nobody reads the one stream. */
START_TEST(server_that_asks_gets_an_answer)
{
	struct stream *stream;
	struct file_info info;
	int64_t before_ms;

	start("ClientAliveInterval 1\nClientAliveCountMax 1");
	stream = ssh_unix_stream(ssh, server.echo, &err);
	ck_assert_ptr_nonnull(stream);
	before_ms = cpu_ms();
	ck_assert_int_eq(loop_wait(loop, never, NULL, loop_now_ms() + 3500), LOOP_TIMEOUT);
	ck_assert_int_le(cpu_ms() - before_ms, 50);
	ck_assert_msg(ssh_file_info(ssh, "/", &info, &err) == 0, "%s", err.text);
	stream_close(stream);
}
END_TEST

/* --- commands --- */

START_TEST(command_status_and_outputs)
{
	struct process_output output;

	start(NULL);
	ck_assert_msg(ssh_command(ssh, "echo 'it'\"'\"'s out'; echo error >&2; cat; exit 3", 20000,
				  &output, &err) == 0,
		      "%s", err.text);
	ck_assert_int_eq(output.status, 3);
	ck_assert_str_eq(output.out.data, "it's out\n");
	ck_assert_str_eq(output.err.data, "error\n");
	process_output_deinit(&output);
}
END_TEST

START_TEST(command_without_output)
{
	struct process_output output;

	start(NULL);
	ck_assert_int_eq(ssh_command(ssh, "true", 20000, &output, &err), 0);
	ck_assert_int_eq(output.status, 0);
	ck_assert_uint_eq(output.out.len + output.err.len, 0);
	process_output_deinit(&output);
}
END_TEST

START_TEST(command_output_is_cut)
{
	struct process_output output;

	start(NULL);
	ck_assert_int_eq(
		ssh_command(ssh, "head -c 3000000 /dev/zero; echo end >&2", 20000, &output, &err),
		0);
	ck_assert_int_eq(output.status, 0);
	ck_assert_uint_eq(output.out.len, PROCESS_OUTPUT_MAX);
	ck_assert_str_eq(output.err.data, "end\n");
	process_output_deinit(&output);
}
END_TEST

/* A syntax error, and a shell that is killed, write no marks. */
START_TEST(command_that_breaks_its_shell)
{
	struct process_output output;

	start(NULL);
	ck_assert_int_eq(ssh_command(ssh, "echo 'open", 20000, &output, &err), 0);
	ck_assert_int_ne(output.status, 0);
	process_output_deinit(&output);
	ck_assert_int_eq(ssh_command(ssh, "echo before; kill -KILL $$", 20000, &output, &err), 0);
	ck_assert_int_eq(output.status, 128 + 9);
	ck_assert_str_eq(output.out.data, "before\n");
	process_output_deinit(&output);
}
END_TEST

START_TEST(command_killed_by_a_signal)
{
	struct process_output output;

	start(NULL);
	ck_assert_int_eq(ssh_command(ssh, "sh -c 'kill -TERM $$'", 20000, &output, &err), 0);
	ck_assert_int_eq(output.status, 128 + 15);
	process_output_deinit(&output);
}
END_TEST

START_TEST(command_takes_too_long)
{
	struct process_output output;

	start(NULL);
	ck_assert_int_eq(ssh_command(ssh, "echo so far; sleep 5", 300, &output, &err), -1);
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	ck_assert_ptr_nonnull(strstr(err.text, "good: timed out after 0.3 s"));
	process_output_deinit(&output);
	ck_assert_int_eq(ssh_command(ssh, "echo again", 20000, &output, &err), 0);
	ck_assert_str_eq(output.out.data, "again\n");
	process_output_deinit(&output);
}
END_TEST

/* The child keeps the outputs open and goes on writing to them. */
START_TEST(command_leaves_a_child)
{
	struct process_output output;
	int64_t before_ms;

	start(NULL);
	before_ms = loop_now_ms();
	ck_assert_int_eq(ssh_command(ssh,
				     "(for i in 1 2 3 4 5 6; do sleep 1; echo late; done) & "
				     "echo started",
				     20000, &output, &err),
			 0);
	ck_assert_int_lt(loop_now_ms() - before_ms, 4000);
	ck_assert_int_eq(output.status, 0);
	ck_assert_str_eq(output.out.data, "started\n");
	process_output_deinit(&output);
	ck_assert_int_eq(ssh_command(ssh, "echo next", 20000, &output, &err), 0);
	ck_assert_str_eq(output.out.data, "next\n");
	process_output_deinit(&output);
}
END_TEST

START_TEST(command_is_interrupted_and_undo_goes_on)
{
	struct process_output output;
	struct file_info info;

	start(NULL);
	raise(SIGINT);
	ck_assert_int_eq(ssh_command(ssh, "sleep 5", 20000, &output, &err), -1);
	ck_assert_int_eq(err.kind, ERR_INTERRUPTED);
	process_output_deinit(&output);
	ck_assert_int_eq(ssh_file_info(ssh, "/", &info, &err), 0);
	loop_shield(loop, true);
	ck_assert_int_eq(ssh_command(ssh, "true", 20000, &output, &err), 0);
	process_output_deinit(&output);
}
END_TEST

/* --- files --- */

static char *in_dir(const char *name)
{
	return str_printf("%s/%s", server.dir, name);
}

static void assert_create_fails(const char *path, const char *words)
{
	ck_assert_int_eq(ssh_file_create(ssh, path, 1024, 0600, &err), -1);
	ck_assert_msg(strstr(err.text, words) != NULL, "no \"%s\" in: %s", words, err.text);
	ck_assert_ptr_nonnull(strstr(err.text, "good: "));
	ck_assert_ptr_nonnull(strstr(err.text, path));
}

START_TEST(file_is_created_sparse)
{
	const uint64_t size = 5ull << 40;
	_autofree_ char *path = NULL;
	struct file_info info;
	struct stat st;

	start(NULL);
	path = in_dir("big.img");
	ck_assert_msg(ssh_file_create(ssh, path, size, 0666, &err) == 0, "%s", err.text);
	ck_assert_int_eq(ssh_file_info(ssh, path, &info, &err), 0);
	ck_assert_int_eq(info.kind, FILE_REGULAR);
	ck_assert_uint_eq(info.size_bytes, size);
	ck_assert_uint_eq(info.mode, 0666);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_lt(st.st_blocks, 100);
}
END_TEST

START_TEST(existing_file_stays_as_it_is)
{
	_autofree_ char *path = NULL;
	_autofree_ char *dangling = NULL;
	struct file_info info;

	start(NULL);
	server_shell(&server, "cd $DIR && echo precious > disk && ln -s nothing dangling");
	path = in_dir("disk");
	dangling = in_dir("dangling");
	assert_create_fails(path, "already exists");
	assert_create_fails(dangling, "already exists");
	ck_assert_int_eq(ssh_file_info(ssh, dangling, &info, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "symbolic link to nothing"));
	server_shell(&server, "test \"$(cat $DIR/disk)\" = precious && test ! -e $DIR/nothing");
}
END_TEST

START_TEST(directory_is_missing)
{
	_autofree_ char *path = NULL;
	struct file_info info;

	start(NULL);
	path = in_dir("not/there");
	assert_create_fails(path, "there is no directory");
	ck_assert_int_eq(ssh_file_info(ssh, path, &info, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "there is no directory"));
}
END_TEST

/* No file system takes a file of 2^63 - 1 bytes. */
START_TEST(file_that_cannot_be_sized_is_taken_back)
{
	_autofree_ char *path = NULL;
	struct file_info info;

	start(NULL);
	path = in_dir("huge");
	ck_assert_int_eq(ssh_file_create(ssh, path, UINT64_MAX >> 1, 0600, &err), -1);
	ck_assert_msg(strstr(err.text, "set the size of") != NULL, "%s", err.text);
	ck_assert_int_eq(ssh_file_info(ssh, path, &info, &err), 0);
	ck_assert_int_eq(info.kind, FILE_ABSENT);
}
END_TEST

START_TEST(file_is_removed_once_or_twice)
{
	_autofree_ char *path = NULL;
	struct file_info info;

	start(NULL);
	path = in_dir("disk");
	ck_assert_int_eq(ssh_file_create(ssh, path, 10, 0600, &err), 0);
	ck_assert_int_eq(ssh_file_remove(ssh, path, &err), 0);
	ck_assert_int_eq(ssh_file_info(ssh, path, &info, &err), 0);
	ck_assert_int_eq(info.kind, FILE_ABSENT);
	ck_assert_int_eq(ssh_file_remove(ssh, path, &err), 0);
	ck_assert_int_eq(ssh_file_remove(ssh, server.dir, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "good: remove /tmp/"));
}
END_TEST

START_TEST(kinds_of_files)
{
	struct file_info info;

	start(NULL);
	ck_assert_int_eq(ssh_file_info(ssh, server.dir, &info, &err), 0);
	ck_assert_int_eq(info.kind, FILE_DIRECTORY);
	ck_assert_uint_eq(info.mode, 0700);
	ck_assert_int_eq(ssh_file_info(ssh, "/dev/null", &info, &err), 0);
	ck_assert_int_eq(info.kind, FILE_OTHER);
}
END_TEST

START_TEST(free_space)
{
	struct statvfs st;
	uint64_t bytes;

	start(NULL);
	ck_assert_int_eq(ssh_free_space(ssh, server.dir, &bytes, &err), 0);
	ck_assert_int_eq(statvfs(server.dir, &st), 0);
	ck_assert_uint_le(bytes, (uint64_t)st.f_blocks * st.f_frsize);
	ck_assert_uint_gt(bytes, (uint64_t)st.f_bavail * st.f_frsize / 2);
	ck_assert_int_eq(ssh_free_space(ssh, "/not/there", &bytes, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "/not/there: no such file"));
}
END_TEST

START_TEST(server_without_sftp)
{
	struct file_info info;
	struct process_output output;

	start("Subsystem other /bin/false");
	ck_assert_int_eq(ssh_file_info(ssh, "/", &info, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "good: the server has no SFTP"));
	ck_assert_ptr_nonnull(strstr(err.text, "Subsystem sftp"));
	ck_assert_int_eq(ssh_command(ssh, "true", 20000, &output, &err), 0);
	process_output_deinit(&output);
}
END_TEST

/* The SFTP server hangs (as with a dead NFS): an error in time, and the next one works. */
START_TEST(sftp_does_not_answer)
{
	struct ssh_target target;
	struct file_info info;

	start(NULL);
	ssh_close(ssh);
	server_shell(&server, "cd $DIR && sed -i \"s|^Subsystem.*|Subsystem sftp $DIR/sftp|\" "
			      "sshd_config && { echo '#!/bin/sh'; echo \"echo \\$\\$ > $DIR/pid\"; "
			      "echo exec /usr/lib/openssh/sftp-server; } > sftp && chmod +x sftp");
	target = server_target(&server);
	target.answer_timeout_ms = 1500;
	ssh = ssh_open(loop, &target, &err);
	ck_assert_msg(ssh != NULL, "%s", err.text);
	ck_assert_msg(ssh_file_info(ssh, "/", &info, &err) == 0, "%s", err.text);
	server_shell(&server, "kill -STOP $(cat $DIR/pid)");
	ck_assert_int_eq(ssh_file_info(ssh, "/", &info, &err), -1);
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	ck_assert_ptr_nonnull(strstr(err.text, "good: timed out after 1.5 s waiting for SFTP"));
	ck_assert_msg(ssh_file_info(ssh, "/", &info, &err) == 0, "%s", err.text);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {stream_echo,
				      streams_and_requests_at_once,
				      keys_are_exchanged_anew,
				      many_streams_one_after_another,
				      stream_to_nobody,
				      streams_are_not_allowed,
				      stream_is_closed_by_its_service,
				      server_is_killed,
				      idle_session_costs_nothing,
				      server_that_asks_gets_an_answer,
				      command_status_and_outputs,
				      command_without_output,
				      command_output_is_cut,
				      command_that_breaks_its_shell,
				      command_killed_by_a_signal,
				      command_takes_too_long,
				      command_leaves_a_child,
				      command_is_interrupted_and_undo_goes_on,
				      file_is_created_sparse,
				      existing_file_stays_as_it_is,
				      directory_is_missing,
				      file_that_cannot_be_sized_is_taken_back,
				      file_is_removed_once_or_twice,
				      kinds_of_files,
				      free_space,
				      server_without_sftp,
				      sftp_does_not_answer};
	TCase *tc = tcase_create("session");
	Suite *suite = suite_create("ssh_io");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_set_timeout(tc, 90);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
