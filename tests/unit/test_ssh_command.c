/* Commands, against a real sshd. */
#include <check.h>
#include <signal.h>
#include <string.h>

#include "test_ssh_server.h"

static struct server server;
static struct loop *loop;
static struct ssh *ssh;
static struct err err;

static void start(const char *sshd_config)
{
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

/* It closes its outputs and goes on: the status is waited for. */
START_TEST(command_that_closes_its_outputs)
{
	struct process_output output;

	start(NULL);
	ck_assert_int_eq(ssh_command(ssh, "exec >&- 2>&-; sleep 1; exit 3", 20000, &output, &err),
			 0);
	ck_assert_int_eq(output.status, 3);
	process_output_deinit(&output);
}
END_TEST

START_TEST(command_that_the_server_replaces)
{
	struct process_output output;

	start("ForceCommand echo instead");
	ck_assert_int_eq(ssh_command(ssh, "echo mine", 20000, &output, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "good: a command was not run to its end"));
	ck_assert_ptr_nonnull(strstr(err.text, "ForceCommand"));
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

int main(void)
{
	const TTest *const tests[] = {
		command_status_and_outputs,      command_without_output,
		command_output_is_cut,           command_that_breaks_its_shell,
		command_that_closes_its_outputs, command_that_the_server_replaces,
		command_killed_by_a_signal,      command_takes_too_long,
		command_leaves_a_child,          command_is_interrupted_and_undo_goes_on};

	return server_run_tests("ssh_command", tests, sizeof(tests) / sizeof(tests[0]), NULL,
				teardown);
}
