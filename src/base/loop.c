#include "base/loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

struct loop_fd {
	struct loop *loop;
	struct loop_fd *next;
	int fd;
	short events;
	bool dead; /* deleted; freed once no round of callbacks is under way */
	void (*ready)(void *arg, short revents);
	void *arg;
};

struct loop {
	struct loop_fd *fds;
	int signal_fd;
	int signal;
	int shield;
	int depth; /* rounds of callbacks under way */
};

static void on_signal(void *arg, short revents)
{
	struct loop *loop = arg;
	struct signalfd_siginfo info;

	(void)revents;
	if (read(loop->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		loop->signal = (int)info.ssi_signo;
}

struct loop *loop_new(struct err *err)
{
	struct loop *loop = mem_zalloc(1, sizeof(*loop));
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	loop->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (loop->signal_fd < 0) {
		err_errno(err, errno, "signalfd");
		free(loop);
		return NULL;
	}
	loop_fd_add(loop, loop->signal_fd, POLLIN, on_signal, loop);
	return loop;
}

static void free_dead(struct loop *loop, bool all)
{
	struct loop_fd **p = &loop->fds;

	while (*p) {
		struct loop_fd *w = *p;

		if (w->dead || all) {
			*p = w->next;
			free(w);
		} else {
			p = &w->next;
		}
	}
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	free_dead(loop, true);
	close(loop->signal_fd);
	free(loop);
}

struct loop_timer {
	int fd;
	struct loop_fd *watch;
	void (*tick)(void *arg);
	void *arg;
};

static void on_timer(void *arg, short revents)
{
	struct loop_timer *timer = arg;
	uint64_t count;

	(void)revents;
	if (read(timer->fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
		timer->tick(timer->arg);
}

struct loop_timer *loop_timer_add(struct loop *loop, int interval_ms, void (*tick)(void *arg),
				  void *arg)
{
	struct loop_timer *timer = mem_zalloc(1, sizeof(*timer));
	struct timespec every = {.tv_sec = interval_ms / 1000,
				 .tv_nsec = interval_ms % 1000 * 1000000L};
	struct itimerspec spec = {.it_interval = every, .it_value = every};

	timer->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	timer->tick = tick;
	timer->arg = arg;
	timerfd_settime(timer->fd, 0, &spec, NULL);
	timer->watch = loop_fd_add(loop, timer->fd, POLLIN, on_timer, timer);
	return timer;
}

void loop_timer_del(struct loop_timer *timer)
{
	if (!timer)
		return;
	loop_fd_del(timer->watch);
	close(timer->fd);
	free(timer);
}

int64_t loop_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct loop_fd *loop_fd_add(struct loop *loop, int fd, short events,
			    void (*ready)(void *arg, short revents), void *arg)
{
	struct loop_fd *w = mem_zalloc(1, sizeof(*w));

	w->loop = loop;
	w->fd = fd;
	w->events = events;
	w->ready = ready;
	w->arg = arg;
	w->next = loop->fds;
	loop->fds = w;
	return w;
}

void loop_fd_events(struct loop_fd *watch, short events)
{
	watch->events = events;
}

void loop_fd_del(struct loop_fd *watch)
{
	if (!watch)
		return;
	watch->dead = true;
	if (!watch->loop->depth)
		free_dead(watch->loop, false);
}

/* One poll(2) of all descriptors, then their callbacks. A callback may add and
 * delete watches; what it adds is not called in this round. */
static void round_of_callbacks(struct loop *loop, int timeout_ms)
{
	struct pollfd *pfds;
	struct loop_fd **watches;
	nfds_t n = 0, i = 0;

	for (struct loop_fd *w = loop->fds; w; w = w->next)
		n++;
	pfds = mem_zalloc(n, sizeof(*pfds));
	watches = mem_zalloc(n, sizeof(struct loop_fd *));
	for (struct loop_fd *w = loop->fds; w; w = w->next, i++) {
		pfds[i] = (struct pollfd){.fd = w->dead ? -1 : w->fd, .events = w->events};
		watches[i] = w;
	}
	loop->depth++;
	if (poll(pfds, n, timeout_ms) > 0)
		for (i = 0; i < n; i++)
			if (pfds[i].revents && !watches[i]->dead)
				watches[i]->ready(watches[i]->arg, pfds[i].revents);
	loop->depth--;
	if (!loop->depth)
		free_dead(loop, false);
	free(pfds);
	free(watches);
}

enum loop_result loop_wait(struct loop *loop, bool (*done)(void *arg), void *arg, int64_t until_ms)
{
	while (!done(arg)) {
		int64_t left_ms = until_ms - loop_now_ms();

		if (loop->signal && !loop->shield)
			return LOOP_INTERRUPTED;
		if (left_ms <= 0)
			return LOOP_TIMEOUT;
		round_of_callbacks(loop, left_ms > 60000 ? 60000 : (int)left_ms);
	}
	return LOOP_DONE;
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

bool loop_rest(struct loop *loop, int64_t ms)
{
	return loop_wait(loop, never, NULL, loop_now_ms() + ms) == LOOP_TIMEOUT;
}

/* A callback may take in only a part: behind the last data of a connection is its end. */
#define POLL_ROUNDS 3

void loop_poll(struct loop *loop)
{
	for (int i = 0; i < POLL_ROUNDS; i++)
		round_of_callbacks(loop, 0);
}

int loop_await(struct loop *loop, const char *what, int64_t timeout_ms, bool (*done)(void *arg),
	       void *arg, struct err *err)
{
	switch (loop_wait(loop, done, arg, loop_now_ms() + timeout_ms)) {
	case LOOP_DONE:
		return 0;
	case LOOP_INTERRUPTED:
		return err_set(err, ERR_INTERRUPTED, "interrupted while waiting for %s", what);
	default:
		return err_set(err, ERR_TIMEOUT, "timed out after %.3g s waiting for %s",
			       (double)timeout_ms / 1000, what);
	}
}

void loop_shield(struct loop *loop, bool on)
{
	loop->shield += on ? 1 : -1;
}

int loop_signal(const struct loop *loop)
{
	return loop->signal;
}
