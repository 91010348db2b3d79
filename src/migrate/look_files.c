#include <stdlib.h>

#include "base/str.h"
#include "migrate/look.h"

void look_for_same_file(struct migration *m, struct disk *disk)
{
	struct file_id src = {0}, dst = {0};
	_autofree_ char *path = NULL;
	int64_t timeout_ms = m->opt->timeouts.answer_ms;

	if (!disk->src_path || !disk->dst_path || disk->fate == DISK_CREATE)
		return;
	path = source_path(m, disk->src_path);
	if (host_file_id(m->here, path, &src, timeout_ms, NULL) < 0 ||
	    host_file_id(m->host, disk->dst_path, &dst, timeout_ms, NULL) < 0)
		return;
	if (str_eq(src.boot_id, dst.boot_id) && src.device == dst.device && src.inode == dst.inode)
		problems_add(&m->problems,
			     "disk %s: %s is the same file on both sides; move it elsewhere with "
			     "--disk %s=PATH, or leave it out with --disk if it is shared",
			     disk->name, disk->dst_path, disk->name);
}

/* Bytes that @disk will still allocate over there: what the source has allocated, since
 * holes stay holes. What we have made was counted before it was made. */
static uint64_t needed_by(const struct disk *disk)
{
	if (!disk->dst_node)
		return disk->fate == DISK_CREATE ? disk->src->actual_size : 0;
	if (disk->created || disk->dst_actual_size >= disk->src->actual_size)
		return 0;
	return disk->src->actual_size - disk->dst_actual_size;
}

/* The file system that @disk's file is or will be in; false for a block device and for
 * what cannot be found. */
static bool file_system_of(struct migration *m, const struct disk *disk, struct file_id *id)
{
	_autofree_ char *directory = str_directory(disk->dst_path);
	struct file_info info;

	return host_file_info(m->host, disk->dst_path, &info, NULL) == 0 &&
	       info.kind != FILE_BLOCK_DEVICE &&
	       host_file_id(m->host, directory, id, m->opt->timeouts.answer_ms, NULL) == 0;
}

static void compare_space(struct migration *m, const char *path, uint64_t needed)
{
	_autofree_ char *directory = str_directory(path);
	uint64_t space;
	char a[32], b[32];
	struct err err;

	if (host_free_space(m->host, directory, &space, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
	else if (space < needed)
		problems_add(&m->problems,
			     "%s: not enough free space in %s: the disks need %s, it has %s; make "
			     "room, or put them elsewhere",
			     m->dst.name, directory, str_size(a, sizeof(a), needed),
			     str_size(b, sizeof(b), space));
}

/* Sums up by file system, and compares where the first disk of each is met. */
void look_at_space(struct migration *m)
{
	struct file_id *ids = mem_zalloc(m->disks.count + 1, sizeof(*ids));
	uint64_t *needed = mem_zalloc(m->disks.count + 1, sizeof(*needed));

	for (size_t i = 0; i < m->disks.count; i++) {
		const struct disk *disk = &m->disks.list[i];
		size_t first = 0;

		if (!disk->dst_path || *disk->dst_path != '/' || !needed_by(disk) ||
		    !file_system_of(m, disk, &ids[i]))
			continue;
		while (ids[first].device != ids[i].device)
			first++;
		needed[first] += needed_by(disk);
	}
	for (size_t i = 0; i < m->disks.count; i++)
		if (needed[i])
			compare_space(m, m->disks.list[i].dst_path, needed[i]);
	free(ids);
	free(needed);
}
