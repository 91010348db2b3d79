/* --copy-extra. Each file is created exclusively, is the guard's and the undo's from then on like
 * the disks that are made, and is written by SFTP, a chunk after the other, with what the
 * source's host reads of it.
 *
 * It is copied before that QEMU is started, so what the guest writes to it later is not in it.
 * That is why only what nobody writes to is copied, with one exception: the variable store of
 * UEFI firmware. A cfi.pflash01 has all its contents in a RAM block, which is migrated like
 * other memory; and on the destination, the first time that the guest's run state changes after
 * that, QEMU writes the whole block to the image (pflash_post_load() and postload_update_cb() of
 * its hw/block/pflash_cfi01.c; read, and seen on 7.2: what the firmware wrote after the copy
 * was made was in the file over there when the guest went on). That holds for a raw image:
 * one with metadata that is copied while it changes may be torn, and is not copied.
 */
#include "migrate/extra.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "migrate/look.h"
#include "migrate/owner.h"
#include "migrate/step_functions.h"

#define CHUNK (1u << 20)
#define TELL_EVERY_MS 500

/* --- what is copied --- */

/* What the guest or its firmware reads. Keys (-object, -spice, -vnc) are secrets of this host,
 * programs and scripts belong to how a host is set up, and paths inside a -readconfig would not
 * be looked at. */
bool extras_can_copy(const struct clone_file *file)
{
	static const char *const options[] = {
		"-drive",    "-blockdev", "-cdrom",         "-hda",       "-hdb",
		"-hdc",      "-hdd",      "-fda",           "-fdb",       "-sd",
		"-mtdblock", "-pflash",   "-bios",          "-kernel",    "-initrd",
		"-shim",     "-dtb",      "-option-rom",    "-acpitable", "-smbios",
		"-fw_cfg",   "-boot",     "-machine",       "-M",         "-device",
		"-global",   "-set",      "the disk image",
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (str_eq(file->what, options[i]))
			return file->use == CLONE_FILE_READ || file->use == CLONE_FILE_WRITTEN;
	return false;
}

/* Whether it is a variable store that QEMU brings by itself. */
static bool is_store(const struct migration *m, const struct clone_file *file)
{
	for (size_t i = 0; i < m->src.drives.count; i++) {
		const struct qmp_drive *drive = &m->src.drives.list[i];
		_autofree_ char *path = disk_absolute_path(drive->file, m->src_cwd);

		if (str_eq(path, file->src_path) && str_eq(drive->type, "cfi.pflash01") &&
		    str_eq(drive->driver, "raw"))
			return true;
	}
	return false;
}

/* True when that was dealt with: two files, or a file and a disk, that would be one. */
static bool look_for_double(struct migration *m, const struct clone_file *file, bool store)
{
	for (size_t i = 0; i < m->extras.count; i++) {
		struct extra *extra = &m->extras.list[i];

		if (!str_eq(extra->file->path, file->path))
			continue;
		extra->store |= store;
		if (!str_eq(extra->file->src_path, file->src_path))
			problems_add(&m->problems,
				     "%s and %s would both be copied to %s:%s; separate them with "
				     "--map",
				     extra->file->src_path, file->src_path, m->dst.name,
				     file->path);
		return true;
	}
	for (size_t i = 0; i < m->disks.count; i++) {
		if (!str_eq(m->disks.list[i].dst_path, file->path))
			continue;
		problems_add(&m->problems,
			     "disk %s and %s would both go to %s:%s; separate them "
			     "with --map",
			     m->disks.list[i].name, file->src_path, m->dst.name, file->path);
		return true;
	}
	return false;
}

static void add(struct migration *m, const struct clone_file *file, const struct file_info *info,
		bool store)
{
	struct extras *extras = &m->extras;

	extras->list = mem_grow(extras->list, extras->count + 1, sizeof(*extras->list));
	extras->list[extras->count++] = (struct extra){.file = file,
						       .size_bytes = info->size_bytes,
						       .mode = info->mode,
						       .uid = info->uid,
						       .gid = info->gid,
						       .store = store};
}

bool extras_add(struct migration *m, const struct clone_file *file)
{
	_autofree_ char *path = source_path(m, file->src_path);
	bool store = file->use == CLONE_FILE_WRITTEN && is_store(m, file);
	struct file_info info;

	if (!m->opt->copy_extra || !extras_can_copy(file) ||
	    host_file_info(m->here, path, &info, NULL) < 0 || info.kind != FILE_REGULAR)
		return false;
	if (file->use == CLONE_FILE_WRITTEN && !store)
		problems_add(
			&m->problems,
			"%s: there is no %s, which %s needs; the guest may write to it, so "
			"--copy-extra does not copy it: make it read-only or eject it, or copy "
			"it there while the guest is paused",
			m->dst.name, file->path, file->what);
	else if (!look_for_double(m, file, store))
		add(m, file, &info, store);
	return true;
}

void extras_add_ram(struct migration *m, const struct clone_file *file)
{
	_autofree_ char *path = source_path(m, file->src_path);
	struct file_info info;

	if (look_for_double(m, file, false))
		return;
	if (host_file_info(m->here, path, &info, NULL) < 0 || info.kind != FILE_REGULAR)
		info = (struct file_info){
			.mode = 0600, .uid = FILE_OWNER_UNKNOWN, .gid = FILE_OWNER_UNKNOWN};
	info.size_bytes = 0;
	add(m, file, &info, false);
	m->extras.list[m->extras.count - 1].ram = true;
}

/* --- copying --- */

/* One file under way. */
struct copy {
	struct extra *extra;
	int fd;
	struct host_file *file;
	struct stat begun; /* the source's file, as it was opened */
	uint64_t done_bytes;
	int64_t told_ms;
};

static void tell(struct migration *m, struct copy *copy)
{
	const char *slash = strrchr(copy->extra->file->src_path, '/');
	struct progress item = {.name = slash + 1,
				.done_bytes = copy->done_bytes,
				.total_bytes = copy->extra->size_bytes};

	if (copy->done_bytes < item.total_bytes && loop_now_ms() - copy->told_ms < TELL_EVERY_MS)
		return;
	copy->told_ms = loop_now_ms();
	m->report->progress(m->report->arg, &item, 1);
}

/* Between two chunks: a signal, the end of a QEMU. */
static int look_round(struct migration *m, struct err *err)
{
	loop_poll(m->loop);
	if (loop_signal(m->loop))
		return err_set(err, ERR_INTERRUPTED, "interrupted");
	return migration_check_alive(m, err);
}

/* A variable store may be written to; its size may not change. */
static int check_unchanged(const struct copy *copy, struct err *err)
{
	struct stat now;

	if (fstat(copy->fd, &now) < 0)
		return err_errno(err, errno, "%s", copy->extra->file->src_path);
	if (copy->done_bytes != copy->extra->size_bytes ||
	    (uint64_t)now.st_size != copy->extra->size_bytes ||
	    (!copy->extra->store && (now.st_mtim.tv_sec != copy->begun.st_mtim.tv_sec ||
				     now.st_mtim.tv_nsec != copy->begun.st_mtim.tv_nsec)))
		return err_set(err, ERR_FAILED, "%s was changed while it was copied",
			       copy->extra->file->src_path);
	return 0;
}

static int copy_contents(struct migration *m, struct copy *copy, struct err *err)
{
	_autofree_ char *chunk = mem_zalloc(1, CHUNK);
	ssize_t n;

	while ((n = read(copy->fd, chunk, CHUNK)) > 0) {
		if (look_round(m, err) < 0 ||
		    host_file_write(m->host, copy->file, chunk, (size_t)n, err) < 0)
			return -1;
		copy->done_bytes += (uint64_t)n;
		tell(m, copy);
	}
	if (n < 0)
		return err_errno(err, errno, "read %s", copy->extra->file->src_path);
	return check_unchanged(copy, err);
}

/* Creates it: from then on it is the guard's and the undo's to remove. */
static int open_new(struct migration *m, struct copy *copy, struct err *err)
{
	struct extra *extra = copy->extra;
	size_t index = 2 * m->disks.count + (size_t)(extra - m->extras.list); /* step_guard() */

	copy->file = host_file_open_new(m->host, extra->file->path, extra->mode, err);
	if (!copy->file) {
		extra->maybe_made = err->kind == ERR_CLOSED || err->kind == ERR_TIMEOUT;
		return -1;
	}
	extra->made_path = str_dup(extra->file->path);
	if (guard_made(m->guard, index, err) < 0)
		return -1;
	return file_identity(m, extra->made_path, &extra->made_inode, &extra->made_birth, err);
}

static int copy_extra(struct migration *m, struct extra *extra, struct err *err)
{
	_autofree_ char *path = source_path(m, extra->file->src_path);
	struct copy copy = {.extra = extra, .fd = open(path, O_RDONLY | O_CLOEXEC)};
	int ret = 0;

	if (copy.fd < 0 || fstat(copy.fd, &copy.begun) < 0)
		ret = err_errno(err, errno, "%s", extra->file->src_path);
	if (ret == 0)
		ret = open_new(m, &copy, err);
	if (ret == 0)
		ret = copy_contents(m, &copy, err);
	if (ret == 0)
		ret = owner_give(m, copy.file, extra->uid, extra->gid, err);
	if (copy.file && host_file_finish(m->host, copy.file, ret < 0 ? NULL : err) < 0)
		ret = -1;
	if (copy.fd >= 0)
		close(copy.fd);
	return ret;
}

/* QEMU takes an empty file as if it had made it, and never removes one (qemu_ram_alloc_from_file();
 * seen on 5.2 to 11.1). This one is known by its inode before that, so it can be taken back. */
static int make_ram(struct migration *m, struct extra *extra, struct err *err)
{
	struct copy copy = {.extra = extra};
	int ret = open_new(m, &copy, err);

	if (ret == 0)
		ret = owner_give(m, copy.file, extra->uid, extra->gid, err);
	if (copy.file && host_file_finish(m->host, copy.file, ret < 0 ? NULL : err) < 0)
		ret = -1;
	return ret;
}

int step_extra(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	for (size_t i = 0; i < m->extras.count; i++) {
		struct extra *extra = &m->extras.list[i];

		if ((extra->ram ? make_ram(m, extra, err) : copy_extra(m, extra, err)) < 0)
			return -1;
	}
	return 0;
}

/* --- afterwards --- */

void extras_tell_stores(struct migration *m)
{
	for (size_t i = 0; i < m->src.drives.count; i++) {
		const struct qmp_drive *drive = &m->src.drives.list[i];

		if (drive->inserted && !drive->read_only && str_eq(drive->type, "cfi.pflash01"))
			migration_note(m,
				       "%s: its contents are written to the file on %s when the "
				       "guest goes on: do not end its QEMU before that",
				       qmp_drive_name(drive), m->dst.name);
	}
}

void extras_deinit(struct extras *extras)
{
	for (size_t i = 0; i < extras->count; i++)
		free(extras->list[i].made_path);
	free(extras->list);
	*extras = (struct extras){0};
}
