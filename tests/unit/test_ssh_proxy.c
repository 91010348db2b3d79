/* ProxyCommand and ProxyJump: the command lines they become, and a real sshd behind them. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssh/proxy.h"
#include "test_ssh_server.h"

static struct server server;
static struct loop *loop;
static struct err err;
static struct buf said;

static void setup(void)
{
	server_start(&server, NULL);
	loop = loop_new(&err);
}

static void teardown(void)
{
	buf_deinit(&said);
	loop_free(loop);
	server_stop(&server);
}

/* --- the command lines --- */

static struct ssh_config config_of(const char *command, const char *jump)
{
	return (struct ssh_config){.hostname = str_dup("198.51.100.7"),
				   .user = str_dup("me"),
				   .port = 2222,
				   .proxy_command = str_dup(command),
				   .proxy_jump = str_dup(jump)};
}

static void assert_line(const char *command, const char *jump, const struct ssh_target *target,
			const char *wanted)
{
	struct ssh_config c = config_of(command, jump);
	_autofree_ char *line = proxy_command_line(&c, target, &err);

	ck_assert_msg(line != NULL, "%s", err.text);
	ck_assert_str_eq(line, wanted);
	ssh_config_deinit(&c);
}

static void assert_line_refused(const char *command, const char *name, const char *word)
{
	const struct ssh_target target = {.host = name};
	struct ssh_config c = config_of(command, NULL);

	ck_assert_ptr_null(proxy_command_line(&c, &target, &err));
	ck_assert_int_eq(err.kind, ERR_REFUSED);
	ck_assert_msg(strstr(err.text, word) != NULL, "no \"%s\" in: %s", word, err.text);
	ssh_config_deinit(&c);
}

START_TEST(tokens_of_a_command)
{
	const struct ssh_target target = {.host = "alias"};

	assert_line("nc -x gate:1 %h %p # %r%%%n", NULL, &target,
		    "nc -x gate:1 198.51.100.7 2222 # me%alias");
	assert_line_refused("nc %h %u", "alias", "%u");
	assert_line_refused("nc 100%", "alias", "ends with %");
	assert_line_refused("nc %n", "a;reboot", "a;reboot");
	assert_line_refused("nc %n", "a$(reboot)", "no plain name");
	assert_line_refused("nc %n", "-oProxyCommand=reboot", "no plain name");
	assert_line_refused("nc %n", "a b", "no plain name");
}
END_TEST

#define JUMP_OPTIONS "ssh -o 'BatchMode=yes' "

START_TEST(jumps)
{
	const struct ssh_target target = {.host = "alias", .identity = "/key"};

	assert_line(NULL, "gate", &target, JUMP_OPTIONS "-W '[198.51.100.7]:2222' -- 'gate'");
	assert_line(NULL, "you@gate:22", &target,
		    JUMP_OPTIONS "-l 'you' -p '22' -W '[198.51.100.7]:2222' -- 'gate'");
	assert_line(NULL, "a,you@[fd00::1]:23,b@[10.0.0.1]:24", &target,
		    JUMP_OPTIONS "-l 'b' -p '24' -J 'a,you@[fd00::1]:23' "
				 "-W '[198.51.100.7]:2222' -- '10.0.0.1'");
	assert_line(NULL, "[fd00::1]", &target,
		    JUMP_OPTIONS "-W '[198.51.100.7]:2222' -- 'fd00::1'");
	assert_line(NULL, "%r@gate;reboot", &target,
		    JUMP_OPTIONS "-l 'me' -W '[198.51.100.7]:2222' -- 'gate;reboot'");
}
END_TEST

START_TEST(files_of_a_jump)
{
	const struct ssh_target target = {
		.host = "alias", .config = "/a'b/100%h", .known_hosts = "/known %u"};

	assert_line(NULL, "gate", &target,
		    "ssh -F '/a'\\''b/100%h' -o 'UserKnownHostsFile=\"/known %u\"' "
		    "-o 'GlobalKnownHostsFile=/dev/null' -o 'BatchMode=yes' "
		    "-W '[198.51.100.7]:2222' -- 'gate'");
}
END_TEST

/* --- through them --- */

static void on_said(void *arg, const char *line)
{
	(void)arg;
	buf_printf(&said, "%s\n", line);
}

static struct ssh_target target_that_tells(void)
{
	struct ssh_target target = server_target(&server);

	target.said = on_said;
	return target;
}

/* The pid that a ProxyCommand wrote to the file @name. */
static pid_t pid_in(const char *name)
{
	_autofree_ char *path = str_printf("%s/%s", server.dir, name);
	FILE *f = fopen(path, "re");
	int pid = 0;

	ck_assert_msg(f && fscanf(f, "%d", &pid) == 1, "%s", path);
	fclose(f);
	return pid;
}

/* Whose child it was, and so who has to take notice, may be anybody. */
static bool is_gone(pid_t pid)
{
	_autofree_ char *path = str_printf("/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	char state = 'Z';

	if (!f)
		return true;
	ck_assert_int_ge(fscanf(f, "%*d (%*[^)]) %c", &state), 0);
	fclose(f);
	return state == 'Z';
}

static bool is_gone_step(void *arg)
{
	return is_gone(*(const pid_t *)arg);
}

static void nothing(void *arg)
{
	(void)arg;
}

static void assert_gone(const char *name)
{
	struct loop_timer *look = loop_timer_add(loop, 5, nothing, NULL);
	pid_t pid = pid_in(name);

	ck_assert_msg(loop_wait(loop, is_gone_step, &pid, loop_now_ms() + 10000) == LOOP_DONE,
		      "%s is there", name);
	loop_timer_del(look);
}

static void set_command(const char *script)
{
	_autofree_ char *path = str_printf("%s/proxy", server.dir);
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	fprintf(f, "echo $$ > $DIR/pid\n%s\n", script);
	fclose(f);
	server_shell(&server, "sed -i \"1aProxyCommand sh $DIR/proxy\" $DIR/ssh_config");
}

static void assert_works(struct ssh *ssh)
{
	struct process_output output = {0};

	ck_assert_int_eq(ssh_command(ssh, "echo here", 20000, &output, &err), 0);
	ck_assert_str_eq(output.out.data, "here\n");
	process_output_deinit(&output);
}

START_TEST(opens_by_command)
{
	struct ssh_target target = target_that_tells();
	struct ssh *ssh;

	set_command("sleep 1000 & echo $! > $DIR/pid2; echo hello >&2\n"
		    "exec /usr/sbin/sshd -i -f $DIR/sshd_config");
	ssh = ssh_open(loop, &target, &err);
	ck_assert_msg(ssh != NULL, "%s", err.text);
	ck_assert_ptr_null(ssh_peer_address(ssh));
	assert_works(ssh);
	ck_assert_str_eq(said.data, "good: hello\n");
	ssh_close(ssh);
	assert_gone("pid");
	assert_gone("pid2");
}
END_TEST

START_TEST(command_that_fails_is_told_and_gone)
{
	struct ssh_target target = target_that_tells();

	set_command("sleep 1000 </dev/null >/dev/null & echo $! > $DIR/pid2; printf 'no "
		    "\\033[1mway' >&2; exit 3");
	ck_assert_ptr_null(ssh_open(loop, &target, &err));
	ck_assert_msg(strstr(err.text, "the ProxyCommand said: no ?[1mway"), "%s", err.text);
	assert_gone("pid");
	assert_gone("pid2");
}
END_TEST

/* It does not end by itself, nor when it is hung up on. */
START_TEST(command_that_says_nothing)
{
	struct ssh_target target = target_that_tells();

	target.connect_timeout_ms = 300;
	set_command("trap '' HUP; while :; do sleep 1000; done");
	ck_assert_ptr_null(ssh_open(loop, &target, &err));
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	assert_gone("pid");
}
END_TEST

START_TEST(command_that_ends_later)
{
	struct ssh_target target = target_that_tells();
	struct process_output output = {0};
	struct ssh *ssh;

	set_command("exec /usr/sbin/sshd -i -f $DIR/sshd_config");
	ssh = ssh_open(loop, &target, &err);
	ck_assert_msg(ssh != NULL, "%s", err.text);
	ck_assert_int_eq(kill(pid_in("pid"), SIGKILL), 0);
	ck_assert_int_lt(ssh_command(ssh, "sleep 1000", 20000, &output, &err), 0);
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	ck_assert_msg(strstr(err.text, "ProxyCommand"), "%s", err.text);
	process_output_deinit(&output);
	ssh_close(ssh);
}
END_TEST

/* Two hosts on the way, which are this one. */
/* sshd, and all it has started, stands still. */
START_TEST(server_that_falls_silent)
{
	struct ssh_target target = target_that_tells();
	struct process_output output = {0};
	int64_t begun_ms;
	struct ssh *ssh;

	set_command("exec /usr/sbin/sshd -i -f $DIR/sshd_config");
	server_shell(&server, "sed -i '1aServerAliveInterval 1\\nServerAliveCountMax 1' "
			      "$DIR/ssh_config");
	ssh = ssh_open(loop, &target, &err);
	ck_assert_msg(ssh != NULL, "%s", err.text);
	/* an answer counts, though nobody here waits for any */
	ck_assert_int_eq(loop_wait(loop, is_gone_step, &(pid_t){getpid()}, loop_now_ms() + 3500),
			 LOOP_TIMEOUT);
	assert_works(ssh);
	begun_ms = loop_now_ms();
	ck_assert_int_eq(kill(-pid_in("pid"), SIGSTOP), 0);
	ck_assert_int_lt(ssh_command(ssh, "sleep 1000", 30000, &output, &err), 0);
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	ck_assert_msg(strstr(err.text, "ServerAliveInterval"), "%s", err.text);
	ck_assert_int_lt(loop_now_ms() - begun_ms, 10000);
	process_output_deinit(&output);
	ssh_close(ssh);
	assert_gone("pid");
}
END_TEST

START_TEST(opens_by_jumps)
{
	struct ssh_target target = target_that_tells();
	struct ssh *ssh;

	server_shell(&server, "sed -i '1aProxyJump one,two' $DIR/ssh_config && "
			      "printf 'Host one two\\nHostName 127.0.0.1\\nPort %s\\n' $PORT "
			      ">> $DIR/ssh_config");
	ssh = ssh_open(loop, &target, &err);
	ck_assert_msg(ssh != NULL, "%s%s", err.text, said.data ? said.data : "");
	assert_works(ssh);
	ssh_close(ssh);
	/* nothing that has our ssh_config is left, once what was killed has ended */
	server_shell(&server, "for i in $(seq 1000); do pgrep -f \"ssh -F $DIR\" >/dev/null || "
			      "exit 0; sleep 0.01; done; pgrep -af \"ssh -F $DIR\" >&2; exit 1");
}
END_TEST

START_TEST(jump_that_is_not_known)
{
	struct ssh_target target = target_that_tells();

	server_shell(&server, "sed -i '1aProxyJump nowhere.invalid' $DIR/ssh_config");
	ck_assert_ptr_null(ssh_open(loop, &target, &err));
	ck_assert_msg(strstr(err.text, "the ssh to its ProxyJump said: "), "%s", err.text);
	ck_assert_msg(strstr(said.data, "nowhere.invalid"), "%s", said.data);
}
END_TEST

START_TEST(none_is_no_proxy)
{
	struct ssh *ssh;

	server_shell(&server, "sed -i '1aProxyJump none' $DIR/ssh_config && "
			      "printf 'Host *\nProxyJump nowhere.invalid\n' >> $DIR/ssh_config");
	ssh = server_open(loop, &server);
	ck_assert_str_eq(ssh_peer_address(ssh), "127.0.0.1");
	ssh_close(ssh);
}
END_TEST

START_TEST(passing_a_descriptor_is_refused)
{
	struct ssh_target target = target_that_tells();

	server_shell(&server, "sed -i '1aProxyUseFdpass yes' $DIR/ssh_config");
	ck_assert_ptr_null(ssh_open(loop, &target, &err));
	ck_assert_int_eq(err.kind, ERR_REFUSED);
	ck_assert_msg(strstr(err.text, "ProxyUseFdpass"), "%s", err.text);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {tokens_of_a_command,
				      jumps,
				      files_of_a_jump,
				      opens_by_command,
				      command_that_fails_is_told_and_gone,
				      command_that_says_nothing,
				      command_that_ends_later,
				      server_that_falls_silent,
				      opens_by_jumps,
				      jump_that_is_not_known,
				      none_is_no_proxy,
				      passing_a_descriptor_is_refused};

	return server_run_tests("ssh_proxy", tests, sizeof(tests) / sizeof(tests[0]), setup,
				teardown);
}
