/* The program gets one end of a socket pair as stdin and stdout, as ssh(1) does it, so to the
 * session it is a connection like any other.
 *
 * It must not be left behind. When we end it, it and all it has started in its session are hung
 * up on, then killed. When we are killed ourselves, its stdin ends, which ends ssh -W, nc and
 * the like.
 *
 * A session of its own: Ctrl-C at the terminal asks us to undo, and for that the connection is
 * needed. So it has no terminal that it could ask anything on either, and ssh is told not to try
 * by a window (SSH_ASKPASS_REQUIRE); a key of a jump host has to be in the agent. */
#include "ssh/proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define END_MS 1000
#define LINE_MAX_BYTES 400
#define WORDS_MAX_READS 64 /* for the last of it */

extern char **environ;

struct proxy {
	char *host; /* for words */
	void (*said)(void *arg, const char *line);
	void *said_arg;
	pid_t pid; /* and of its session and process group */
	int err_fd;
	struct loop_fd *watch;
	char line[LINE_MAX_BYTES]; /* begun */
	size_t len;
	char words[LINE_MAX_BYTES]; /* the last that was complete */
};

static void end_line(struct proxy *p)
{
	p->line[p->len] = '\0';
	p->len = 0;
	str_sanitize(p->line);
	if (!*p->line)
		return;
	snprintf(p->words, sizeof(p->words), "%s", p->line);
	if (p->said) {
		_autofree_ char *line = str_printf("%s: %s", p->host, p->words);

		p->said(p->said_arg, line);
	}
}

static void take_byte(struct proxy *p, char c)
{
	if (c == '\n' || c == '\r')
		end_line(p);
	else if (p->len < sizeof(p->line) - 1)
		p->line[p->len++] = c;
}

/* One chunk a round: who writes without end shall not hold up the others. */
static bool take_errors(struct proxy *p)
{
	char chunk[4096];
	ssize_t n = read(p->err_fd, chunk, sizeof(chunk));

	for (ssize_t i = 0; i < n; i++)
		take_byte(p, chunk[i]);
	if (n == 0) {
		loop_fd_del(p->watch);
		p->watch = NULL;
	}
	return n > 0;
}

static void on_errors(void *arg, short revents)
{
	(void)revents;
	take_errors(arg);
}

/* SSH_ASKPASS_REQUIRE before our own environment, whose first one counts. */
static char **make_environment(void)
{
	static char no_window[] = "SSH_ASKPASS_REQUIRE=never";
	size_t n = 0;
	char **env;

	while (environ[n])
		n++;
	env = mem_zalloc(n + 2, sizeof(char *));
	env[0] = no_window;
	n = 1;
	for (char **p = environ; *p; p++)
		if (!str_starts(*p, "SSH_ASKPASS_REQUIRE="))
			env[n++] = *p;
	return env;
}

static int spawn(pid_t *pid, const char *command, int fd, int err_fd)
{
	_autofree_ char *script = str_printf("exec %s", command);
	const char *const argv[] = {"/bin/sh", "-c", script, NULL};
	char **env = make_environment();
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, dfl;
	int ret;

	sigemptyset(&none);
	sigemptyset(&dfl);
	sigaddset(&dfl, SIGPIPE);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, 0);
	posix_spawn_file_actions_adddup2(&actions, fd, 1);
	posix_spawn_file_actions_adddup2(&actions, err_fd, 2);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETSID);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &dfl);
	ret = posix_spawn(pid, argv[0], &actions, &attr, (char *const *)argv, env);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	free(env);
	return ret;
}

static int start(struct proxy *p, const char *command, int *fd, struct err *err)
{
	int ends[2], errs[2], ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return err_errno(err, errno, "socketpair");
	if (pipe2(errs, O_CLOEXEC) < 0) {
		err_errno(err, errno, "pipe");
		close(ends[0]);
		close(ends[1]);
		return -1;
	}
	ret = spawn(&p->pid, command, ends[1], errs[1]);
	close(ends[1]);
	close(errs[1]);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	fcntl(errs[0], F_SETFL, O_NONBLOCK);
	*fd = ends[0];
	p->err_fd = errs[0];
	if (ret == 0)
		return 0;
	p->pid = 0;
	close(ends[0]);
	return err_errno(err, ret, "/bin/sh");
}

struct proxy *proxy_start(struct loop *loop, const char *command, const struct ssh_target *target,
			  int *fd, struct err *err)
{
	struct proxy *p = mem_zalloc(1, sizeof(*p));

	p->host = str_dup(target->host);
	p->said = target->said;
	p->said_arg = target->said_arg;
	p->err_fd = -1;
	if (start(p, command, fd, err) < 0) {
		proxy_stop(p);
		return NULL;
	}
	p->watch = loop_fd_add(loop, p->err_fd, POLLIN, on_errors, p);
	return p;
}

const char *proxy_words(struct proxy *p)
{
	for (int i = 0; i < WORDS_MAX_READS && p->watch && take_errors(p); i++)
		;
	if (p->len)
		end_line(p);
	return p->words;
}

/* Until it is reaped its number, and that of its group, is nobody else's. */
static void end_process(pid_t pid)
{
	struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	int status;

	kill(-pid, SIGHUP);
	if (end.fd >= 0) {
		poll(&end, 1, END_MS);
		close(end.fd);
	}
	kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

void proxy_stop(struct proxy *p)
{
	if (!p)
		return;
	loop_fd_del(p->watch);
	if (p->pid > 0)
		end_process(p->pid);
	if (p->err_fd >= 0)
		close(p->err_fd);
	free(p->host);
	free(p);
}
