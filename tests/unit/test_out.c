#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "cli/out.h"
#include "unit.h"

/* An output and who reads it. */
struct ends {
	struct loop *loop;
	struct out *out;
	int fd;     /* what the output was made for */
	int reader; /* the other end */
	struct buf got;
	size_t wanted;    /* bytes, for got_all() */
	int64_t spent_ms; /* the longest call that waited, and must not */
};

static bool poll_lies; /* says that all can be written */

/* In place of the C library's, for all that is linked with this test. */
int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	struct timespec timeout = {.tv_sec = timeout_ms / 1000,
				   .tv_nsec = timeout_ms % 1000 * 1000000L};

	if (!poll_lies)
		return ppoll(fds, count, timeout_ms < 0 ? NULL : &timeout, NULL);
	for (nfds_t i = 0; i < count; i++)
		fds[i].revents = POLLOUT;
	return (int)count;
}

static void tell_lost(struct buf *line, size_t count)
{
	buf_printf(line, "lost %zu\n", count);
}

static void open_out(struct ends *e)
{
	struct err err;

	if (!e->loop)
		e->loop = loop_new(&err);
	e->out = out_new(e->loop, e->fd, tell_lost);
}

static void open_pipe(struct ends *e)
{
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	e->reader = fds[0];
	e->fd = fds[1];
}

/* A terminal that passes bytes as they are. */
static void open_terminal(struct ends *e)
{
	struct termios raw;

	ck_assert_int_eq(openpty(&e->reader, &e->fd, NULL, NULL, NULL), 0);
	tcgetattr(e->fd, &raw);
	raw.c_oflag &= ~(tcflag_t)OPOST;
	raw.c_lflag &= ~(tcflag_t)ECHO;
	tcsetattr(e->fd, TCSANOW, &raw);
}

static void open_sockets(struct ends *e)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	e->reader = fds[0];
	e->fd = fds[1];
}

static void close_ends(struct ends *e)
{
	out_free(e->out);
	loop_free(e->loop);
	close(e->fd);
	if (e->reader >= 0)
		close(e->reader);
	buf_deinit(&e->got);
}

static void took(struct ends *e, int64_t since_ms)
{
	int64_t ms = loop_now_ms() - since_ms;

	if (ms > e->spent_ms)
		e->spent_ms = ms;
}

/* How often we have waited for something; getrusage(2). Who only was not let run - the machine has
 * others - has not. */
static long times_slept(void)
{
	struct rusage usage;

	ck_assert_int_eq(getrusage(RUSAGE_THREAD, &usage), 0);
	return usage.ru_nvcsw;
}

static void add(struct ends *e, enum out_kind kind, const char *line)
{
	int64_t since_ms = loop_now_ms();
	long slept = times_slept();

	out_add(e->out, kind, line);
	if (times_slept() != slept)
		took(e, since_ms);
}

/* Adds the lines "NAME FIRST" to "NAME LAST", each of @len bytes. */
static void add_numbered(struct ends *e, enum out_kind kind, const char *name, int first, int last,
			 int len)
{
	for (int i = first; i <= last; i++) {
		_autofree_ char *head = str_printf("%s %d", name, i);
		_autofree_ char *line = str_printf("%-*s\n", len - 1, head);

		add(e, kind, line);
	}
}

static void expect_numbered(struct buf *wanted, const char *name, int first, int last, int len)
{
	for (int i = first; i <= last; i++) {
		_autofree_ char *head = str_printf("%s %d", name, i);

		buf_printf(wanted, "%-*s\n", len - 1, head);
	}
}

static void on_readable(void *arg, short revents)
{
	struct ends *e = arg;
	char data[65536];
	ssize_t n = read(e->reader, data, sizeof(data));

	(void)revents;
	if (n > 0)
		buf_add(&e->got, data, (size_t)n);
}

static bool got_all(void *arg)
{
	struct ends *e = arg;

	return e->got.len >= e->wanted;
}

/* Reads @count bytes, with the loop going on. */
static void read_bytes(struct ends *e, size_t count)
{
	struct loop_fd *watch = loop_fd_add(e->loop, e->reader, POLLIN, on_readable, e);
	enum loop_result result;

	e->wanted = count;
	result = loop_wait(e->loop, got_all, e, loop_now_ms() + 30000);
	loop_fd_del(watch);
	ck_assert_msg(result == LOOP_DONE, "%zu bytes of %zu came", e->got.len, count);
}

static void check_got(struct ends *e, const struct buf *wanted)
{
	read_bytes(e, wanted->len);
	ck_assert(out_finish(e->out, 0));
	ck_assert_uint_eq(e->got.len, wanted->len);
	ck_assert(memcmp(e->got.data, wanted->data, wanted->len) == 0);
}

/* 500 kB, far more than any of them takes, and then a reader: all is there, in order. */
static void check_reader_goes_on(struct ends *e, void (*let_go)(struct ends *e))
{
	_cleanup_buf_ struct buf wanted = {0};

	open_out(e);
	add_numbered(e, OUT_MESSAGE, "step", 1, 10, 20);
	add_numbered(e, OUT_CHATTER, "qmp", 1, 5000, 100);
	add_numbered(e, OUT_MESSAGE, "step", 11, 20, 20);
	ck_assert_int_lt(e->spent_ms, 100);
	ck_assert(!out_finish(e->out, 0));
	if (let_go)
		let_go(e);
	expect_numbered(&wanted, "step", 1, 10, 20);
	expect_numbered(&wanted, "qmp", 1, 5000, 100);
	expect_numbered(&wanted, "step", 11, 20, 20);
	check_got(e, &wanted);
	close_ends(e);
}

START_TEST(pipe_that_nobody_reads)
{
	struct ends e = {0};

	open_pipe(&e);
	check_reader_goes_on(&e, NULL);
}
END_TEST

START_TEST(socket_that_nobody_reads)
{
	struct ends e = {0};

	open_sockets(&e);
	check_reader_goes_on(&e, NULL);
}
END_TEST

START_TEST(terminal_that_nobody_reads)
{
	struct ends e = {0};

	open_terminal(&e);
	check_reader_goes_on(&e, NULL);
}
END_TEST

static void start_terminal(struct ends *e)
{
	ck_assert_int_eq(tcflow(e->fd, TCOON), 0);
}

START_TEST(terminal_that_is_stopped)
{
	struct ends e = {0};

	open_terminal(&e);
	ck_assert_int_eq(tcflow(e.fd, TCOOFF), 0);
	check_reader_goes_on(&e, start_terminal);
}
END_TEST

static void type_ctrl_q(struct ends *e)
{
	ck_assert_int_eq(write(e->reader, "\021", 1), 1);
}

/* As a user does it; the kernel takes the key in on another thread. */
START_TEST(terminal_with_ctrl_s)
{
	struct ends e = {0};
	struct pollfd ready;

	open_terminal(&e);
	ck_assert_int_eq(write(e.reader, "\023", 1), 1);
	ready = (struct pollfd){.fd = e.fd, .events = POLLOUT};
	for (int i = 0; i < 10000 && poll(&ready, 1, 0); i++)
		poll(NULL, 0, 1);
	check_reader_goes_on(&e, type_ctrl_q);
}
END_TEST

/* Another user than the owner of terminal and pipe, as after su. */
static void become_another_user(struct ends *e)
{
	_autofree_ char *path = str_printf("/proc/self/fd/%d", e->fd);

	ck_assert_int_eq(fchmod(e->fd, 0), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	prctl(PR_SET_DUMPABLE, 1); /* as after the exec of su */
	ck_assert_int_lt(open(path, O_WRONLY | O_NONBLOCK), 0);
}

START_TEST(pipe_of_another_user)
{
	struct ends e = {0};

	open_pipe(&e);
	become_another_user(&e);
	check_reader_goes_on(&e, NULL);
}
END_TEST

START_TEST(terminal_of_another_user)
{
	struct ends e = {0};

	open_terminal(&e);
	become_another_user(&e);
	check_reader_goes_on(&e, NULL);
}
END_TEST

START_TEST(stopped_terminal_of_another_user)
{
	struct ends e = {0};

	open_terminal(&e);
	become_another_user(&e);
	ck_assert_int_eq(tcflow(e.fd, TCOOFF), 0);
	check_reader_goes_on(&e, start_terminal);
}
END_TEST

/* What poll() promises may be gone when the write comes: a terminal has less room than is
 * written, another process was faster. */
START_TEST(poll_is_wrong)
{
	void (*const opens[])(struct ends *) = {open_pipe, open_terminal};

	for (size_t i = 0; i < COUNT_OF(opens); i++) {
		struct ends e = {0};

		opens[i](&e);
		become_another_user(&e);
		open_out(&e);
		add_numbered(&e, OUT_CHATTER, "qmp", 1, 1000, 100);
		poll_lies = true;
		add_numbered(&e, OUT_MESSAGE, "step", 1, 100, 20);
		poll_lies = false;
		ck_assert_int_lt(e.spent_ms, 100);
		close_ends(&e);
	}
}
END_TEST

/* Opened anew it would be another terminal's: it must be written to as it is. */
START_TEST(master_of_a_terminal)
{
	struct ends e = {0};
	int slave;

	open_terminal(&e);
	slave = e.fd;
	e.fd = e.reader;
	e.reader = slave;
	open_out(&e);
	add_numbered(&e, OUT_MESSAGE, "step", 1, 3000, 20);
	ck_assert_int_lt(e.spent_ms, 100);
	read_bytes(&e, 40);
	ck_assert(str_starts(e.got.data, "step 1 "));
	close_ends(&e);
}
END_TEST

/* Whoever shares the descriptor (the user's shell) finds its flags as they were. */
START_TEST(flags_stay)
{
	struct ends terminal = {0}, a_pipe = {0};

	open_terminal(&terminal);
	open_pipe(&a_pipe);
	open_out(&terminal);
	open_out(&a_pipe);
	add(&terminal, OUT_MESSAGE, "one\n");
	add(&a_pipe, OUT_MESSAGE, "one\n");
	ck_assert_int_eq(fcntl(terminal.fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(fcntl(a_pipe.fd, F_GETFL) & O_NONBLOCK, 0);
	close_ends(&terminal);
	close_ends(&a_pipe);
}
END_TEST

static int temporary_file(void)
{
	char path[] = "/tmp/vmferry-test-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	unlink(path);
	return fd;
}

static void check_file(int fd, const char *wanted)
{
	char data[4096];
	ssize_t n = pread(fd, data, sizeof(data) - 1, 0);

	ck_assert_int_ge(n, 0);
	data[n] = '\0';
	ck_assert_str_eq(data, wanted);
}

START_TEST(file)
{
	struct ends e = {.reader = -1};

	e.fd = temporary_file();
	open_out(&e);
	add(&e, OUT_MESSAGE, "one\n");
	check_file(e.fd, "one\n");
	add(&e, OUT_CHATTER, "two\n");
	check_file(e.fd, "one\ntwo\n");
	ck_assert(out_finish(e.out, 0));
	close_ends(&e);
}
END_TEST

START_TEST(full_disk)
{
	struct ends e = {.reader = -1};

	e.fd = open("/dev/full", O_WRONLY);
	open_out(&e);
	add_numbered(&e, OUT_MESSAGE, "step", 1, 1000, 100);
	ck_assert_int_lt(e.spent_ms, 100);
	ck_assert(!out_finish(e.out, 50));
	close_ends(&e);
}
END_TEST

START_TEST(nobody_is_there)
{
	void (*const opens[])(struct ends *) = {open_pipe, open_sockets, open_terminal};

	for (size_t i = 0; i < COUNT_OF(opens); i++) {
		struct ends e = {0};

		opens[i](&e);
		open_out(&e);
		add(&e, OUT_MESSAGE, "one\n");
		close(e.reader);
		e.reader = -1;
		add_numbered(&e, OUT_MESSAGE, "step", 1, 1000, 100);
		out_set_foot(e.out, "foot\n", 1);
		ck_assert_int_lt(e.spent_ms, 100);
		ck_assert_msg(out_finish(e.out, 60000), "way %zu", i);
		close_ends(&e);
	}
}
END_TEST

START_TEST(closed_before_it_begins)
{
	struct ends e = {.reader = -1, .fd = 700};

	open_out(&e);
	add(&e, OUT_MESSAGE, "one\n");
	ck_assert(out_finish(e.out, 60000));
	close_ends(&e);

	e = (struct ends){0};
	open_pipe(&e);
	close(e.reader);
	e.reader = -1;
	open_out(&e);
	add(&e, OUT_MESSAGE, "one\n");
	ck_assert(out_finish(e.out, 60000));
	close_ends(&e);
}
END_TEST

START_TEST(end_has_a_deadline)
{
	struct ends e = {0};
	int64_t since_ms;

	open_pipe(&e);
	open_out(&e);
	add_numbered(&e, OUT_MESSAGE, "step", 1, 2000, 100);
	since_ms = loop_now_ms();
	ck_assert(!out_finish(e.out, 300));
	ck_assert_int_ge(loop_now_ms() - since_ms, 300);
	ck_assert_int_lt(loop_now_ms() - since_ms, 3000);
	close_ends(&e);
}
END_TEST

/* No loop any more, and a reader that is slow: the end waits for it. */
START_TEST(end_waits_for_the_reader)
{
	struct ends e = {0};
	char data[1000];
	size_t total = 0;
	ssize_t n;
	pid_t writer;

	open_pipe(&e);
	writer = fork();
	if (writer == 0) {
		close(e.reader);
		e.out = out_new(NULL, e.fd, tell_lost);
		add_numbered(&e, OUT_MESSAGE, "step", 1, 5000, 100);
		_exit(out_finish(e.out, 30000) ? 0 : 1);
	}
	close(e.fd);
	while ((n = read(e.reader, data, sizeof(data))) > 0)
		total += (size_t)n;
	ck_assert_uint_eq(total, 500000);
	ck_assert_int_eq(waitpid(writer, &(int){0}, 0), writer);
	close(e.reader);
}
END_TEST

/* 24 MiB of chatter into a full pipe: 8 MiB at most are kept, no message is lost, and it is
 * said how many lines are. */
START_TEST(queue_is_bounded)
{
	enum { LEN = 1000, COUNT = 24000 };
	struct ends e = {0};
	char *text, *line, *at = NULL;
	size_t chatter = 0, messages = 0, lost = 0;

	open_pipe(&e);
	open_out(&e);
	for (int i = 1; i <= COUNT; i++) {
		add_numbered(&e, OUT_CHATTER, "qmp", i, i, LEN);
		if (i % 1000 == 0)
			add_numbered(&e, OUT_MESSAGE, "step", i / 1000, i / 1000, LEN);
	}
	add(&e, OUT_MESSAGE, "end\n");
	ck_assert_int_lt(e.spent_ms, 100);
	read_bytes(&e, OUT_QUEUE_MAX_BYTES / 2);
	while (!out_finish(e.out, 0))
		read_bytes(&e, e.got.len + 1);
	while (poll(&(struct pollfd){.fd = e.reader, .events = POLLIN}, 1, 0) > 0)
		read_bytes(&e, e.got.len + 1);
	ck_assert_uint_lt(e.got.len, OUT_QUEUE_MAX_BYTES + (200u << 10));
	text = e.got.data;
	for (; (line = strtok_r(text, "\n", &at)); text = NULL) {
		if (str_starts(line, "qmp "))
			chatter++;
		else if (str_starts(line, "step "))
			ck_assert_int_eq(atoi(line + 5), (int)++messages);
		else if (str_starts(line, "lost "))
			lost += (size_t)atoi(line + 5);
		else
			ck_assert_str_eq(line, "end");
	}
	ck_assert_uint_eq(messages, COUNT / 1000);
	ck_assert_uint_gt(lost, 0);
	ck_assert_uint_eq(chatter + lost, COUNT);
	close_ends(&e);
}
END_TEST

#define ERASE "\033[A\033[2K"

START_TEST(foot_is_rewritten)
{
	struct ends e = {.reader = -1};

	e.fd = temporary_file();
	open_out(&e);
	out_set_foot(e.out, NULL, 0);
	check_file(e.fd, "");
	out_set_foot(e.out, "a 1\nb 1\n", 2);
	check_file(e.fd, "a 1\nb 1\n");
	out_set_foot(e.out, "a 2\n", 1);
	check_file(e.fd, "a 1\nb 1\n" ERASE ERASE "a 2\n");
	add(&e, OUT_MESSAGE, "one\n");
	check_file(e.fd, "a 1\nb 1\n" ERASE ERASE "a 2\n" ERASE "one\na 2\n");
	out_set_foot(e.out, NULL, 0);
	add(&e, OUT_MESSAGE, "two\n");
	check_file(e.fd, "a 1\nb 1\n" ERASE ERASE "a 2\n" ERASE "one\na 2\n" ERASE "two\n");
	close_ends(&e);
}
END_TEST

/* Of a thousand states of the progress the terminal gets the last, once. */
START_TEST(foot_of_a_stopped_terminal)
{
	struct ends e = {0};
	const char wanted[] = "foot 0\n" ERASE "one\ntwo\nfoot 1000\n";

	open_terminal(&e);
	open_out(&e);
	out_set_foot(e.out, "foot 0\n", 1);
	ck_assert_int_eq(tcflow(e.fd, TCOOFF), 0);
	add(&e, OUT_MESSAGE, "one\n");
	for (int i = 1; i <= 1000; i++) {
		_autofree_ char *text = str_printf("foot %d\n", i);

		if (i == 500)
			add(&e, OUT_MESSAGE, "two\n");
		out_set_foot(e.out, text, 1);
	}
	start_terminal(&e);
	ck_assert(out_finish(e.out, 10000));
	/* "one" and the foot of then had been begun */
	read_bytes(&e, sizeof(wanted) - 1);
	ck_assert_has(e.got.data, "foot 0\n" ERASE "one\n");
	ck_assert_has(e.got.data, "two\nfoot 1000\n");
	ck_assert_ptr_null(strstr(e.got.data, "foot 999\n"));
	ck_assert_uint_lt(e.got.len, 100);
	close_ends(&e);
}
END_TEST

/* As a shell's `COMMAND &`. The status by which it ended. */
static int write_from_the_background(struct ends *e)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		setpgid(0, 0);
		open_out(e);
		add(e, OUT_MESSAGE, "one\n");
		_exit(out_finish(e->out, 0) ? 0 : 1);
	}
	waitpid(pid, &status, WUNTRACED);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

/* As a login shell with this terminal. */
static void be_a_session(struct ends *e)
{
	struct termios mode;

	setsid();
	if (ioctl(e->fd, TIOCSCTTY, 0) < 0)
		_exit(101);
	tcgetattr(e->fd, &mode);
	mode.c_lflag |= TOSTOP;
	tcsetattr(e->fd, TCSANOW, &mode);
	_exit(write_from_the_background(e));
}

/* `stty tostop; vmferry ... &`: the kernel would stop us with SIGTTOU. */
START_TEST(background_of_a_terminal_with_tostop)
{
	struct ends e = {0};
	pid_t session;
	int status;

	open_terminal(&e);
	session = fork();
	if (session == 0)
		be_a_session(&e);
	ck_assert_int_eq(waitpid(session, &status, 0), session);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status 0x%x", status);
	close(e.fd);
	close(e.reader);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		pipe_that_nobody_reads,
		socket_that_nobody_reads,
		terminal_that_nobody_reads,
		terminal_that_is_stopped,
		terminal_with_ctrl_s,
		pipe_of_another_user,
		terminal_of_another_user,
		stopped_terminal_of_another_user,
		poll_is_wrong,
		master_of_a_terminal,
		flags_stay,
		file,
		full_disk,
		nobody_is_there,
		closed_before_it_begins,
		end_has_a_deadline,
		end_waits_for_the_reader,
		queue_is_bounded,
		foot_is_rewritten,
		foot_of_a_stopped_terminal,
		background_of_a_terminal_with_tostop,
	};

	return unit_run("out", tests, COUNT_OF(tests));
}
