/* The one place that waits.
 *
 * One thread: descriptors with their callbacks, and loop_wait(), which runs the
 * callbacks until what the caller waits for has come true, its deadline has
 * passed, or a signal asks to stop. Step bodies read top to bottom and call
 * loop_wait() - directly, or inside a QMP call or an SSH operation - so while a
 * step waits for one thing, events of all other connections are still taken in.
 *
 * Callbacks only take things in (read bytes, note an event); they never wait.
 */
#ifndef VMFERRY_BASE_LOOP_H
#define VMFERRY_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;
struct loop_fd;

/* Takes SIGINT, SIGTERM and SIGHUP for itself (signalfd) and ignores SIGPIPE. */
struct loop *loop_new(struct err *err);
void loop_free(struct loop *loop);

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t loop_now_ms(void);

/* Calls @ready(@arg, revents) when poll(2) finds one of @events on @fd. The
 * descriptor stays the caller's. After loop_fd_del the callback is not called
 * again; NULL is accepted. */
struct loop_fd *loop_fd_add(struct loop *loop, int fd, short events,
			    void (*ready)(void *arg, short revents), void *arg);
void loop_fd_events(struct loop_fd *watch, short events);
void loop_fd_del(struct loop_fd *watch);

/* Calls @tick(@arg) every @interval_ms while the loop waits. Only for what has no event
 * that could be waited for. */
struct loop_timer;
struct loop_timer *loop_timer_add(struct loop *loop, int interval_ms, void (*tick)(void *arg),
				  void *arg);
void loop_timer_del(struct loop_timer *timer); /* NULL is accepted */

enum loop_result {
	LOOP_DONE,
	LOOP_TIMEOUT,
	LOOP_INTERRUPTED,
};

/* Runs callbacks until @done(@arg) is true, which is asked first and after every
 * round of callbacks. @until_ms is a time of loop_now_ms(). A signal ends the
 * wait unless the loop is shielded. */
enum loop_result loop_wait(struct loop *loop, bool (*done)(void *arg), void *arg, int64_t until_ms);

/* Runs callbacks for so long. False: a signal has ended it. */
bool loop_rest(struct loop *loop, int64_t ms);

/* Runs the callbacks of what is there already, without waiting. */
void loop_poll(struct loop *loop);

/* As loop_wait, for those to whom all but "done" is an error: -1 with
 * "timed out after 30 s waiting for @what" (ERR_TIMEOUT) or "interrupted" . */
int loop_await(struct loop *loop, const char *what, int64_t timeout_ms, bool (*done)(void *arg),
	       void *arg, struct err *err);

/* A shielded loop notes a signal and goes on: for undo, and for what comes after
 * the point of no return. Nests: every true wants its false. */
void loop_shield(struct loop *loop, bool on);

/* The signal that was received, or 0. */
int loop_signal(const struct loop *loop);

#endif
