/* The data path of the disks: the NBD server and exports on the destination, the nodes
 * that reach them in the source's QEMU. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/tcp.h"
#include "migrate/keys.h"
#include "migrate/link.h"
#include "migrate/nbd.h"
#include "migrate/nbd_probe.h"
#include "migrate/retry.h"
#include "migrate/step_functions.h"
#include "migrate/tunnel.h"

#define PORT_RETRY_MS 1000

/* QEMU has no class for it: the text is bind(2)'s or listen(2)'s own. */
static bool port_in_use(const struct err *err)
{
	return err->kind == ERR_QMP && strstr(err->text, "Address already in use");
}

static int no_port(struct migration *m, struct err *err)
{
	return err_set(err, ERR_FAILED,
		       "%s: no port from %d to %d is free there; name others with --ports LOW-HIGH",
		       m->dst.name, m->opt->port_low, m->opt->port_high);
}

static int port_taken(struct migration *m, int port, struct err *err)
{
	return err_set(err, ERR_FAILED,
		       "%s: port %d, at which the mirrors look for its QEMU, was taken by another "
		       "program before it was started again; begin again",
		       m->dst.name, port);
}

bool server_was_there(struct migration *m, struct err *err)
{
	if (err->kind != ERR_QMP || !strstr(err->text, "NBD server already running"))
		return false;
	err_set(err, ERR_FAILED,
		"%s: the QEMU of %s has an NBD server already, left over or of another "
		"migration; end it (nbd-server-stop)",
		m->dst.name, m->opt->dst.socket);
	return true;
}

int start_serving(struct migration *m, int low, int high, int *port, struct err *err)
{
	for (*port = low; *port <= high; ++*port) {
		m->nbd_started = true; /* also when its answer is lost */
		if (qmp_nbd_start(m->dst.qmp, m->listening.address, *port, keys_object(m), err) ==
		    0)
			return 0;
		if (err->kind == ERR_QMP)
			m->nbd_started = false; /* one that runs already is not ours */
		if (server_was_there(m, err) || !port_in_use(err))
			return -1;
	}
	*port = 0;
	return m->retried ? port_taken(m, low, err) : no_port(m, err);
}

/* One that was started again is looked for where it was. */
int step_serve(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int low = m->retried ? m->listening.nbd_port : m->opt->port_low;
	int high = m->retried ? low : m->opt->port_high;
	int port;

	if (tunnel_is_used(m))
		return tunnel_serve(m, timeout_ms, err);
	if (start_serving(m, low, high, &port, err) < 0)
		return -1;
	m->listening.nbd_port = port;
	return 0;
}

/* QEMU's own error says that no server is running, which is as good. */
static int stop_serving(struct migration *m, struct err *err)
{
	if (qmp_finish(qmp_nbd_stop_send(m->dst.qmp), err) < 0 && err->kind != ERR_QMP)
		return -1;
	return 0;
}

int undo_serve(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	if (!m->nbd_started)
		return 0;
	if (undo_on_destination(m, stop_serving, err) < 0)
		return -1;
	m->nbd_started = false;
	return 0;
}

int step_unserve(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	if (stop_serving(m, err) < 0)
		return -1;
	m->nbd_started = false;
	return 0;
}

/* block_resize on a disk that waits for a migration ends QEMU with an assertion: its node
 * is inactive (7.2; bdrv_co_write_req_prepare). An export activates it, and its size is
 * fixed when it is made: so export, take back, resize (seen on 7.2, 10.0, 11.1). */
static int grow(struct migration *m, struct disk *disk, struct err *err)
{
	if (qmp_export_add(m->dst.qmp, &m->dst.caps, disk->dst_node, disk->export, err) < 0 ||
	    qmp_export_del(m->dst.qmp, disk->export, err) < 0 ||
	    qmp_node_resize(m->dst.qmp, disk->dst_node, disk->src->virtual_size, err) < 0)
		return err_wrap(err, "disk %s: grow it to the source's size", disk->name);
	disk->dst_size = disk->src->virtual_size;
	return 0;
}

int step_grow(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (disk->dst_size < disk->src->virtual_size && grow(m, disk, err) < 0)
			return -1;
	}
	return 0;
}

int step_export(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (qmp_export_add(m->dst.qmp, &m->dst.caps, disk->dst_node, disk->export, err) < 0)
			return err_wrap(err, "disk %s", disk->name);
	}
	return 0;
}

int nbd_serve_anew(struct migration *m, struct err *err)
{
	int64_t timeout_ms = m->opt->timeouts.answer_ms;

	if (!qmp_alive(m->dst.qmp))
		return err_set(err, ERR_CLOSED, "%s: the connection to its QEMU was lost",
			       m->dst.name);
	if (stop_serving(m, err) < 0 || tunnel_serve(m, timeout_ms, err) < 0)
		return -1;
	return step_export(m, timeout_ms, err);
}

/* Before 7.0 QEMU wants an IP socket of its own for NBD through TLS. */
bool source_connects(struct migration *m)
{
	return keys_object(m) && !qmp_can(&m->src.caps, QMP_QUERY_STATS);
}

void target_of(struct migration *m, const struct disk *disk, struct qmp_target *target)
{
	*target = (struct qmp_target){
		.nbd_node = disk->nbd,
		.fd_name = m->link.made_by_qemu ? NULL : disk->nbd,
		.path = m->link.path,
		.address = m->listening.address,
		.port = m->listening.nbd_port,
		.export = disk->export,
		.tls = keys_object(m),
		.tls_name = source_connects(m) ? NULL : keys_certificate_name(m),
		.limit_bytes =
			disk->dst_size > disk->src->virtual_size ? disk->src->virtual_size : 0,
	};
}

bool uses_drive_mirror(const struct migration *m)
{
	return m->opt->mirror == MIRROR_DRIVE || !qmp_can(&m->src.caps, QMP_BLOCKDEV_MIRROR) ||
	       !qmp_can(&m->src.caps, QMP_BLOCKDEV_ADD);
}

static int unreachable(const struct migration *m, struct err *err)
{
	if (err->kind == ERR_INTERRUPTED)
		return -1;
	return err_wrap(err,
			"%s: its NBD port cannot be reached from here; open it in the "
			"firewall, or name others with --ports, --data-address",
			m->dst.name);
}

int nbd_reach(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int fd;

	if (!tunnel_is_used(m))
		return nbd_probe(m->loop, m->listening.address, m->listening.nbd_port, timeout_ms,
				 err);
	fd = tunnel_connect_nbd(m, timeout_ms, err);
	return fd < 0 ? -1 : nbd_probe_connected(m->loop, fd, timeout_ms, err);
}

/* QEMU itself would wait for a port that a firewall swallows inside blockdev-add, for minutes,
 * with its monitor and maybe the guest's disks standing still. */
static int see_port(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (nbd_reach(m, timeout_ms, err) == 0)
		return 0;
	return tunnel_is_used(m) ? -1 : unreachable(m, err);
}

/* Where QEMU is not to open it itself, we do, and hand it over. */
static int connect_disk(struct migration *m, struct disk *disk, int64_t timeout_ms, struct err *err)
{
	if (tunnel_is_used(m))
		disk->nbd_fd = tunnel_connect_nbd(m, timeout_ms, err);
	else
		disk->nbd_fd = tcp_connect(m->loop, m->listening.address, m->listening.nbd_port,
					   timeout_ms, err);
	if (disk->nbd_fd < 0)
		return tunnel_is_used(m) ? -1 : unreachable(m, err);
	disk->passed_fd = true;
	return qmp_pass_fd(m->src.qmp, disk->nbd, disk->nbd_fd, err);
}

static int add_target(struct migration *m, struct disk *disk, int64_t timeout_ms, struct err *err)
{
	struct qmp_target target;

	if (!m->link.made_by_qemu && connect_disk(m, disk, timeout_ms, err) < 0)
		return -1;
	if (uses_drive_mirror(m))
		return 0;
	target_of(m, disk, &target);
	disk->has_target = true; /* also when its answer is lost */
	if (qmp_target_add(m->src.qmp, disk->target, &target, err) == 0)
		return 0;
	link_forget(m, disk);
	if (err->kind == ERR_QMP)
		disk->has_target = false; /* one of that name is not ours */
	return -1;
}

/* Without copies of its sockets we could not end a connection that QEMU has opened. */
static const char *why_it_cannot_be_made_anew(struct migration *m)
{
	if (m->hangup_kills)
		return "with a disk in an iothread, the destination's QEMU (before 9.0) would die "
		       "of that one's end";
	if (!qmp_can(&m->src.caps, QMP_REOPEN) || source_connects(m))
		return "the source's QEMU is too old";
	if (!tunnel_is_used(m) && !link_can_be_seen(m))
		return "the sockets of the source's QEMU cannot be seen: this user may not trace "
		       "it (ptrace(2)), as root could, or something stands before its monitor";
	return NULL;
}

static void will_not_return(struct migration *m, const char *why)
{
	m->link.returns = m->record.reconnects = false;
	m->link.made_by_qemu = m->link.expecting = source_connects(m);
	free(m->link.path);
	m->link.path = NULL;
	migration_note(m,
		       "a connection of the disks that is lost will not come back (--reconnect): "
		       "%s",
		       why);
}

static void choose_who_connects(struct migration *m)
{
	bool wanted = m->opt->timeouts.reconnect_ms > 0;
	const char *why = wanted ? why_it_cannot_be_made_anew(m) : NULL;
	struct err err;

	m->link.returns = m->record.reconnects = wanted && !why;
	m->link.made_by_qemu = m->link.returns || source_connects(m);
	if (m->link.returns && tunnel_is_used(m) && tunnel_let_source_in(m, &err) < 0)
		why = err.text;
	if (why)
		will_not_return(m, why);
}

/* A QEMU that does not see our directory, in a root of its own, can be given connections. */
static bool may_be_given_one(struct migration *m, const struct err *err)
{
	if (!tunnel_is_used(m) || !m->link.returns || err->kind != ERR_QMP)
		return false;
	will_not_return(m, err->text);
	return true;
}

int step_target(struct migration *m, int64_t timeout_ms, struct err *err)
{
	choose_who_connects(m);
	if (m->link.made_by_qemu && see_port(m, timeout_ms, err) < 0)
		return -1;
	link_expect(m);
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (add_target(m, disk, timeout_ms, err) < 0 &&
		    (i > 0 || !may_be_given_one(m, err) ||
		     add_target(m, disk, timeout_ms, err) < 0))
			return err_wrap(err, "disk %s", disk->name);
	}
	retry_choose(m);
	return 0;
}

static int remove_node(struct migration *m, const char *node, struct err *err)
{
	bool there;

	if (qmp_node_exists(m->src.qmp, node, &there, err) < 0)
		return -1;
	return there ? qmp_node_del(m->src.qmp, node, err) : 0;
}

/* Two names are taken in turn. What another process has left may have either: a node that is in use
 * is refused to be removed. */
static int free_name(struct migration *m, const struct disk *disk, const char **name,
		     const char **other, struct err *err)
{
	*name = disk->plug;
	*other = disk->nbd;
	if (remove_node(m, disk->plug, err) == 0)
		return 0;
	*name = disk->nbd;
	*other = disk->plug;
	return err->kind == ERR_QMP ? remove_node(m, disk->nbd, err) : -1;
}

int nbd_plug_anew(struct migration *m, struct disk *disk, bool *done, struct err *err)
{
	struct qmp_target target;
	const char *next, *old;

	*done = false;
	if (free_name(m, disk, &next, &old, err) < 0)
		return -1;
	target_of(m, disk, &target);
	target.nbd_node = next;
	target.fd_name = NULL;
	disk->has_plug = true; /* also when its answer is lost */
	if (qmp_target_replug(m->src.qmp, disk->target, &target, err) < 0)
		return err->kind == ERR_QMP ? remove_node(m, next, err) : -1;
	*done = true;
	return remove_node(m, old, err);
}

void nbd_forget_left_plugs(struct migration *m)
{
	struct err ignored;

	for (size_t i = 0; i < m->disks.count; i++) {
		remove_node(m, m->disks.list[i].plug, &ignored);
		remove_node(m, m->disks.list[i].nbd, &ignored);
	}
}

/* A link that was lost a moment ago is not known to be: it is waited for like any other. */
int nbd_await_port(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int64_t until_ms = loop_now_ms() + m->opt->timeouts.reconnect_ms;
	struct err other;

	while (nbd_reach(m, timeout_ms, err) < 0) {
		if (err->kind == ERR_INTERRUPTED)
			return -1;
		if (loop_now_ms() >= until_ms)
			return err_wrap(err, "%s: the link of the disks is lost", m->dst.name);
		if (migration_rest(m, PORT_RETRY_MS, &other) < 0 || link_mend(m, &other) < 0) {
			*err = other;
			return -1;
		}
	}
	return 0;
}

static int remove_target(struct migration *m, struct disk *disk, int64_t timeout_ms,
			 struct err *err)
{
	(void)timeout_ms;
	if (disk->passed_fd)
		qmp_drop_fd(m->src.qmp, disk->nbd);
	disk->passed_fd = false;
	if (disk->has_target && remove_node(m, disk->target, err) < 0)
		return -1;
	disk->has_target = false;
	if (disk->has_plug &&
	    (remove_node(m, disk->plug, err) < 0 || remove_node(m, disk->nbd, err) < 0))
		return -1;
	disk->has_plug = false;
	return 0;
}

/* Whether QEMU connects anew by itself, now or with its next request. */
static bool may_connect_anew(struct migration *m)
{
	return source_connects(m) || m->record.reconnects;
}

/* See stop_nbd_and_continue(). A source that connects by itself is to be gone before: it would
 * connect anew, and 5.2 over there die of it (see qmp_target), 7.2 hang (see qmp_nbd_stop_send). A
 * server that cannot be told is the matter of undo_serve(). */
static void end_server_first(struct migration *m)
{
	struct err err;

	if (!m->nbd_started || !qmp_alive(m->dst.qmp) || may_connect_anew(m))
		return;
	if (stop_serving(m, &err) == 0)
		m->nbd_started = false;
	else if (err.kind == ERR_TIMEOUT)
		drop_destination(m); /* it may be the connection that hangs */
}

int undo_target(struct migration *m, int64_t timeout_ms, struct err *err)
{
	end_server_first(m);
	link_hang_up(m);
	link_close(m);
	return undo_each_disk(m, remove_target, timeout_ms, err);
}
