/* Which way the disks go over: mirrors to NBD exports if both sides can, else the old way, in
 * the migration's own stream (`migrate` with blk or inc), if both can that.
 *
 * QEMU itself notices late what stands against the old way: a -blockdev disk ends the
 * destination with "unknown block device" after part of the copy, and a destination without
 * block migration with "Unknown savevm section 'block'" (seen on 7.2 and 10.0). And it copies
 * every writable drive that it finds, asked for or not. So all of that is looked at here.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/look.h"

/* The mirror that is possible and wanted, in the source's QEMU; else why it is not. */
static const char *why_no_mirror(const struct migration *m)
{
	const struct qmp_caps *caps = &m->src.caps;
	bool blockdev = qmp_can(caps, QMP_BLOCKDEV_MIRROR) && qmp_can(caps, QMP_BLOCKDEV_ADD);

	if (m->opt->mirror == MIRROR_BLOCKDEV && !blockdev)
		return "source: this QEMU has no blockdev-mirror; leave --mirror=blockdev out";
	if (m->opt->mirror == MIRROR_DRIVE && !qmp_can(caps, QMP_DRIVE_MIRROR))
		return "source: this QEMU has no drive-mirror; leave --mirror=drive out";
	if (!blockdev && !qmp_can(caps, QMP_DRIVE_MIRROR))
		return "source: this QEMU has neither blockdev-mirror nor drive-mirror";
	if (!qmp_can(caps, QMP_MIG_EVENTS))
		return "source: this QEMU has no events of a migration (they came with 2.4)";
	return NULL;
}

/* Before 2.11. */
bool stops_first(const struct migration *m)
{
	return m->disks.count && !m->in_stream && !can_pause(m);
}

bool can_pause(const struct migration *m)
{
	return qmp_can(&m->src.caps, QMP_MIG_PAUSE) && qmp_can(&m->src.caps, QMP_MIGRATE_CONTINUE);
}

static const char *why_no_exports(const struct migration *m)
{
	const struct qmp_caps *caps = &m->dst.caps;

	if (qmp_can(caps, QMP_NBD_SERVER_START) && qmp_can(caps, QMP_NBD_SERVER_STOP) &&
	    (qmp_can(caps, QMP_BLOCK_EXPORT_ADD) || qmp_can(caps, QMP_NBD_SERVER_ADD)))
		return NULL;
	return "its QEMU has no NBD server";
}

/* Why the disks cannot go by mirrors; NULL when they can. Caller frees. */
static char *why_no_nbd(const struct migration *m)
{
	const char *why;

	if (m->opt->mirror == MIRROR_NONE)
		return str_dup("--mirror=none asks for it");
	if (m->src.qmp && (why = why_no_mirror(m)))
		return str_dup(why);
	if (m->dst.qmp && (why = why_no_exports(m)))
		return str_printf("%s: %s", m->dst.name, why);
	return m->cookie && m->cookie->method == COOKIE_BLOCK
		       ? str_printf("the %s cannot, or will not, by its cookie",
				    m->src.qmp ? "destination" : "source")
		       : NULL;
}

static bool moves(const struct migration *m, const struct qmp_drive *drive)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].src == drive)
			return true;
	return false;
}

static const char *no_block_migration = "has no block migration (it is gone since QEMU 9.1)";

/* A drive that stands against the old way, or NULL. */
static char *why_no_stream_of(const struct migration *m, const struct qmp_drive *drive)
{
	const char *name = qmp_drive_name(drive);

	if (!drive->inserted || drive->read_only)
		return NULL;
	if (!moves(m, drive))
		return str_printf("QEMU would copy %s, too, which is not to be moved", name);
	if (!drive->device)
		return str_printf("disk %s is a -blockdev, and only a -drive can go that way",
				  name);
	return NULL;
}

/* Why they cannot go in the stream; NULL when they can. Caller frees. */
static char *why_no_stream(const struct migration *m)
{
	char *why = NULL;

	if (m->src.qmp && !qmp_can(&m->src.caps, QMP_MIG_BLOCK))
		return str_printf("the source's QEMU %s", no_block_migration);
	if (m->dst.qmp && !qmp_can(&m->dst.caps, QMP_MIG_BLOCK))
		return str_printf("the QEMU on %s %s", m->dst.name, no_block_migration);
	if (m->cookie && m->cookie->phase == COOKIE_BEGIN && !m->cookie->stream)
		return str_dup("the source cannot, by its cookie");
	for (size_t i = 0; !why && i < m->src.drives.count; i++)
		why = why_no_stream_of(m, &m->src.drives.list[i]);
	for (size_t i = 0; !why && i < m->disks.count; i++)
		if (m->disks.list[i].dst_node && !m->disks.list[i].dst_by_device)
			why = str_printf("disk %s has another name on %s", m->disks.list[i].name,
					 m->dst.name);
	return why;
}

bool can_stream(const struct migration *m)
{
	_autofree_ char *why = why_no_stream(m);

	return !why;
}

void choose_method(struct migration *m)
{
	_autofree_ char *no_nbd = m->disks.count ? why_no_nbd(m) : NULL;
	_autofree_ char *no_stream = no_nbd ? why_no_stream(m) : NULL;

	bool only_mirrors = m->opt->mirror == MIRROR_BLOCKDEV || m->opt->mirror == MIRROR_DRIVE;

	m->in_stream = no_nbd && !no_stream && !only_mirrors;
	free(m->method_why);
	m->method_why = m->in_stream ? str_dup(no_nbd) : NULL;
	if (no_nbd && only_mirrors)
		problems_add(&m->problems, "%s", no_nbd);
	else if (no_stream && m->opt->mirror == MIRROR_NONE)
		problems_add(&m->problems, "--mirror=none: the disks cannot go the old way: %s",
			     no_stream);
	else if (no_stream)
		problems_add(&m->problems,
			     "%s; nor can the disks go the old way (`migrate` blk): %s", no_nbd,
			     no_stream);
}
