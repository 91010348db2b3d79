/* The destination's QEMU: started by the user's own command, ended by us when it must go. */
#include <poll.h>

#include "base/str.h"
#include "migrate/look.h"
#include "migrate/retry.h"
#include "migrate/step_functions.h"

/* No event tells that a socket has come to be. */
#define MONITOR_LOOK_MS 50

static int run_command(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct process_output output = {0};
	int ret;

	loop_shield(m->loop, true); /* a command that was sent is seen through */
	ret = host_command_ok(m->host, m->opt->start, timeout_ms, &output, err);
	loop_shield(m->loop, false);
	process_output_deinit(&output);
	m->started_dst = output.begun;
	if (ret < 0 && output.begun && (err->kind == ERR_TIMEOUT || err->kind == ERR_CLOSED))
		problems_add(&m->left_behind,
			     "%s: whether the command of --start goes on over there is not known; "
			     "see that no QEMU comes to wait on %s, or end it",
			     m->dst.name, m->opt->dst.socket);
	if (ret < 0 && output.begun && err->kind == ERR_TIMEOUT)
		return err_set(err, ERR_FAILED,
			       "%s: --start did not end within %.3g s; it has to return once QEMU "
			       "is started (as with -daemonize)",
			       m->dst.name, (double)timeout_ms / 1000);
	return ret;
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

int await_monitor(struct migration *m, int64_t until_ms, bool (*ended)(void *arg), void *arg,
		  struct err *err)
{
	bool (*done)(void *arg) = ended ? ended : never;
	struct stream *stream;

	while (!(stream = host_unix_stream(m->host, m->opt->dst.socket, err))) {
		if (err->kind == ERR_CLOSED || err->kind == ERR_INTERRUPTED || done(arg))
			return -1;
		if (loop_now_ms() >= until_ms)
			return err_wrap(err,
					"the QEMU that was started has not opened its monitor");
		if (loop_wait(m->loop, done, arg, loop_now_ms() + MONITOR_LOOK_MS) ==
		    LOOP_INTERRUPTED)
			return err_set(err, ERR_INTERRUPTED, "interrupted");
	}
	stream_close(stream);
	return 0;
}

int step_start(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int64_t until_ms = loop_now_ms() + timeout_ms;

	m->started_dst = true;
	if (run_command(m, timeout_ms, err) < 0)
		return -1;
	return await_monitor(m, until_ms, NULL, NULL, err);
}

int undo_start(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (!m->started_dst)
		return 0;
	if (end_destination(m, timeout_ms, err) < 0)
		return -1;
	m->started_dst = false;
	return 0;
}

int step_accept(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	if (look_at_destination(m, err) < 0)
		return -1;
	if (m->problems.count)
		return err_set(err, ERR_FAILED, "%s", m->problems.list[0]);
	return m->retrying ? retry_accept(m, err) : 0;
}
