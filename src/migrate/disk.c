#include "migrate/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

/* Why @drive is no disk to move by itself, or NULL. */
static const char *unsuitable(const struct qmp_drive *drive)
{
	static const struct {
		const char *type_part, *why;
	} types[] = {
		{"floppy", "a floppy"},
		{"-cd", "a CD-ROM"},
		{"pflash", "firmware (pflash)"},
	};

	if (!drive->qdev)
		return "no device of the guest uses it";
	for (size_t i = 0; drive->type && i < sizeof(types) / sizeof(types[0]); i++)
		if (strstr(drive->type, types[i].type_part))
			return types[i].why;
	if (!drive->inserted)
		return "no medium is inserted";
	return drive->read_only ? "read-only" : NULL;
}

char *disks_list(const struct qmp_drives *drives)
{
	struct buf b = {0};

	for (size_t i = 0; i < drives->count; i++) {
		const char *why = unsuitable(&drives->list[i]);

		buf_printf(&b, "%s%s", i ? ", " : "", qmp_drive_name(&drives->list[i]));
		if (why)
			buf_printf(&b, " (%s)", why);
	}
	if (!drives->count)
		buf_printf(&b, "none");
	return b.data;
}

/* Without the slashes at its end: "/" is the empty prefix of every absolute path. */
static size_t prefix_len(const char *s, size_t len)
{
	while (len && s[len - 1] == '/')
		len--;
	return len;
}

char *disk_map_path(const char *path, const char *const *maps, bool *mapped)
{
	const char *best = NULL;
	size_t best_len = 0;

	for (; maps && *maps; maps++) {
		size_t eq = strcspn(*maps, "="), len = prefix_len(*maps, eq);

		if ((!best || len >= best_len) && strncmp(path, *maps, len) == 0 &&
		    (path[len] == '/' || (len && !path[len]))) {
			best = *maps + eq + 1;
			best_len = len;
		}
	}
	*mapped = best != NULL;
	return best ? str_printf("%.*s%s", (int)prefix_len(best, strlen(best)), best,
				 path + best_len)
		    : str_dup(path);
}

char *disk_absolute_path(const char *path, const char *cwd)
{
	if (!path)
		return NULL;
	return *path == '/' || !cwd ? str_dup(path) : str_printf("%s/%s", cwd, path);
}

void disks_add(struct disks *disks, const struct qmp_drive *drive, const char *path,
	       const struct options *opt, const char *cwd)
{
	struct disk *disk;
	size_t n = disks->count++;

	disks->list = mem_grow(disks->list, disks->count, sizeof(*disks->list));
	disk = &disks->list[n];
	memset(disk, 0, sizeof(*disk));
	disk->src = drive;
	disk->name = str_dup(qmp_drive_name(drive));
	disk->src_path = disk_absolute_path(drive->file, cwd);
	disk->path_wanted = path != NULL;
	if (path)
		disk->dst_path = str_dup(path);
	else if (disk->src_path)
		disk->dst_path = disk_map_path(disk->src_path, opt->maps, &disk->path_wanted);
	snprintf(disk->job, sizeof(disk->job), "vmferry-%zu", n);
	snprintf(disk->target, sizeof(disk->target), "vmferry-target-%zu", n);
	snprintf(disk->nbd, sizeof(disk->nbd), "vmferry-nbd-%zu", n);
	snprintf(disk->plug, sizeof(disk->plug), "vmferry-plug-%zu", n);
	disk->nbd_fd = -1;
}

void disks_name_exports(struct disks *disks, const char *id)
{
	for (size_t i = 0; i < disks->count; i++)
		snprintf(disks->list[i].export, sizeof(disks->list[i].export), "vmferry-%s-%zu", id,
			 i);
}

static bool chosen_already(const struct disks *disks, const struct qmp_drive *drive)
{
	for (size_t i = 0; i < disks->count; i++)
		if (disks->list[i].src == drive)
			return true;
	return false;
}

static const struct qmp_drive *find(const struct qmp_drives *drives, const char *name)
{
	for (size_t i = 0; i < drives->count; i++)
		if (qmp_drive_is(&drives->list[i], name))
			return &drives->list[i];
	return NULL;
}

/* One --disk NAME or NAME=PATH. */
static void choose_named(struct disks *disks, const struct qmp_drives *drives, const char *word,
			 const struct options *opt, const char *cwd, struct problems *problems)
{
	_autofree_ char *name = str_printf("%.*s", (int)strcspn(word, "="), word);
	const char *path = strchr(word, '=') ? strchr(word, '=') + 1 : NULL;
	const struct qmp_drive *drive = find(drives, name);
	_autofree_ char *there_is = disks_list(drives);
	const char *why = drive ? unsuitable(drive) : NULL;

	if (!drive)
		problems_add(problems, "--disk %s: the guest has no such disk; it has: %s", name,
			     there_is);
	else if (why)
		problems_add(problems, "--disk %s: cannot be moved: %s; the guest has: %s", name,
			     why, there_is);
	else if (path && *path != '/')
		problems_add(problems, "--disk %s: the path %s is not absolute", name, path);
	else if (chosen_already(disks, drive))
		problems_add(problems, "--disk %s: given twice", name);
	else
		disks_add(disks, drive, path, opt, cwd);
}

/* A drive's own --disk when there are others is "left out"; so is what cannot move. */
static void tell_left_out(const struct disks *disks, const struct qmp_drives *drives,
			  struct problems *left_out)
{
	for (size_t i = 0; i < drives->count; i++) {
		const struct qmp_drive *drive = &drives->list[i];
		const char *why = unsuitable(drive);

		if (!chosen_already(disks, drive))
			problems_add(left_out, "%s: %s", qmp_drive_name(drive),
				     why ? why : "not asked for by --disk");
	}
}

static void object_to_temporary(const struct disks *disks, struct problems *problems)
{
	for (size_t i = 0; i < disks->count; i++)
		if (disks->list[i].src->temporary)
			problems_add(problems,
				     "disk %s: opened with snapshot=on: moving it would make "
				     "writes permanent that are to be thrown away; leave it out "
				     "with --disk, or start the guest without snapshot=on",
				     disks->list[i].name);
}

/* Their commands go past QEMU's block layer, and past a mirror. */
static void object_to_passed_through(const struct disks *disks, struct problems *problems)
{
	for (size_t i = 0; i < disks->count; i++) {
		const char *type = disks->list[i].src->type;

		if (str_eq(type, "scsi-block") || str_eq(type, "scsi-generic"))
			problems_add(problems,
				     "disk %s: %s hands the guest's commands to the device, past "
				     "any mirror; leave it out with --disk if both hosts have it, "
				     "else use scsi-hd",
				     disks->list[i].name, type);
	}
}

void disks_choose(struct disks *disks, const struct qmp_drives *drives, const struct options *opt,
		  const char *cwd, struct problems *problems, struct problems *left_out)
{
	*disks = (struct disks){0};
	for (const char *const *word = opt->disks; word && *word; word++)
		choose_named(disks, drives, *word, opt, cwd, problems);
	for (size_t i = 0; !opt->disks && i < drives->count; i++)
		if (!unsuitable(&drives->list[i]))
			disks_add(disks, &drives->list[i], NULL, opt, cwd);
	tell_left_out(disks, drives, left_out);
	object_to_temporary(disks, problems);
	object_to_passed_through(disks, problems);
}

void disks_deinit(struct disks *disks)
{
	for (size_t i = 0; i < disks->count; i++) {
		if (disks->list[i].nbd_fd >= 0)
			close(disks->list[i].nbd_fd);
		free(disks->list[i].name);
		free(disks->list[i].src_path);
		free(disks->list[i].dst_path);
		free(disks->list[i].made_path);
		free(disks->list[i].dst_node);
		free(disks->list[i].dst_left);
		free(disks->list[i].storage);
		free(disks->list[i].backing);
	}
	free(disks->list);
	*disks = (struct disks){0};
}

bool disks_any_stopped(const struct disks *disks)
{
	for (size_t i = 0; i < disks->count; i++)
		if (disks->list[i].stopped)
			return true;
	return false;
}

struct disk *disks_of_job(struct disks *disks, const char *job)
{
	for (size_t i = 0; i < disks->count; i++)
		if (str_eq(disks->list[i].job, job))
			return &disks->list[i];
	return NULL;
}

const struct qmp_drive *disk_counterpart(const struct qmp_drive *src, const struct qmp_drives *dst)
{
	for (size_t i = 0; src->device && i < dst->count; i++)
		if (str_eq(src->device, dst->list[i].device))
			return &dst->list[i];
	for (size_t i = 0; src->node && src->node[0] != '#' && i < dst->count; i++)
		if (str_eq(src->node, dst->list[i].node))
			return &dst->list[i];
	for (size_t i = 0; i < dst->count; i++)
		if (str_eq(src->qdev, dst->list[i].qdev))
			return &dst->list[i];
	return NULL;
}
