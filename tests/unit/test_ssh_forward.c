/* Unix sockets of this host that lead to another one's by ssh(1), against a real sshd. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ssh/forward.h"
#include "test_ssh_server.h"

#define PATIENCE_MS 20000
#define MIB (1024 * 1024)

static struct server server;
static struct loop *loop;
static struct ssh *ssh;
static struct ssh_target target;
static struct ssh_forward *forward;
static char here[128];
static struct err err;

static struct ssh_forward *open_forward(const char *there)
{
	struct ssh_forwarded sockets[] = {{here, there}};
	_autofree_ char *directory = str_printf("%s/forward", server.dir);

	ck_assert_int_eq(mkdir(directory, 0700), 0);
	return ssh_forward_start(ssh, &target, directory, sockets, 1, &err);
}

static void begin(void)
{
	server_start(&server, NULL);
	snprintf(here, sizeof(here), "%s/forward/here", server.dir);
	loop = loop_new(&err);
	target = server_target(&server);
	ssh = server_open(loop, &server);
}

static void start(const char *there)
{
	begin();
	forward = open_forward(there);
	ck_assert_msg(forward, "%s", err.text);
}

static void teardown(void)
{
	ssh_forward_stop(forward);
	forward = NULL;
	ssh_close(ssh);
	loop_free(loop);
	server_stop(&server);
}

static char *read_config(void)
{
	_autofree_ char *path = str_printf("%s/forward/" SSH_FORWARD_CONFIG, server.dir);
	char *text = mem_zalloc(1, 8192);
	FILE *f = fopen(path, "r");

	ck_assert(f && fread(text, 1, 8191, f) > 0);
	fclose(f);
	return text;
}

/* What comes back of what was sent. */
struct echo {
	struct stream *stream;
	size_t sent, received;
	bool ended;
};

static void on_ready(void *arg)
{
	struct echo *e = arg;
	static char chunk[MIB];
	ssize_t n = 1;

	while (e->sent < 8 * MIB && n > 0 && (n = stream_write(e->stream, chunk, MIB, &err)) > 0)
		e->sent += (size_t)n;
	while ((n = stream_read(e->stream, chunk, sizeof(chunk), &err)) > 0)
		e->received += (size_t)n;
	e->ended |= n < 0;
	stream_want_write(e->stream, !e->ended && e->sent < 8 * MIB);
}

static bool all_is_back(void *arg)
{
	struct echo *e = arg;

	return e->ended || (e->sent >= 8 * MIB && e->received == e->sent);
}

static bool is_at_its_end(void *arg)
{
	return ((struct echo *)arg)->ended;
}

static void connect_here(struct echo *e)
{
	*e = (struct echo){.stream = stream_unix(loop, here, PATIENCE_MS, &err)};
	ck_assert_msg(e->stream, "%s", err.text);
	stream_watch(e->stream, on_ready, e);
	on_ready(e);
}

START_TEST(two_connections_at_once)
{
	struct echo echoes[2];

	start(server.echo);
	for (int i = 0; i < 2; i++)
		connect_here(&echoes[i]);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(
			loop_await(loop, "the echo", PATIENCE_MS, all_is_back, &echoes[i], &err),
			0);
		ck_assert(!echoes[i].ended);
		stream_close(echoes[i].stream);
	}
	ck_assert(!ssh_forward_ended(forward));
}
END_TEST

START_TEST(nobody_there_ends_the_connection)
{
	struct echo e;

	start("/nowhere/at/all");
	connect_here(&e);
	ck_assert_int_eq(loop_await(loop, "the end", PATIENCE_MS, is_at_its_end, &e, &err), 0);
	ck_assert(!ssh_forward_ended(forward));
	stream_close(e.stream);
}
END_TEST

static bool forward_ended(void *arg)
{
	(void)arg;
	return ssh_forward_ended(forward);
}

START_TEST(the_server_s_end_is_seen)
{
	struct echo e;

	start(server.echo);
	connect_here(&e);
	server_stop(&server);
	ck_assert_int_eq(loop_await(loop, "the end", PATIENCE_MS, forward_ended, NULL, &err), 0);
	ck_assert_int_eq(loop_await(loop, "its own", PATIENCE_MS, is_at_its_end, &e, &err), 0);
	stream_close(e.stream);
}
END_TEST

static bool nobody_listens(void *arg)
{
	struct stream *s = stream_unix(loop, here, PATIENCE_MS, NULL);

	(void)arg;
	stream_close(s);
	return !s;
}

static void await_nobody(void)
{
	int64_t until_ms = loop_now_ms() + PATIENCE_MS;

	while (!nobody_listens(NULL) && loop_now_ms() < until_ms)
		usleep(10000);
	ck_assert(nobody_listens(NULL));
}

START_TEST(stopped_it_is_gone)
{
	start(server.echo);
	ck_assert(!nobody_listens(NULL));
	ssh_forward_stop(forward);
	forward = NULL;
	await_nobody();
}
END_TEST

/* Of a process that is killed. */
START_TEST(it_does_not_outlive_its_process)
{
	int status, pipes[2];
	char byte;
	pid_t pid;

	begin();
	ck_assert_int_eq(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		forward = open_forward(server.echo);
		if (write(pipes[1], forward ? "y" : "n", 1) == 1)
			pause();
		_exit(0);
	}
	ck_assert_int_eq(read(pipes[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'y');
	ck_assert(!nobody_listens(NULL));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(pipes[0]);
	close(pipes[1]);
	await_nobody();
}
END_TEST

START_TEST(another_host_key_is_refused)
{
	begin();
	server_shell(&server, "cd $DIR && rm host_ed25519* && "
			      "ssh-keygen -q -t ed25519 -N '' -f host_ed25519");
	forward = open_forward(server.echo);
	ck_assert_ptr_null(forward);
	ck_assert_msg(strstr(err.text, "Host key verification failed"), "%s", err.text);
}
END_TEST

static void start_with(const char *config)
{
	_autofree_ char *command = str_printf("echo \"%s\" >>$DIR/ssh_config", config);

	server_start(&server, NULL);
	server_shell(&server, command);
	snprintf(here, sizeof(here), "%s/forward/here", server.dir);
	loop = loop_new(&err);
	target = server_target(&server);
	ssh = server_open(loop, &server);
	forward = open_forward(server.echo);
	ck_assert_msg(forward, "%s", err.text);
}

START_TEST(what_the_user_has_forwarded_is_not)
{
	_autofree_ char *text = NULL;

	start_with("LocalForward $DIR/users /nowhere");
	text = read_config();
	ck_assert_ptr_null(strstr(text, "users"));
	server_shell(&server, "[ ! -e $DIR/users ]");
}
END_TEST

START_TEST(the_user_s_ciphers_are_his)
{
	_autofree_ char *text = NULL;

	start_with("Ciphers aes256-ctr,aes128-gcm@openssh.com");
	text = read_config();
	ck_assert(strstr(text, "\nCiphers aes256-ctr,aes128-gcm@openssh.com\n"));
}
END_TEST

START_TEST(of_openssh_s_ciphers_all_are_there)
{
	_autofree_ char *text = NULL;

	start_with("Ciphers chacha20-poly1305@openssh.com,aes128-ctr,aes128-gcm@openssh.com");
	text = read_config();
	ck_assert(strstr(text, "\nCiphers aes128-gcm@openssh.com,chacha20-poly1305@openssh.com,"
			       "aes128-ctr\n") ||
		  system("grep -q '^\\(flags\\|Features\\).* aes' /proc/cpuinfo") != 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {two_connections_at_once,
				      nobody_there_ends_the_connection,
				      the_server_s_end_is_seen,
				      stopped_it_is_gone,
				      it_does_not_outlive_its_process,
				      another_host_key_is_refused,
				      what_the_user_has_forwarded_is_not,
				      the_user_s_ciphers_are_his,
				      of_openssh_s_ciphers_all_are_there};

	return server_run_tests("ssh_forward", tests, sizeof(tests) / sizeof(tests[0]), NULL,
				teardown);
}
