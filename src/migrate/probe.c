/* Whether the two ports over there can be reached from here, seen before anything is copied: a
 * firewall that has the disks' port open and RAM's shut would be found after the copy of hours.
 *
 * RAM's listener itself cannot be tried: a QEMU takes migrate-incoming only once, and its first
 * connection for the migration. So the NBD server listens on each of the two ports for a moment,
 * without exports, and is asked there: on the one that it will have, and on the next free one,
 * which RAM gets if nobody takes it meanwhile. It is the same program at the same address, so what
 * stands between knows no difference.
 *
 * By hand nobody sees both sides before RAM's port is in use, and where the disks go in the stream
 * of RAM its port is tried before anything else; see connect_ram().
 */

#include "base/str.h"
#include "base/tcp.h"
#include "migrate/keys.h"
#include "migrate/nbd.h"
#include "migrate/nbd_probe.h"
#include "migrate/step_functions.h"

/* A first SYN that is lost is sent again after a second. By then it is said what is waited for. */
#define SYN_MS 3000
#define TELL_MS 900

#define PORTS 2

struct trial {
	struct migration *m;
	const char *use;
	int port;
	bool told;      /* that it does not answer */
	struct err why; /* .text: "" when it was reached */
};

static void tell_silence(void *arg)
{
	struct trial *trial = arg;

	if (!trial->told)
		migration_note(trial->m,
			       "%s: port %d (%s) does not answer yet; a firewall may swallow it",
			       trial->m->dst.name, trial->port, trial->use);
	trial->told = true;
}

/* A server that is stopped with a client in its handshake may die of it (5.2): whoever is connected
 * has all the time of an answer to come to an end. */
static void knock(struct migration *m, struct trial *trial, int64_t timeout_ms)
{
	int64_t connect_ms = m->opt->timeouts.connect_ms;
	struct loop_timer *tell = loop_timer_add(m->loop, TELL_MS, tell_silence, trial);
	int fd = tcp_connect(m->loop, m->listening.address, trial->port,
			     connect_ms < SYN_MS ? connect_ms : SYN_MS, &trial->why);

	loop_timer_del(tell);
	if (fd >= 0 && nbd_probe_connected(m->loop, fd, timeout_ms, &trial->why) == 0)
		trial->why = (struct err){0};
}

static int try_port(struct migration *m, struct trial *trial, int64_t timeout_ms, struct err *err)
{
	if (start_serving(m, trial->port, m->opt->port_high, &trial->port, err) < 0)
		return -1;
	knock(m, trial, timeout_ms);
	return step_unserve(m, timeout_ms, err);
}

static int one_port_only(const struct migration *m, const struct trial *trial, struct err *err)
{
	return err_set(err, ERR_FAILED,
		       "%s: of the ports from %d to %d only %d is free there, and disks and RAM "
		       "need one each; name others with --ports LOW-HIGH",
		       m->dst.name, m->opt->port_low, m->opt->port_high, trial->port);
}

/* All that could not be reached, by number. */
static int judge(const struct migration *m, const struct trial *trials, struct err *err)
{
	_cleanup_buf_ struct buf ports = {0};
	const struct err *why = NULL;
	bool both = trials[0].why.text[0] && trials[1].why.text[0];

	for (size_t i = 0; i < PORTS; i++) {
		if (!trials[i].why.text[0])
			continue;
		why = &trials[i].why;
		buf_printf(&ports, "%s%d (%s)", ports.len ? " and " : "", trials[i].port,
			   trials[i].use);
	}
	if (!why)
		return 0;
	*err = *why;
	return err_wrap(err,
			"%s: its port%s %s cannot be reached from here; open %s in the firewall, "
			"or name others with --ports, --data-address",
			m->dst.name, both ? "s" : "", ports.data, both ? "them" : "it");
}

int step_probe(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct trial trials[PORTS] = {{.m = m, .use = "disks", .port = m->opt->port_low},
				      {.m = m, .use = "RAM"}};

	if (try_port(m, &trials[0], timeout_ms, err) < 0)
		return -1;
	trials[1].port = trials[0].port + 1;
	if (try_port(m, &trials[1], timeout_ms, err) < 0)
		return trials[1].port ? -1 : one_port_only(m, &trials[0], err);
	return judge(m, trials, err);
}
