#include "migrate/reopen.h"

#include "base/str.h"
#include "migrate/step_functions.h"

#define RETRY_MS 1000

static bool copies(const struct migration *m)
{
	return m->disks.count && m->disks.list[0].has_job && !m->incoming && !m->migrating &&
	       !m->retrying && !m->undone_for;
}

/* The guard of --clone ends its QEMU when the connection ends. A monitor of this host is not
 * lost by itself. */
bool reopen_may_help(const struct migration *m)
{
	return m->dst.qmp && !qmp_alive(m->dst.qmp) && qmp_alive(m->src.qmp) && m->opt->dst.host &&
	       m->opt->timeouts.reconnect_ms > 0 && !m->guard && copies(m);
}

static int no_longer(struct migration *m, const char *what, struct err *err)
{
	return err_set(err, ERR_FAILED, "%s: %s while the connection was lost: begin again",
		       m->dst.name, what);
}

static int check_host(struct migration *m, struct err *err)
{
	bool rebooted;

	if (destination_was_rebooted(m, &rebooted, err) < 0)
		return -1;
	return rebooted ? no_longer(m, "was rebooted", err) : 0;
}

static int check_qemu(struct migration *m, struct err *err)
{
	struct qmp_status status;
	size_t exports;

	if (qmp_status_query(m->dst.qmp, &status, err) < 0 ||
	    qmp_export_count(m->dst.qmp, &m->dst.caps, &exports, err) < 0)
		return -1;
	if (!str_eq(status.state, "inmigrate") ||
	    (qmp_can(&m->dst.caps, QMP_QUERY_EXPORTS) && exports != m->disks.count))
		return no_longer(m, "its QEMU was used by somebody else, or started anew,", err);
	return 0;
}

/* *@final: what went wrong will not change. A monitor that is held will be free: sshd may have it
 * for the connection that was lost. */
static int try_once(struct migration *m, bool *final, struct err *err)
{
	drop_destination(m);
	if (host_reopen(m->host, err) < 0)
		return -1;
	if (check_host(m, err) < 0) {
		*final = err->kind == ERR_FAILED;
		return -1;
	}
	if (open_or_see_it_gone(m, err) < 0) {
		*final = err->kind == ERR_REFUSED;
		return *final ? no_longer(m, "its QEMU has ended", err) : -1;
	}
	if (check_qemu(m, err) < 0) {
		*final = err->kind == ERR_FAILED;
		return -1;
	}
	return 0;
}

static bool never(struct migration *m)
{
	(void)m;
	return false;
}

/* What else ends the move ends the wait. */
static int rest(struct migration *m, struct err *err)
{
	if (side_await(&m->src, "the next try", RETRY_MS, never, err) < 0 &&
	    err->kind != ERR_TIMEOUT)
		return -1;
	return migration_check_alive(m, err);
}

int reopen_destination(struct migration *m, struct err *err)
{
	int64_t since_ms = loop_now_ms();
	struct err other;
	bool final = false;

	migration_note(m, "the connection to %s is lost; opening it again, for %.3g s at most",
		       m->dst.name, (double)m->opt->timeouts.reconnect_ms / 1000);
	while (try_once(m, &final, err) < 0) {
		if (final || err->kind == ERR_INTERRUPTED)
			return -1;
		if (loop_now_ms() - since_ms > m->opt->timeouts.reconnect_ms) {
			err->kind = ERR_CLOSED; /* no tick of whoever waits for something else */
			return err_wrap(err,
					"%s: the connection to its QEMU was lost and could not "
					"be opened again within %.3g s (--reconnect)",
					m->dst.name, (double)m->opt->timeouts.reconnect_ms / 1000);
		}
		drop_destination(m);
		if (rest(m, &other) < 0) {
			*err = other;
			return -1;
		}
	}
	migration_note(m, "the connection to %s is back after %.1f s", m->dst.name,
		       (double)(loop_now_ms() - since_ms) / 1000);
	return 0;
}
