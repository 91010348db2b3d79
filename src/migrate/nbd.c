/* The data path of the disks: the NBD server and exports on the destination, the nodes
 * that reach them in the source's QEMU. */
#include <string.h>

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
		if (qmp_nbd_start(m->dst.qmp, m->listening.address, port, err) == 0) {
			m->nbd_started = true;
			m->listening.nbd_port = port;
			return 0;
		}
		if (!port_in_use(err))
			return -1;
	}
	return no_port(m, err);
}

int undo_serve(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	if (!m->nbd_started)
		return 0;
	if (reach_destination(m, err) < 0)
		return -1;
	if (!m->dst_quit && qmp_finish(qmp_nbd_stop_send(m->dst.qmp), err) < 0 &&
	    err->kind != ERR_QMP)
		return -1; /* QEMU's own error says that it is not running */
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

void target_of(const struct migration *m, const struct disk *disk, struct qmp_target *target)
{
	*target = (struct qmp_target){
		.address = m->listening.address,
		.port = m->listening.nbd_port,
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

/* A port that a firewall swallows would hold up the source's QEMU for minutes inside
 * blockdev-add: see first that an NBD server answers there. The greeting, and the client's
 * NBD_OPT_ABORT, which ends a negotiation in good order, are those of the NBD protocol's
 * fixed newstyle negotiation. */
static int probe(struct migration *m, int64_t timeout_ms, struct err *err)
{
	static const char goodbye[] = "\0\0\0\1"         /* client flags: fixed newstyle */
				      "IHAVEOPT\0\0\0\2" /* NBD_OPT_ABORT */
				      "\0\0\0\0";        /* without data */
	char hello[18];
	struct tcp_talk talk = {.address = m->listening.address,
				.port = m->listening.nbd_port,
				.hello = hello,
				.hello_len = sizeof(hello),
				.goodbye = goodbye,
				.goodbye_len = sizeof(goodbye) - 1};

	if (tcp_talk(m->loop, &talk, timeout_ms, err) < 0)
		return err_wrap(err,
				"%s: its NBD port cannot be reached from here; open it in the "
				"firewall, or name others with --ports, --data-address",
				m->dst.name);
	if (memcmp(hello, "NBDMAGICIHAVEOPT", 16) != 0)
		return err_set(err, ERR_FAILED, "%s: port %d answers, but is no NBD server",
			       m->listening.address, m->listening.nbd_port);
	return 0;
}

int step_target(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (probe(m, timeout_ms, err) < 0)
		return -1;
	for (size_t i = 0; i < m->disks.count && !uses_drive_mirror(m); i++) {
		struct disk *disk = &m->disks.list[i];
		struct qmp_target target;

		target_of(m, disk, &target);
		disk->has_target = true;
		if (qmp_target_add(m->src.qmp, disk->target, &target, err) < 0)
			return err_wrap(err, "disk %s", disk->name);
	}
	return 0;
}

int undo_target(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];
		bool there;

		if (!disk->has_target)
			continue;
		if (qmp_node_exists(m->src.qmp, disk->target, &there, err) < 0)
			return -1;
		if (there && qmp_node_del(m->src.qmp, disk->target, err) < 0)
			return -1;
		disk->has_target = false;
	}
	return 0;
}
