/* A queue of lines before a descriptor that may not take them.
 *
 * O_NONBLOCK belongs to the open file description, which a terminal shares with the user's
 * shell and a pipe with whoever else writes to it, so it is not ours to set. Instead:
 *
 * - A terminal or pipe is opened anew by /proc/self/fd/N: another description of the same
 *   thing. Seen on Linux 6.18: its O_NONBLOCK leaves the old one as it was. Stopped by ^S or
 *   TCOOFF, a terminal answers write() with EAGAIN at once and poll() with nothing; with
 *   room for a few bytes it takes a part; also while another process is stuck in a blocking
 *   write() of its own, EAGAIN; hung up, EIO. A pipe without readers is still opened, then
 *   EPIPE.
 * - A socket (the journal's, sshd's without a terminal) cannot be opened so (ENXIO), but
 *   send() takes MSG_DONTWAIT.
 * - The terminal or pipe of another user (after su) gives EACCES, a container without /proc
 *   ENOENT, and the master of a pseudo-terminal would give another terminal: there poll()
 *   says whether a write is taken, and a timer ends it after WRITE_MAX_MS where poll() was
 *   wrong - a terminal with room for less, another process that was faster.
 *   (pwritev2(RWF_NOWAIT) would do, but is ENOTSUP on terminals, and on pipes before 6.4.)
 * - Files take everything; one on a network file system whose server is gone may block, and
 *   no flag helps against that.
 *
 * With `stty tostop` a write from the background stops the process, and the guest with it:
 * SIGTTOU is blocked, which makes the kernel write instead.
 *
 * What waits is tried again by a timer and not by POLLOUT: a terminal with one byte of room
 * has POLLOUT but takes no newline, and a full disk has it always.
 */
#include "cli/out.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define RETRY_MS 10
#define WRITE_MAX_MS 2      /* of one write that may block */
#define WRITE_MAX_BYTES 512 /* of it: what POLLOUT of a pipe promises (POSIX's PIPE_BUF) */
#define CHUNK_BYTES 16384   /* lines written together */
#define TURN_BYTES 262144   /* written at one go: well under a millisecond of the loop */

enum way {
	WAY_PLAIN,   /* a file; nothing that waits for a reader */
	WAY_OWN,     /* a non-blocking description of our own */
	WAY_SOCKET,  /* one flag a call */
	WAY_GUARDED, /* shared and blocking */
};

struct line {
	struct line *next;
	enum out_kind kind;
	size_t len;
	char text[];
};

struct out {
	int fd;
	enum way way;
	bool broken;         /* nobody can read it any more */
	struct line *first;  /* the oldest */
	struct line **after; /* where the next one goes */
	size_t queued_bytes;
	size_t lost; /* lines dropped since that was last said */
	struct {
		struct buf text;
		size_t count; /* its lines */
		size_t shown; /* lines of the last one written, above the cursor */
		bool changed;
	} foot;
	struct buf writing; /* begun, and to be ended before anything else */
	struct loop *loop;
	struct loop_timer *retry; /* while something waits */
	void (*tell_lost)(struct buf *line, size_t count);
};

/* --- writing without waiting --- */

static void on_alarm(int number)
{
	(void)number; /* its coming alone makes write() return */
}

static void install_alarm(void)
{
	struct sigaction action = {.sa_handler = on_alarm}; /* without SA_RESTART */
	sigset_t set;

	sigaction(SIGALRM, &action, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* The timer goes off again and again, so it cannot be too early for the write. */
static ssize_t write_guarded(int fd, const char *data, size_t len)
{
	const struct timeval step = {.tv_usec = WRITE_MAX_MS * 1000};
	const struct itimerval on = {.it_interval = step, .it_value = step}, off = {0};
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	ssize_t n;
	int errnum;

	errno = EAGAIN;
	if (poll(&ready, 1, 0) <= 0)
		return -1;
	setitimer(ITIMER_REAL, &on, NULL);
	n = write(fd, data, len < WRITE_MAX_BYTES ? len : WRITE_MAX_BYTES);
	errnum = errno;
	setitimer(ITIMER_REAL, &off, NULL);
	errno = errnum;
	return n;
}

static ssize_t write_some(const struct out *out, const char *data, size_t len)
{
	if (out->way == WAY_SOCKET)
		return send(out->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (out->way == WAY_GUARDED)
		return write_guarded(out->fd, data, len);
	return write(out->fd, data, len);
}

/* Whether what a write failed of may pass; a disk may have room again. */
static bool may_pass(int errnum)
{
	return errnum == EAGAIN || errnum == EINTR || errnum == ENOSPC || errnum == EDQUOT ||
	       errnum == ENOBUFS || errnum == ENOMEM;
}

static int reopen(int fd)
{
	_autofree_ char *path = str_printf("/proc/self/fd/%d", fd);
	int number;

	if (ioctl(fd, TIOCGPTN, &number) == 0) /* a master: this would make a new one */
		return -1;
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void find_way(struct out *out)
{
	struct stat st;
	int fd;

	if (fstat(out->fd, &st) < 0) {
		out->broken = true;
	} else if (S_ISSOCK(st.st_mode)) {
		out->way = WAY_SOCKET;
	} else if (S_ISFIFO(st.st_mode) || isatty(out->fd)) {
		fd = reopen(out->fd);
		out->way = fd < 0 ? WAY_GUARDED : WAY_OWN;
		out->fd = fd < 0 ? out->fd : fd;
	}
	if (out->way == WAY_GUARDED)
		install_alarm();
}

/* --- the queue --- */

static void append(struct out *out, enum out_kind kind, const char *text)
{
	size_t len = strlen(text);
	struct line *line = mem_zalloc(1, sizeof(*line) + len + 1);

	line->kind = kind;
	line->len = len;
	memcpy(line->text, text, len);
	*out->after = line;
	out->after = &line->next;
	out->queued_bytes += sizeof(*line) + len;
}

static void delete_line(struct out *out, struct line **place)
{
	struct line *line = *place;

	*place = line->next;
	if (out->after == &line->next)
		out->after = place;
	out->queued_bytes -= sizeof(*line) + line->len;
	free(line);
}

/* Drops the oldest chatter until the queue is no longer than it may be. */
static void bound(struct out *out)
{
	struct line **p = &out->first;

	while (*p && out->queued_bytes > OUT_QUEUE_MAX_BYTES) {
		if ((*p)->kind == OUT_CHATTER) {
			delete_line(out, p);
			out->lost++;
		} else {
			p = &(*p)->next;
		}
	}
}

static void give_up(struct out *out)
{
	out->broken = true;
	while (out->first)
		delete_line(out, &out->first);
	buf_deinit(&out->writing);
}

static bool pending(const struct out *out)
{
	return !out->broken && (out->writing.len || out->first || out->lost || out->foot.changed);
}

/* Decides what is written next, which only now must be known: the foot is rewritten once,
 * however often it has changed. False: nothing. */
static bool compose(struct out *out)
{
	struct buf *b = &out->writing;

	if (!pending(out))
		return false;
	for (; out->foot.shown; out->foot.shown--)
		buf_printf(b, "\033[A\033[2K");
	if (out->lost)
		out->tell_lost(b, out->lost);
	out->lost = 0;
	while (out->first && b->len < CHUNK_BYTES) {
		buf_add(b, out->first->text, out->first->len);
		delete_line(out, &out->first);
	}
	if (out->first) /* the foot comes below them all */
		return true;
	buf_add(b, out->foot.text.data ? out->foot.text.data : "", out->foot.text.len);
	out->foot.shown = out->foot.count;
	out->foot.changed = false;
	return b->len > 0;
}

/* Writes what is taken; how much that was. */
static size_t write_turn(struct out *out)
{
	size_t total = 0;

	while (total < TURN_BYTES && (out->writing.len || compose(out))) {
		ssize_t n = write_some(out, out->writing.data, out->writing.len);

		if (n < 0 && !may_pass(errno))
			give_up(out);
		if (n <= 0)
			break;
		buf_drop(&out->writing, (size_t)n);
		total += (size_t)n;
	}
	return total;
}

static void go_on(void *arg)
{
	struct out *out = arg;

	write_turn(out);
	if (pending(out) && out->loop && !out->retry) {
		out->retry = loop_timer_add(out->loop, RETRY_MS, go_on, out);
	} else if (!pending(out)) {
		loop_timer_del(out->retry);
		out->retry = NULL;
	}
}

struct out *out_new(struct loop *loop, int fd, void (*tell_lost)(struct buf *line, size_t count))
{
	struct out *out = mem_zalloc(1, sizeof(*out));
	sigset_t set;

	out->fd = fd;
	out->after = &out->first;
	out->loop = loop;
	out->tell_lost = tell_lost;
	find_way(out);
	sigemptyset(&set);
	sigaddset(&set, SIGTTOU);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return out;
}

void out_add(struct out *out, enum out_kind kind, const char *line)
{
	if (out->broken)
		return;
	append(out, kind, line);
	bound(out);
	go_on(out);
}

void out_set_foot(struct out *out, const char *text, size_t count)
{
	if (out->broken || (!count && !out->foot.count))
		return;
	buf_drop(&out->foot.text, out->foot.text.len);
	if (text)
		buf_add(&out->foot.text, text, strlen(text));
	out->foot.count = count;
	out->foot.changed = true;
	go_on(out);
}

bool out_finish(struct out *out, int timeout_ms)
{
	int64_t until_ms = loop_now_ms() + timeout_ms;

	while (pending(out) && loop_now_ms() < until_ms)
		if (!write_turn(out))
			poll(NULL, 0, RETRY_MS); /* the loop's timer, for the loop may be gone */
	go_on(out);
	return !pending(out);
}

void out_free(struct out *out)
{
	if (!out)
		return;
	give_up(out);
	loop_timer_del(out->retry);
	buf_deinit(&out->foot.text);
	if (out->way == WAY_OWN)
		close(out->fd);
	free(out);
}
