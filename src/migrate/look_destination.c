#include <stdlib.h>

#include "base/str.h"
#include "migrate/look.h"
#include "migrate/nbd.h"
#include "migrate/tunnel.h"

static void look_at_state(struct migration *m)
{
	struct qmp_migration now;
	struct err err;

	if (qmp_status_query(m->dst.qmp, &m->dst.status, &err) < 0 ||
	    qmp_migration_query(m->dst.qmp, &now, &err) < 0) {
		problems_add(&m->problems, "%s", err.text);
		return;
	}
	if (m->dst.status.running)
		problems_add(&m->problems,
			     "%s: the QEMU of %s runs a guest; the destination must wait, started "
			     "with -incoming defer -S",
			     m->dst.name, m->opt->dst.socket);
	else if (!str_eq(m->dst.status.state, "inmigrate"))
		problems_add(&m->problems,
			     "%s: the QEMU of %s does not wait for a migration (it is \"%s\"); "
			     "start it with -incoming defer -S",
			     m->dst.name, m->opt->dst.socket, m->dst.status.state);
	else if (now.listening || qmp_migration_active(now.status))
		problems_add(
			&m->problems,
			"%s: the QEMU of %s listens for a migration already; it must be "
			"started with -incoming defer -S, not with an address, and can be used "
			"for one move only",
			m->dst.name, m->opt->dst.socket);
}

/* Two guests of different UUIDs are different guests; a QEMU without one has all zeroes. */
void look_at_identity(struct migration *m)
{
	static const char none[] = "00000000-0000-0000-0000-000000000000";
	struct qmp_identity dst;
	struct err err;

	if (qmp_identity_query(m->dst.qmp, &dst, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
	else if (!str_eq(m->guest.uuid, none) && !str_eq(dst.uuid, none) && m->guest.uuid[0] &&
		 !str_eq(m->guest.uuid, dst.uuid))
		problems_add(&m->problems,
			     "%s: the QEMU of %s waits for another guest: its UUID is %s, not %s",
			     m->dst.name, m->opt->dst.socket, dst.uuid, m->guest.uuid);
}

static void look_at_exports(struct migration *m)
{
	const struct qmp_caps *caps = &m->dst.caps;
	struct err err;
	size_t count;

	if (!qmp_can(caps, QMP_MIG_LATE_ACTIVATE) || !qmp_can(caps, QMP_MIGRATE_INCOMING))
		problems_add(&m->problems,
			     "%s: this QEMU has no late-block-activate (it came with 3.0)",
			     m->dst.name);
	if (qmp_export_count(m->dst.qmp, caps, &count, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
	else if (count)
		problems_add(&m->problems,
			     "%s: the QEMU of %s has %zu block export%s already, left over or of "
			     "another migration; end them (nbd-server-stop, block-export-del)",
			     m->dst.name, m->opt->dst.socket, count, count == 1 ? "" : "s");
}

/* Which devices take a disk's new size in when it is grown before the guest is there. scsi-hd keeps
 * the size that it was reset with until the guest asks for it: 7.2 answers what is behind that
 * with a CHECK CONDITION, and the guest has I/O errors. Seen well with those of this list. */
static bool device_grows(const struct disk *disk)
{
	const char *type = disk->dst ? disk->dst->type : NULL;

	return type && (str_starts(type, "virtio-blk") || str_starts(type, "ide-"));
}

/* A smaller image is grown, which needs an export that can be taken back: see grow.c. */
static void look_at_size(struct migration *m, const struct disk *disk)
{
	char a[32], b[32];

	if (!disk->dst_node || disk->dst_size >= disk->src->virtual_size || m->incremental)
		return; /* look_at_overlay() says it better */
	if (m->in_stream || !qmp_can(&m->dst.caps, QMP_BLOCK_RESIZE) ||
	    !qmp_can(&m->dst.caps, QMP_BLOCK_EXPORT_ADD))
		problems_add(&m->problems,
			     "disk %s: smaller on %s (%s) than here (%s), and its QEMU cannot "
			     "grow it; grow it with qemu-img resize",
			     disk->name, m->dst.name, str_size(a, sizeof(a), disk->dst_size),
			     str_size(b, sizeof(b), disk->src->virtual_size));
	else if (!device_grows(disk))
		problems_add(&m->problems,
			     "disk %s: smaller on %s (%s) than here (%s), and its device there "
			     "(%s) would not take the new size in; grow it with qemu-img resize "
			     "before that QEMU is started",
			     disk->name, m->dst.name, str_size(a, sizeof(a), disk->dst_size),
			     str_size(b, sizeof(b), disk->src->virtual_size),
			     disk->dst && disk->dst->type ? disk->dst->type : "unknown");
}

char *look_dst_path(struct migration *m, const struct disk *disk, const char *file)
{
	struct err err;

	if (!file || *file == '/')
		return str_dup(file);
	if (!m->dst_cwd)
		m->dst_cwd = host_listener_cwd(m->host, m->opt->dst.socket,
					       m->opt->timeouts.answer_ms, &err);
	if (!m->dst_cwd)
		problems_add(&m->problems,
			     "disk %s: the QEMU on %s names its image \"%s\", relative to a "
			     "directory that cannot be seen: %s; start it with absolute paths",
			     disk->name, m->dst.name, file, err.text);
	return m->dst_cwd ? str_printf("%s/%s", m->dst_cwd, file) : NULL;
}

static bool are_one_file(struct migration *m, const char *a, const char *b)
{
	int64_t timeout_ms = m->opt->timeouts.answer_ms;
	struct file_id ids[2];

	return host_file_id(m->host, a, &ids[0], timeout_ms, NULL) == 0 &&
	       host_file_id(m->host, b, &ids[1], timeout_ms, NULL) == 0 &&
	       ids[0].device == ids[1].device && ids[0].inode == ids[1].inode;
}

/* With --start we have looked at, and maybe made, the file that --map or --disk name: its QEMU
 * must use that one and no other. One that waited already only must if the user said so. */
static void look_at_path(struct migration *m, struct disk *disk, const struct qmp_drive *dst)
{
	_autofree_ char *path = look_dst_path(m, disk, dst->file);

	if (!path)
		return;
	if ((starts_destination(m) || disk->path_wanted) && !str_eq(disk->dst_path, path) &&
	    !are_one_file(m, disk->dst_path, path))
		problems_add(
			&m->problems,
			"disk %s: is to go to %s, but the QEMU on %s uses %s; let both name the "
			"same file (--map, --disk %s=PATH)",
			disk->name, disk->dst_path, m->dst.name, path, disk->name);
	free(disk->dst_path);
	disk->dst_path = str_take(&path);
}

/* Names that cross (-drive id of one, -device id of the other) would lead two mirrors into
 * one disk. */
static void look_for_shared(struct migration *m, const struct disk *disk)
{
	for (const struct disk *d = m->disks.list; d < disk; d++)
		if (str_eq(d->dst_node, disk->dst_node))
			problems_add(&m->problems,
				     "disks %s and %s would both go to the disk %s on %s; give "
				     "each the same -drive id, -blockdev node-name and -device id "
				     "on both sides",
				     d->name, disk->name, disk->dst_node, m->dst.name);
}

static void pair(struct migration *m, struct disk *disk)
{
	const struct qmp_drive *dst = disk_counterpart(disk->src, &m->dst.drives);

	if (!dst || !dst->inserted) {
		problems_add(&m->problems,
			     "disk %s: the QEMU on %s has no %s by that name; give both the same "
			     "-drive id, -blockdev node-name or -device id",
			     disk->name, m->dst.name, dst ? "medium in the drive" : "disk");
		return;
	}
	if (!disk->src_path && str_eq(disk->src->url, dst->url))
		problems_add(
			&m->problems,
			"disk %s: %s is the same storage on both sides; leave it out with --disk",
			disk->name, dst->url);
	if (dst->read_only)
		problems_add(&m->problems, "disk %s: read-only on %s", disk->name, m->dst.name);
	disk->dst = dst;
	disk->dst_node = str_dup(dst->node);
	look_for_shared(m, disk);
	disk->dst_size = dst->virtual_size;
	disk->dst_actual_size = dst->actual_size;
	disk->dst_by_device = str_eq(disk->src->device, dst->device);
	look_at_path(m, disk, dst);
	look_for_same_file(m, disk);
	if (m->incremental)
		look_at_overlay(m, disk);
}

/* The NBD server before 9.0 ends its QEMU when a client hangs up whose disk is in an iothread, as
 * one of a SCSI controller may be ("nbd_blockdev_client_closed: Assertion `qemu_in_main_thread()",
 * 7.2). So the server ends first, see stop_nbd_and_continue(), and no connection is made anew. But
 * drive-mirror hangs up at its own end, when the server is still needed. 5.2 knows no such
 * assertion, and no lock either. A virtio-blk's disk is not in its iothread before the guest is. */
static void look_at_iothread(struct migration *m, const struct disk *disk)
{
	const char *type = disk->dst ? disk->dst->type : NULL;
	struct err err;
	int in_iothread = type && str_starts(type, "scsi-") && !m->in_stream &&
					  !qmp_can(&m->dst.caps, QMP_BLOCK_JOB_CHANGE)
				  ? qmp_drive_in_iothread(m->dst.qmp, disk->dst, &err)
				  : 0;

	if (in_iothread < 0)
		problems_add(&m->problems, "%s", err.text);
	else if (in_iothread && m->opt->mirror == MIRROR_DRIVE)
		problems_add(&m->problems,
			     "disk %s: its controller on %s has an iothread, and that QEMU would "
			     "die of the end of a drive-mirror; leave --mirror=drive out",
			     disk->name, m->dst.name);
	else if (in_iothread && source_connects(m))
		problems_add(&m->problems,
			     "disk %s: its controller on %s has an iothread, and that QEMU would "
			     "die of the end of an encrypted connection of the source's, which is "
			     "older than 7.0; give --encrypt=none",
			     disk->name, m->dst.name);
	m->hangup_kills |= in_iothread > 0;
}

/* -1 when the QEMU could not be looked at. */
static int look_at_qemu(struct migration *m, struct err *err)
{
	if (side_open_dst(m, err) < 0 || qmp_caps_query(m->dst.qmp, &m->dst.caps, err) < 0 ||
	    qmp_drives_query(m->dst.qmp, &m->dst.drives, err) < 0)
		return -1;
	look_at_state(m);
	look_at_identity(m);
	look_at_migration_settings(m, &m->dst);
	if (m->src.qmp && look_at_machine(m))
		look_at_devices(m);
	if (m->src.qmp)
		look_at_media(m);
	look_at_exports(m);
	for (size_t i = 0; i < m->disks.count; i++)
		pair(m, &m->disks.list[i]);
	choose_method(m);
	for (size_t i = 0; i < m->disks.count; i++)
		look_at_size(m, &m->disks.list[i]);
	for (size_t i = 0; i < m->disks.count; i++)
		look_at_iothread(m, &m->disks.list[i]);
	look_at_space(m);
	if (tunnel_is_used(m))
		tunnel_look(m);
	return 0;
}

int look_at_destination(struct migration *m, struct err *err)
{
	struct err local;

	if (look_at_qemu(m, &local) == 0) {
		if (!m->retried)
			migration_tell_method(m);
		return look_at_backing(m, err);
	}
	problems_add(&m->problems, "%s%s", local.text,
		     m->dst.qmp || local.kind == ERR_TIMEOUT || starts_destination(m)
			     ? ""
			     : "; start its QEMU with -incoming defer -S, or give --start COMMAND "
			       "or --clone");
	if (local.kind == ERR_INTERRUPTED)
		*err = local;
	return local.kind == ERR_INTERRUPTED ? -1 : 0;
}
