/* The disks of a cookie: to prepare it tells what the source has; perform finds them again in the
 * source's own QEMU, which may have changed since begin. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/handover.h"

static void drive_of(const struct cookie_disk *from, struct qmp_drive *drive)
{
	*drive = (struct qmp_drive){
		.device = str_dup(from->device),
		.node = str_dup(from->node),
		.qdev = str_dup(from->qdev),
		.inserted = true,
		.driver = str_dup(from->format ? from->format : "?"),
		.file = str_dup(from->src),
		.url = str_dup(from->src ? from->src : from->name),
		.virtual_size = from->size,
		.actual_size = from->allocated,
		.cluster_size = from->cluster_size,
		.compat = str_dup(from->compat),
	};
	if (!drive->device && !drive->node && !drive->qdev)
		drive->device = str_dup(from->name); /* another tool's cookie has one name */
}

/* What the source's QEMU has is known here by the cookie alone. */
static void take_drives(struct migration *m)
{
	size_t count = m->cookie->disks_count;

	m->src.drives.list = mem_zalloc(count + 1, sizeof(*m->src.drives.list));
	m->src.drives.count = count;
	for (size_t i = 0; i < count; i++)
		drive_of(&m->cookie->disks[i], &m->src.drives.list[i]);
}

/* The PATH of --disk NAME=PATH for @drive, or NULL. */
static const char *path_for(const struct migration *m, const struct qmp_drive *drive)
{
	for (const char *const *word = m->opt->disks; word && *word; word++) {
		_autofree_ char *name = str_printf("%.*s", (int)strcspn(*word, "="), *word);

		if (qmp_drive_is(drive, name) && strchr(*word, '='))
			return strchr(*word, '=') + 1;
	}
	return NULL;
}

static bool any_drive_is(const struct migration *m, const char *name)
{
	for (size_t i = 0; i < m->src.drives.count; i++)
		if (qmp_drive_is(&m->src.drives.list[i], name))
			return true;
	return false;
}

/* Which disks move has been said in begin; prepare may only say where they go. */
static void check_words(struct migration *m)
{
	_autofree_ char *there_is = disks_list(&m->src.drives);

	for (const char *const *word = m->opt->disks; word && *word; word++) {
		_autofree_ char *name = str_printf("%.*s", (int)strcspn(*word, "="), *word);

		if (!any_drive_is(m, name))
			problems_add(&m->problems,
				     "--disk %s: the cookie has no such disk; it has: %s", name,
				     there_is);
		else if (!strchr(*word, '='))
			problems_add(&m->problems,
				     "--disk %s: which disks move was said in begin; prepare takes "
				     "NAME=PATH",
				     name);
		else if (strchr(*word, '=')[1] != '/')
			problems_add(&m->problems, "--disk %s: its path is not absolute", name);
	}
}

static void choose_prepared(struct migration *m)
{
	take_drives(m);
	check_words(m);
	for (size_t i = 0; i < m->src.drives.count; i++) {
		const struct qmp_drive *drive = &m->src.drives.list[i];
		struct disk *disk;

		disks_add(&m->disks, drive, path_for(m, drive), m->opt, NULL);
		disk = &m->disks.list[i];
		disk->mode = m->cookie->disks[i].mode & 0777; /* no set-user-ID by cookie */
		if (!disk->mode)
			disk->mode = 0600;
		disk->uid = disk->gid = FILE_OWNER_UNKNOWN; /* a cookie does not tell */
		disk->storage = str_dup(m->cookie->disks[i].storage);
		disk->backing = str_dup(m->cookie->disks[i].backing);
		disk->backing_size = m->cookie->disks[i].backing_size;
		/* Another move's cookie must not lead a mirror into this one's disks. */
		snprintf(disk->export, sizeof(disk->export), "vmferry-%s-%zu", m->id, i);
	}
}

/* The source's drive that the cookie means, NULL (said) when there is none, or another. */
static const struct qmp_drive *drive_for(struct migration *m, const struct cookie_disk *wanted)
{
	struct qmp_drive like = {
		.device = wanted->device, .node = wanted->node, .qdev = wanted->qdev};
	const struct qmp_drive *drive = disk_counterpart(&like, &m->src.drives);
	_autofree_ char *there_is = disks_list(&m->src.drives);

	if (!drive || !drive->inserted)
		problems_add(&m->problems,
			     "disk %s: the guest has no such disk any more; it has: %s; begin anew",
			     wanted->name, there_is);
	else if (drive->virtual_size != wanted->size)
		problems_add(&m->problems,
			     "disk %s: its size is not as it was in begin; begin anew",
			     wanted->name);
	else if (m->incremental &&
		 (!drive->backing_count || drive->backing[0].virtual_size != wanted->backing_size))
		problems_add(&m->problems,
			     "disk %s: its backing image is not as it was in begin; begin anew",
			     wanted->name);
	else
		return drive;
	return NULL;
}

static void take_disk(struct migration *m, const struct cookie_disk *from)
{
	const struct qmp_drive *drive = drive_for(m, from);
	struct disk *disk;

	if (!drive)
		return;
	disks_add(&m->disks, drive, from->dst, m->opt, m->src_cwd);
	disk = &m->disks.list[m->disks.count - 1];
	disk->dst_size = from->dst_size ? from->dst_size : drive->virtual_size;
	if (from->export && strlen(from->export) >= sizeof(disk->export))
		problems_add(&m->problems, "disk %s: its export's name is too long", from->name);
	else if (from->export)
		snprintf(disk->export, sizeof(disk->export), "%s", from->export);
	if (drive->file && *drive->file == '/' && from->src && !str_eq(drive->file, from->src))
		problems_add(&m->problems,
			     "disk %s: its image is %s now, and was %s in begin; begin anew",
			     from->name, drive->file, from->src);
}

void handover_choose_disks(struct migration *m)
{
	if (m->phase == PHASE_PERFORM)
		for (size_t i = 0; i < m->cookie->disks_count; i++)
			take_disk(m, &m->cookie->disks[i]);
	else
		choose_prepared(m);
	for (size_t i = 0; m->phase == PHASE_CONFIRM && !m->in_stream && i < m->disks.count; i++)
		m->disks.list[i].has_job = m->disks.list[i].has_target = m->disks.list[i].has_plug =
			true;
}
