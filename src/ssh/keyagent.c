/* Why an agent: libssh2 1.10.0 signs by RSA keys with SHA-1 only, which OpenSSH 8.8 and later
 * refuse, and reads fewer formats of key files than ssh does (see auth.c).
 *
 * It is run as `ssh-agent cat /proc/self/environ -`: the agent makes its own private
 * directory and socket and ends when its command has ended. The command writes where they
 * are (SSH_AUTH_SOCK and SSH_AGENT_PID are in its environment, and nothing else but PATH and
 * TMPDIR), then waits for the end of its input - which also comes when vmferry is killed: so
 * nothing is left behind in any case (in that one, ssh-agent takes up to 10 s to see it). */
#include "ssh/keyagent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process.h"
#include "base/str.h"

struct keyagent {
	struct loop *loop;
	pid_t command; /* our child */
	pid_t agent;   /* the child of it, so its pid is not given to another before */
	char *path;
	int in, out; /* of the command */
	struct loop_fd *watch;
	struct buf environment; /* what came out of it so far */
	bool ended;
};

static const char *find_variable(const struct keyagent *k, const char *name)
{
	size_t len = strlen(name);
	const char *p = k->environment.data;
	const char *end = p ? p + k->environment.len : NULL;

	while (p < end) {
		const char *nul = memchr(p, '\0', (size_t)(end - p));

		if (!nul)
			return NULL;
		if (strncmp(p, name, len) == 0 && p[len] == '=')
			return p + len + 1;
		p = nul + 1;
	}
	return NULL;
}

static bool is_started(void *arg)
{
	struct keyagent *k = arg;

	return k->ended || (find_variable(k, "SSH_AUTH_SOCK") && find_variable(k, "SSH_AGENT_PID"));
}

static void on_output(void *arg, short revents)
{
	struct keyagent *k = arg;
	char chunk[4096];
	ssize_t n = read(k->out, chunk, sizeof(chunk));

	(void)revents;
	if (n > 0 && k->environment.len < (64u << 10)) {
		buf_add(&k->environment, chunk, (size_t)n);
	} else if (n >= 0 || errno != EAGAIN) {
		k->ended = true;
		loop_fd_del(k->watch);
		k->watch = NULL;
	}
}

static int spawn(struct keyagent *k, int in, int out)
{
	const char *const argv[] = {"ssh-agent", "cat", "/proc/self/environ", "-", NULL};
	const char *path = getenv("PATH"), *tmp = getenv("TMPDIR");
	_autofree_ char *path_var = str_printf("PATH=%s", path ? path : "/usr/bin:/bin");
	_autofree_ char *tmp_var = tmp ? str_printf("TMPDIR=%s", tmp) : NULL;
	char *const env[] = {path_var, tmp_var, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, dfl;
	int ret;

	sigemptyset(&none);
	sigemptyset(&dfl);
	sigaddset(&dfl, SIGPIPE);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETSID);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &dfl);
	ret = posix_spawnp(&k->command, argv[0], &actions, &attr, (char *const *)argv, env);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return ret;
}

static int start(struct keyagent *k, struct err *err)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1};
	int ret;

	if (pipe2(in, O_CLOEXEC) < 0)
		return err_errno(err, errno, "pipe");
	if (pipe2(out, O_CLOEXEC) < 0) {
		close(in[0]);
		close(in[1]);
		return err_errno(err, errno, "pipe");
	}
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	k->in = in[1];
	k->out = out[0];
	ret = spawn(k, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	if (ret) {
		k->command = 0;
		return err_errno(err, ret, "ssh-agent");
	}
	k->watch = loop_fd_add(k->loop, k->out, POLLIN, on_output, k);
	return 0;
}

struct keyagent *keyagent_start(struct loop *loop, int64_t timeout_ms, struct err *err)
{
	struct keyagent *k = mem_zalloc(1, sizeof(*k));
	int ret;

	k->loop = loop;
	k->in = k->out = -1;
	ret = start(k, err);
	if (ret == 0)
		ret = loop_await(loop, "ssh-agent to start", timeout_ms, is_started, k, err);
	if (ret == 0 && k->ended)
		ret = err_set(err, ERR_FAILED, "ssh-agent does not start");
	if (ret < 0) {
		keyagent_stop(k);
		return NULL;
	}
	k->path = str_dup(find_variable(k, "SSH_AUTH_SOCK"));
	k->agent = (pid_t)atol(find_variable(k, "SSH_AGENT_PID"));
	return k;
}

/* The agent first: it removes its socket and directory on SIGTERM. */
void keyagent_stop(struct keyagent *k)
{
	int status;

	if (!k)
		return;
	if (k->agent > 1)
		kill(k->agent, SIGTERM);
	loop_fd_del(k->watch);
	if (k->in >= 0)
		close(k->in);
	if (k->out >= 0)
		close(k->out);
	if (k->command > 0)
		while (waitpid(k->command, &status, 0) < 0 && errno == EINTR)
			;
	buf_deinit(&k->environment);
	free(k->path);
	free(k);
}

const char *keyagent_path(const struct keyagent *k)
{
	return k->path;
}

/* How ssh-add, which reads a passphrase from a terminal or from a program that it starts, gets
 * ours: that program is a script in memory that copies what is in a pipe. Both are descriptors
 * that it inherits, so the passphrase is in no argument, environment or file. */
struct answer {
	int script, pipe; /* -1: there is none */
};

static void answer_close(struct answer *a)
{
	if (a->script >= 0)
		close(a->script);
	if (a->pipe >= 0)
		close(a->pipe);
	*a = (struct answer){-1, -1};
}

static int fill_pipe(struct answer *a, const char *passphrase, struct err *err)
{
	size_t len = strlen(passphrase);
	int ends[2];
	ssize_t n;

	if (pipe2(ends, O_NONBLOCK) < 0)
		return err_errno(err, errno, "pipe");
	n = write(ends[1], passphrase, len);
	close(ends[1]);
	a->pipe = ends[0];
	return n == (ssize_t)len ? 0 : err_set(err, ERR_FAILED, "the passphrase is too long");
}

static int answer_open(struct answer *a, const char *passphrase, struct err *err)
{
	_autofree_ char *script = NULL;
	size_t len;

	if (fill_pipe(a, passphrase, err) < 0)
		return -1;
	a->script = memfd_create("askpass", 0);
	script = str_printf("#!/bin/sh\nexec cat /proc/self/fd/%d\n", a->pipe);
	len = strlen(script);
	if (a->script < 0 || write(a->script, script, len) != (ssize_t)len)
		return err_errno(err, errno, "memfd");
	return 0;
}

/* Its words go over several lines, the last are the point. */
static int take_refusal(const struct process_output *output, struct err *err)
{
	const char *words = output->err.len ? output->err.data : "";

	if (strstr(words, "UNPROTECTED"))
		return err_set(err, ERR_FAILED, "its permissions are too open (chmod 600)");
	if (*words && !strstr(words, "passphrase"))
		return err_set(err, ERR_FAILED, "%s", words);
	return KEYAGENT_LOCKED;
}

static int run_ssh_add(struct keyagent *k, const char *file, const struct answer *a,
		       int64_t timeout_ms, struct err *err)
{
	_autofree_ char *socket = str_printf("SSH_AUTH_SOCK=%s", k->path);
	_autofree_ char *askpass = a->script < 0
					   ? str_dup("SSH_ASKPASS=/bin/false")
					   : str_printf("SSH_ASKPASS=/proc/self/fd/%d", a->script);
	const char *const argv[] = {
		"env",     socket, "DISPLAY=none", "SSH_ASKPASS_REQUIRE=force", askpass,
		"ssh-add", "-q",   "-t",           a->pipe < 0 ? "60" : "0",    "--",
		file,      NULL};
	struct process_output output;
	int ret = process_run(k->loop, argv, timeout_ms, &output, err);

	if (ret == 0 && output.status != 0)
		ret = take_refusal(&output, err);
	process_output_deinit(&output);
	return ret;
}

int keyagent_add(struct keyagent *k, const char *file, const char *passphrase, int64_t timeout_ms,
		 struct err *err)
{
	struct answer a = {-1, -1};
	int ret = passphrase ? answer_open(&a, passphrase, err) : 0;

	if (ret == 0)
		ret = run_ssh_add(k, file, &a, timeout_ms, err);
	answer_close(&a);
	return ret;
}
