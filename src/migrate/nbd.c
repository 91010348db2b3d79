/* The data path of the disks: the NBD server and exports on the destination, the nodes
 * that reach them in the source's QEMU. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "base/tcp.h"
#include "migrate/nbd.h"
#include "migrate/step_functions.h"

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

int step_serve(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	for (int port = m->opt->port_low; port <= m->opt->port_high; port++) {
		m->nbd_started = true; /* also when its answer is lost */
		if (qmp_nbd_start(m->dst.qmp, m->listening.address, port, err) == 0) {
			m->listening.nbd_port = port;
			return 0;
		}
		if (err->kind == ERR_QMP)
			m->nbd_started = false; /* one that runs already is not ours */
		if (!port_in_use(err))
			return -1;
	}
	return no_port(m, err);
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

void target_of(const struct disk *disk, struct qmp_target *target)
{
	*target = (struct qmp_target){
		.nbd_node = disk->nbd,
		.fd_name = disk->nbd,
		.export = disk->export,
		.limit_bytes =
			disk->dst_size > disk->src->virtual_size ? disk->src->virtual_size : 0,
	};
}

bool uses_drive_mirror(const struct migration *m)
{
	return m->opt->mirror == MIRROR_DRIVE || !qmp_can(&m->src.caps, QMP_BLOCKDEV_MIRROR) ||
	       !qmp_can(&m->src.caps, QMP_BLOCKDEV_ADD);
}

/* We open the connection and hand it to QEMU: QEMU itself would wait for a port that a
 * firewall swallows inside blockdev-add, for minutes, with its monitor and maybe the guest's
 * disks standing still. */
static int connect_disk(struct migration *m, struct disk *disk, int64_t timeout_ms, struct err *err)
{
	disk->nbd_fd =
		tcp_connect(m->loop, m->listening.address, m->listening.nbd_port, timeout_ms, err);
	if (disk->nbd_fd < 0)
		return err_wrap(err,
				"%s: its NBD port cannot be reached from here; open it in the "
				"firewall, or name others with --ports, --data-address",
				m->dst.name);
	disk->passed_fd = true;
	return qmp_pass_fd(m->src.qmp, disk->nbd, disk->nbd_fd, err);
}

static int add_target(struct migration *m, struct disk *disk, int64_t timeout_ms, struct err *err)
{
	struct qmp_target target;

	if (connect_disk(m, disk, timeout_ms, err) < 0)
		return -1;
	if (uses_drive_mirror(m))
		return 0;
	target_of(disk, &target);
	disk->has_target = true; /* also when its answer is lost */
	if (qmp_target_add(m->src.qmp, disk->target, &target, err) == 0)
		return 0;
	if (err->kind == ERR_QMP)
		disk->has_target = false; /* one of that name is not ours */
	return -1;
}

/* QEMU's NBD server before 8.1 leaves Nagle's algorithm on and sends each answer by itself:
 * one waits until the one before it was acknowledged, which our kernel delays by 40 ms
 * unless somebody asks again and again not to. On 7.2 the copy takes twice as long without
 * this, the switchover pause is 44 ms instead of 14 (medians, guest writing 20 MB/s), and
 * blockdev-add stops the guest for 85 ms while it negotiates.
 * That server cannot be asked about it; block-job-change came a version later. */
#define QUICKACK_EVERY_MS 2

static void keep_answers_coming(void *arg)
{
	struct migration *m = arg;

	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].nbd_fd >= 0)
			tcp_quickack(m->disks.list[i].nbd_fd);
}

static void begin_to_keep_answers_coming(struct migration *m)
{
	if (!qmp_can(&m->dst.caps, QMP_BLOCK_JOB_CHANGE))
		m->quickack = loop_timer_add(m->loop, QUICKACK_EVERY_MS, keep_answers_coming, m);
}

/* Which connection is which disk's does not matter: all are treated alike. */
void adopt_connections(struct migration *m)
{
	int *fds = mem_zalloc(m->disks.count + 1, sizeof(*fds));
	size_t count = tcp_connections_of(m->src_pid, m->listening.address, m->listening.nbd_port,
					  fds, m->disks.count);

	for (size_t i = 0; i < count; i++)
		m->disks.list[i].nbd_fd = fds[i];
	free(fds);
	begin_to_keep_answers_coming(m);
	if (tcp_connections_of(m->src_pid, m->listening.address, m->listening.ram_port, &m->ram_fd,
			       1) == 0)
		m->ram_fd = -1;
}

int step_target(struct migration *m, int64_t timeout_ms, struct err *err)
{
	begin_to_keep_answers_coming(m);
	for (size_t i = 0; i < m->disks.count; i++)
		if (add_target(m, &m->disks.list[i], timeout_ms, err) < 0)
			return err_wrap(err, "disk %s", m->disks.list[i].name);
	return 0;
}

/* Our descriptor and QEMU's are one socket. */
void shut_down_disks(struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].nbd_fd >= 0)
			shutdown(m->disks.list[i].nbd_fd, SHUT_RDWR);
}

/* Our copy of the connection would keep it open. */
void disconnect_disks(struct migration *m)
{
	loop_timer_del(m->quickack);
	m->quickack = NULL;
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (disk->nbd_fd >= 0)
			close(disk->nbd_fd);
		disk->nbd_fd = -1;
	}
}

static int remove_target(struct migration *m, struct disk *disk, int64_t timeout_ms,
			 struct err *err)
{
	bool there;

	(void)timeout_ms;
	if (disk->passed_fd)
		qmp_drop_fd(m->src.qmp, disk->nbd);
	disk->passed_fd = false;
	if (!disk->has_target)
		return 0;
	if (qmp_node_exists(m->src.qmp, disk->target, &there, err) < 0)
		return -1;
	if (there && qmp_node_del(m->src.qmp, disk->target, err) < 0)
		return -1;
	disk->has_target = false;
	return 0;
}

/* See stop_nbd_and_continue(). A server that cannot be told is the matter of undo_serve(). */
static void end_server_first(struct migration *m)
{
	struct err err;

	if (!m->nbd_started || !qmp_alive(m->dst.qmp))
		return;
	if (stop_serving(m, &err) == 0)
		m->nbd_started = false;
	else if (err.kind == ERR_TIMEOUT)
		drop_destination(m); /* it may be the connection that hangs */
}

int undo_target(struct migration *m, int64_t timeout_ms, struct err *err)
{
	end_server_first(m);
	disconnect_disks(m);
	return undo_each_disk(m, remove_target, timeout_ms, err);
}
