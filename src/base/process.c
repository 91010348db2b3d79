/* The end of the process is seen through a pidfd, its outputs through two pipes, all in
 * the loop. */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct pipe_end {
	int fd;
	struct buf *into;
	struct loop_fd *watch;
};

struct process {
	struct loop *loop;
	char *name; /* for words */
	struct process_output *output;
	pid_t pid;
	int pidfd;
	bool ended;
	struct loop_fd *watch;
	struct pipe_end out, err;
};

/* More than a pipe holds, and not for ever: some programs write faster than we read. */
#define READS_A_ROUND 64

static void drain(struct pipe_end *end)
{
	char chunk[4096];
	ssize_t n = 1;

	for (int i = 0; i < READS_A_ROUND && n > 0; i++) {
		size_t room = PROCESS_OUTPUT_MAX - end->into->len;

		n = read(end->fd, chunk, sizeof(chunk));
		if (n > 0 && room)
			buf_add(end->into, chunk, (size_t)n < room ? (size_t)n : room);
	}
	if (n == 0) {
		loop_fd_del(end->watch);
		end->watch = NULL;
	}
}

static void on_output(void *arg, short revents)
{
	(void)revents;
	drain(arg);
}

static void on_end(void *arg, short revents)
{
	struct process *p = arg;

	(void)revents;
	p->ended = true;
}

static bool has_ended(void *arg)
{
	return ((struct process *)arg)->ended;
}

/* Spawns with the three standard descriptors, @in -1 being empty, and a clean signal mask. */
static int spawn(pid_t *pid, const char *const *argv, int in, int out, int err_fd)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, dfl;
	int ret;

	sigemptyset(&none);
	sigemptyset(&dfl);
	sigaddset(&dfl, SIGPIPE);
	posix_spawn_file_actions_init(&actions);
	if (in < 0)
		posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	else
		posix_spawn_file_actions_adddup2(&actions, in, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_adddup2(&actions, err_fd, 2);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETPGROUP);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &dfl);
	ret = posix_spawnp(pid, argv[0], &actions, &attr, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return ret;
}

static void end_init(struct loop *loop, struct pipe_end *end, int fd, struct buf *into)
{
	fcntl(fd, F_SETFL, O_NONBLOCK);
	end->fd = fd;
	end->into = into;
	end->watch = loop_fd_add(loop, fd, POLLIN, on_output, end);
}

static void end_deinit(struct pipe_end *end)
{
	if (end->watch)
		drain(end);
	loop_fd_del(end->watch);
	close(end->fd);
}

/* Waits, reaps, and turns the wait status into the shell's notation. */
static int see_end(struct process *p, int64_t timeout_ms, struct err *err)
{
	int raw = 0;
	int ret = loop_await(p->loop, p->name, timeout_ms, has_ended, p, err);

	if (ret < 0)
		kill(-p->pid, SIGKILL);
	while (waitpid(p->pid, &raw, 0) < 0 && errno == EINTR)
		;
	p->output->status = WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
	return ret;
}

static struct process *watch(struct loop *loop, pid_t pid, const char *name, int out, int err_fd,
			     struct process_output *output)
{
	struct process *p = mem_zalloc(1, sizeof(*p));

	p->loop = loop;
	p->name = str_dup(name);
	p->pid = pid;
	p->output = output;
	end_init(loop, &p->out, out, &output->out);
	end_init(loop, &p->err, err_fd, &output->err);
	p->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	p->watch = loop_fd_add(loop, p->pidfd, POLLIN, on_end, p);
	return p;
}

struct process *process_start(struct loop *loop, const char *const *argv,
			      struct process_output *output, struct err *err)
{
	int out[2] = {-1, -1}, errs[2] = {-1, -1};
	pid_t pid;
	int ret;

	*output = (struct process_output){0};
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(errs, O_CLOEXEC) < 0) {
		err_errno(err, errno, "pipe");
		close(out[0]);
		close(out[1]);
		return NULL;
	}
	ret = spawn(&pid, argv, -1, out[1], errs[1]);
	close(out[1]);
	close(errs[1]);
	if (ret) {
		close(out[0]);
		close(errs[0]);
		err_errno(err, ret, "%s", argv[0]);
		return NULL;
	}
	output->begun = true;
	return watch(loop, pid, argv[0], out[0], errs[0], output);
}

int process_finish(struct process *p, int64_t timeout_ms, struct err *err)
{
	int ret = see_end(p, timeout_ms, err);

	loop_fd_del(p->watch);
	close(p->pidfd);
	end_deinit(&p->out);
	end_deinit(&p->err);
	free(p->name);
	free(p);
	return ret;
}

int process_run(struct loop *loop, const char *const *argv, int64_t timeout_ms,
		struct process_output *output, struct err *err)
{
	struct process *p = process_start(loop, argv, output, err);

	return p ? process_finish(p, timeout_ms, err) : -1;
}

/* A shell whose child is the command ends at once and is reaped here; a command in the
 * background has an empty stdin by POSIX, unless it is told another. */
static int spawn_detached(const char *command, int fd, struct err *err)
{
	_autofree_ char *script = str_printf("exec 3<&0; (%s\n) <&3 3<&- &", command);
	const char *argv[] = {"/bin/sh", "-c", script, NULL};
	int status, ret;
	pid_t pid;

	ret = spawn(&pid, argv, fd, fd, fd);
	if (ret)
		return err_errno(err, ret, "%s", argv[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return 0;
}

struct stream *process_stream(struct loop *loop, const char *command, struct err *err)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		err_errno(err, errno, "socketpair");
		return NULL;
	}
	if (spawn_detached(command, ends[1], err) < 0) {
		close(ends[0]);
		close(ends[1]);
		return NULL;
	}
	close(ends[1]);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	return stream_socket(loop, ends[0]);
}

void process_output_deinit(struct process_output *output)
{
	buf_deinit(&output->out);
	buf_deinit(&output->err);
}
