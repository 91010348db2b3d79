#include <stdlib.h>

#include "base/str.h"
#include "migrate/look.h"

/* 1 when both sides are one host, by its boot id, 0 when not, -1 when that cannot be seen.
 * Asked once. */
static int same_host(struct migration *m, struct err *err)
{
	int64_t timeout_ms = m->opt->timeouts.answer_ms;
	struct file_id here, there;

	if (m->hosts_compared)
		return m->same_host;
	if (host_file_id(m->here, "/", &here, timeout_ms, err) < 0 ||
	    host_file_id(m->host, "/", &there, timeout_ms, err) < 0)
		return -1;
	m->hosts_compared = true;
	m->same_host = str_eq(here.boot_id, there.boot_id);
	return m->same_host;
}

/* 1 when both sides of @disk are one file, 0 when not, -1 when that cannot be seen. */
static int same_file(struct migration *m, const struct disk *disk, struct err *err)
{
	int64_t timeout_ms = m->opt->timeouts.answer_ms;
	_autofree_ char *path = NULL;
	struct file_id src, dst;
	int same = same_host(m, err);

	if (same != 1)
		return same;
	path = source_path(m, disk->src_path);
	if (host_file_id(m->here, path, &src, timeout_ms, err) < 0 ||
	    host_file_id(m->host, disk->dst_path, &dst, timeout_ms, err) < 0)
		return -1;
	return src.device == dst.device && src.inode == dst.inode;
}

void look_for_same_file(struct migration *m, struct disk *disk)
{
	struct err err;
	int same;

	if (!disk->src_path || !disk->dst_path || *disk->dst_path != '/' || disk->src->temporary)
		return;
	same = same_file(m, disk, &err);
	if (same < 0)
		problems_add(
			&m->problems,
			"disk %s: whether %s is the same file on both sides cannot be seen: %s",
			disk->name, disk->dst_path, err.text);
	else if (same)
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
	if (disk->made_path || disk->dst_actual_size >= disk->src->actual_size)
		return 0;
	return disk->src->actual_size - disk->dst_actual_size;
}

/* Whether @disk's file will take room of a file system; a block device does not. */
static bool takes_room(struct migration *m, const struct disk *disk)
{
	struct file_info info;

	return disk->dst_path && *disk->dst_path == '/' && needed_by(disk) &&
	       host_file_info(m->host, disk->dst_path, &info, NULL) == 0 &&
	       info.kind != FILE_BLOCK_DEVICE;
}

/* Whether two directories over there are in one file system; what cannot be seen is not. */
static bool same_file_system(struct migration *m, const char *a, const char *b)
{
	int64_t timeout_ms = m->opt->timeouts.answer_ms;
	struct file_id ids[2];

	return str_eq(a, b) || (host_file_id(m->host, a, &ids[0], timeout_ms, NULL) == 0 &&
				host_file_id(m->host, b, &ids[1], timeout_ms, NULL) == 0 &&
				ids[0].device == ids[1].device);
}

static void compare_space(struct migration *m, const char *directory, uint64_t needed)
{
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

/* Sums up by file system, under the first directory of each that is met. */
void look_at_space(struct migration *m)
{
	char **directories = mem_zalloc(m->disks.count + 1, sizeof(*directories));
	uint64_t *needed = mem_zalloc(m->disks.count + 1, sizeof(*needed));
	size_t count = 0;

	for (size_t i = 0; i < m->disks.count; i++) {
		const struct disk *disk = &m->disks.list[i];
		size_t k = 0;

		if (!takes_room(m, disk))
			continue;
		directories[count] = str_directory(disk->dst_path);
		while (!same_file_system(m, directories[k], directories[count]))
			k++;
		needed[k] += needed_by(disk);
		if (k == count)
			count++;
		else
			free(directories[count]);
	}
	for (size_t i = 0; i < count; i++) {
		compare_space(m, directories[i], needed[i]);
		free(directories[i]);
	}
	free(directories);
	free(needed);
}
