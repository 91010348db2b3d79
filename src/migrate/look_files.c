#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/look.h"

/* 1 when both sides are one host, by its boot id, 0 when not, -1 when that cannot be seen.
 * Asked once. */
static int same_host(struct migration *m, struct err *err)
{
	int64_t timeout_ms = m->opt->timeouts.answer_ms;
	const char *src_boot_id = m->cookie ? m->cookie->hostuuid : NULL;
	struct file_id here, there;

	if (m->hosts_compared)
		return m->same_host;
	if (m->cookie && !src_boot_id)
		return err_set(err, ERR_FAILED, "the cookie does not tell which host it is from");
	if ((!src_boot_id && host_file_id(m->here, "/", &here, timeout_ms, err) < 0) ||
	    host_file_id(m->host, "/", &there, timeout_ms, err) < 0)
		return -1;
	m->hosts_compared = true;
	m->same_host = str_eq(src_boot_id ? src_boot_id : here.boot_id, there.boot_id);
	return m->same_host;
}

bool look_is_same_host(struct migration *m)
{
	return same_host(m, NULL) == 1;
}

/* What is known of the storage behind a path, to be compared between two hosts. */
struct storage {
	char kind;       /* 'b' a block device, 'f' a file */
	char place[32];  /* b: "major:minor" on its host; f: type of its file system */
	char proof[256]; /* b: its world-wide id; f: "inode size". "" when it has none */
};

static int storage_parse(const char *text, struct storage *storage, struct err *err)
{
	int found;

	*storage = (struct storage){0};
	found = sscanf(text, "%c %31s %255[^\n]", &storage->kind, storage->place, storage->proof);
	return found < (storage->kind == 'f' ? 3 : 2)
		       ? err_set(err, ERR_FAILED, "what its storage is cannot be read: %s", text)
		       : 0;
}

/* A line for storage_parse(); the caller's to free. */
static char *storage_text(struct migration *m, struct host *host, const char *path, struct err *err)
{
	_autofree_ char *word = str_shell_quote(path);
	_autofree_ char *command = str_printf(
		"p=%s; if [ -b \"$p\" ]; then d=$((0x$(stat -L -c %%t \"$p\"))):$((0x$(stat -L -c "
		"%%T "
		"\"$p\"))); s=/sys/dev/block/$d; echo b $d $(cat $s/wwid $s/device/wwid $s/dm/uuid "
		"$s/../wwid 2>/dev/null | head -n 1); else echo f $(stat -L -f -c %%T \"$p\") "
		"$(stat -L "
		"-c '%%i %%s' \"$p\"); fi",
		word);
	struct process_output output = {0};
	char *text = NULL;

	if (host_command_ok(host, command, m->opt->timeouts.answer_ms, &output, err) == 0)
		text = str_printf("%.*s",
				  (int)strcspn(output.out.data ? output.out.data : "", "\n"),
				  output.out.data ? output.out.data : "");
	process_output_deinit(&output);
	return text;
}

static int storage_of(struct migration *m, struct host *host, const char *path,
		      struct storage *storage, struct err *err)
{
	_autofree_ char *text = storage_text(m, host, path, err);

	return text ? storage_parse(text, storage, err) : -1;
}

void look_at_storage(struct migration *m, struct disk *disk)
{
	_autofree_ char *path = disk->src_path ? source_path(m, disk->src_path) : NULL;

	if (path)
		disk->storage = storage_text(m, m->here, path, NULL);
}

/* By hand the source's own look at it is in its cookie. */
static int storage_of_source(struct migration *m, const struct disk *disk, const char *path,
			     struct storage *storage, struct err *err)
{
	if (disk->storage)
		return storage_parse(disk->storage, storage, err);
	if (m->cookie)
		return err_set(err, ERR_FAILED, "the cookie does not tell what its storage is");
	return storage_of(m, m->here, path, storage, err);
}

/* File systems that two hosts may have mounted at once. */
static bool is_shared_kind(const char *type)
{
	static const char *const kinds[] = {
		"nfs", "ceph", "gfs", "ocfs2", "fuse",      "cifs",    "smb",    "lustre",
		"afs", "gpfs", "9p",  "v9fs",  "glusterfs", "UNKNOWN", "beegfs", "virtiofs"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (str_starts(type, kinds[i]))
			return true;
	return false;
}

/* The first word; the size behind it grows while the guest writes. */
static bool same_inode(const char *a, const char *b)
{
	size_t len = strcspn(a, " ");

	return len && len == strcspn(b, " ") && strncmp(a, b, len) == 0;
}

/* 1, 0, or -1 as same_file(). On one host a block device is known by its number; between two
 * by its world-wide id, and one without it (DRBD, a loop device) cannot be told. */
static int same_storage(const struct storage *src, const struct storage *dst, bool one_host,
			struct err *err)
{
	if (src->kind != dst->kind)
		return 0;
	if (src->kind == 'f')
		return is_shared_kind(src->place) && str_eq(src->place, dst->place) &&
		       same_inode(src->proof, dst->proof);
	if (one_host)
		return str_eq(src->place, dst->place);
	if (!src->proof[0] || !dst->proof[0])
		return err_set(err, ERR_FAILED, "block devices without a world-wide id");
	return str_eq(src->proof, dst->proof);
}

/* As look_same_storage(), with the source's own look at @src_path. */
static int same_as(struct migration *m, const struct storage *here, const char *src_path,
		   const char *dst_path, struct err *err)
{
	int64_t timeout_ms = m->opt->timeouts.answer_ms;
	struct storage there;
	struct file_id src, dst;
	int same = same_host(m, err);

	if (same < 0 || storage_of(m, m->host, dst_path, &there, err) < 0)
		return -1;
	if (!same || here->kind == 'b')
		return same_storage(here, &there, same, err);
	if (host_file_id(m->here, src_path, &src, timeout_ms, err) < 0 ||
	    host_file_id(m->host, dst_path, &dst, timeout_ms, err) < 0)
		return -1;
	return src.device == dst.device && src.inode == dst.inode;
}

int look_same_storage(struct migration *m, const char *src, const char *dst, struct err *err)
{
	struct storage here;

	return storage_of(m, m->here, src, &here, err) < 0 ? -1 : same_as(m, &here, src, dst, err);
}

/* 1, 0, or -1 for both sides of @disk. */
static int same_file(struct migration *m, const struct disk *disk, struct err *err)
{
	_autofree_ char *path = source_path(m, disk->src_path);
	struct storage here;

	if (storage_of_source(m, disk, path, &here, err) < 0)
		return -1;
	return same_as(m, &here, path, disk->dst_path, err);
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
			"disk %s: whether %s is the same storage on both sides cannot be seen: "
			"%s; if it is shared, leave it out with --disk",
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
			     "%s: not enough free space in %s: the files need %s, it has %s; make "
			     "room, or put them elsewhere",
			     m->dst.name, directory, str_size(a, sizeof(a), needed),
			     str_size(b, sizeof(b), space));
}

/* What file systems are needed for, each known by the first directory in it that is met. */
struct rooms {
	char **directories;
	uint64_t *needed;
	size_t count;
};

static void add_room(struct migration *m, struct rooms *rooms, const char *path, uint64_t bytes)
{
	_autofree_ char *directory = str_directory(path);

	for (size_t i = 0; i < rooms->count; i++) {
		if (!same_file_system(m, rooms->directories[i], directory))
			continue;
		rooms->needed[i] += bytes;
		return;
	}
	rooms->needed[rooms->count] = bytes;
	rooms->directories[rooms->count++] = str_take(&directory);
}

void look_at_space(struct migration *m)
{
	size_t max = m->disks.count + m->extras.count + 1;
	struct rooms rooms = {.directories = mem_zalloc(max, sizeof(char *)),
			      .needed = mem_zalloc(max, sizeof(uint64_t))};

	for (size_t i = 0; i < m->disks.count; i++)
		if (takes_room(m, &m->disks.list[i]))
			add_room(m, &rooms, m->disks.list[i].dst_path,
				 needed_by(&m->disks.list[i]));
	for (size_t i = 0; i < m->extras.count; i++)
		if (!m->extras.list[i].made_path && !m->extras.list[i].ram)
			add_room(m, &rooms, m->extras.list[i].file->path,
				 m->extras.list[i].size_bytes);
	for (size_t i = 0; i < rooms.count; i++) {
		compare_space(m, rooms.directories[i], rooms.needed[i]);
		free(rooms.directories[i]);
	}
	free(rooms.directories);
	free(rooms.needed);
}
