/* Streams to Unix sockets, against a real sshd. */
#include <check.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "test_ssh_server.h"

#define MIB (1024 * 1024)

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

/* LeakSanitizer's, if it is there. libssh2 1.10.0 loses the old host key (51 bytes) with each
 * new key exchange. */
void __lsan_disable(void) __attribute__((weak));

START_TEST(keys_are_exchanged_anew)
{
	if (__lsan_disable)
		__lsan_disable();
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

START_TEST(a_stream_may_outlive_its_session)
{
	struct stream *stream;
	char byte = 'x';

	start(NULL);
	stream = ssh_unix_stream(ssh, server.echo, &err);
	ck_assert_msg(stream != NULL, "%s", err.text);
	ssh_close(ssh);
	ssh = NULL;
	ck_assert_int_lt(stream_write(stream, &byte, 1, &err), 0);
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	ck_assert_int_lt(stream_read(stream, &byte, 1, &err), 0);
	stream_want_write(stream, true);
	stream_close(stream);
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

/* Everything over there stands still for a while: requests end in time and say so, and what
 * was a stream before is one afterwards. */
START_TEST(server_hangs)
{
	struct ssh_target target;
	struct file_info info;
	struct flow f;

	start(NULL);
	ssh_close(ssh);
	target = server_target(&server);
	target.answer_timeout_ms = 500;
	ssh = ssh_open(loop, &target, &err);
	ck_assert_msg(ssh != NULL, "%s", err.text);
	flow_start(&f, 4 * MIB);
	kill(-server.guardian, SIGSTOP);
	ck_assert_int_eq(ssh_file_info(ssh, "/", &info, &err), -1);
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	ck_assert_ptr_null(ssh_unix_stream(ssh, server.echo, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "good: the server never answered an earlier"));
	kill(-server.guardian, SIGCONT);
	flow_finish(&f);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {stream_echo,
				      streams_and_requests_at_once,
				      keys_are_exchanged_anew,
				      many_streams_one_after_another,
				      a_stream_may_outlive_its_session,
				      stream_to_nobody,
				      streams_are_not_allowed,
				      stream_is_closed_by_its_service,
				      server_is_killed,
				      idle_session_costs_nothing,
				      server_that_asks_gets_an_answer,
				      server_hangs};

	return server_run_tests("ssh_stream", tests, sizeof(tests) / sizeof(tests[0]), NULL,
				teardown);
}
