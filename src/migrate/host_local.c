#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/str.h"
#include "migrate/host.h"

struct local_host {
	struct host host;
	struct loop *loop;
	int64_t answer_timeout_ms;
};

static int local_reopen(struct host *host, struct err *err)
{
	(void)host;
	(void)err;
	return 0;
}

static const char *local_address(const struct host *host)
{
	(void)host;
	return "127.0.0.1";
}

static struct stream *local_unix_stream(struct host *host, const char *path, struct err *err)
{
	struct local_host *local = (struct local_host *)host;

	return stream_unix(local->loop, path, local->answer_timeout_ms, err);
}

static enum file_kind kind_of(mode_t mode)
{
	if (S_ISREG(mode))
		return FILE_REGULAR;
	if (S_ISDIR(mode))
		return FILE_DIRECTORY;
	return S_ISBLK(mode) ? FILE_BLOCK_DEVICE : FILE_OTHER;
}

/* ENOENT is "absent" only in a directory that exists. */
static int absent_or_error(const char *path, struct file_info *info, struct err *err)
{
	_autofree_ char *directory = str_directory(path);

	if (errno != ENOENT)
		return err_errno(err, errno, "%s", path);
	if (access(directory, F_OK) < 0)
		return err_set(err, ERR_FAILED, "%s: there is no directory %s", path, directory);
	info->kind = FILE_ABSENT;
	return 0;
}

static int local_file_info(struct host *host, const char *path, struct file_info *info,
			   struct err *err)
{
	struct stat st;

	(void)host;
	*info = (struct file_info){0};
	if (stat(path, &st) < 0)
		return absent_or_error(path, info, err);
	info->kind = kind_of(st.st_mode);
	info->size_bytes = (uint64_t)st.st_size;
	info->mode = st.st_mode & 07777;
	info->uid = st.st_uid;
	info->gid = st.st_gid;
	return 0;
}

/* Not every file system knows RENAME_NOREPLACE (renameat2(2)). */
static int rename_by_link(const char *from, const char *to)
{
	if (link(from, to) < 0)
		return -1;
	if (unlink(from) < 0) {
		int why = errno;

		unlink(to);
		errno = why;
		return -1;
	}
	return 0;
}

static int local_file_rename(struct host *host, const char *from, const char *to, struct err *err)
{
	(void)host;
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if ((errno == EINVAL || errno == ENOSYS) && rename_by_link(from, to) == 0)
		return 0;
	return err_errno(err, errno, "rename %s to %s", from, to);
}

struct host_file {
	int fd;
	char *path;
};

static struct host_file *local_file_open_new(struct host *host, const char *path, uint32_t mode,
					     struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct host_file *file;

	(void)host;
	if (fd < 0 || fchmod(fd, mode) < 0) {
		err_errno(err, errno, "create %s", path);
		if (fd >= 0) {
			unlink(path);
			close(fd);
		}
		return NULL;
	}
	file = mem_zalloc(1, sizeof(*file));
	file->fd = fd;
	file->path = str_dup(path);
	return file;
}

static int local_file_resize(struct host_file *file, uint64_t size_bytes, struct err *err)
{
	if (ftruncate(file->fd, (off_t)size_bytes) < 0)
		return err_errno(err, errno, "set the size of %s", file->path);
	return 0;
}

static int local_file_give(struct host_file *file, uint32_t uid, uint32_t gid, struct err *err)
{
	if (fchown(file->fd, uid, gid) < 0)
		return err_errno(err, errno, "set the owner of %s", file->path);
	return 0;
}

static int local_file_write(struct host_file *file, const void *data, size_t len, struct err *err)
{
	for (const char *p = data; len;) {
		ssize_t n = write(file->fd, p, len);

		if (n < 0 && errno != EINTR)
			return err_errno(err, errno, "write %s", file->path);
		p += n < 0 ? 0 : n;
		len -= n < 0 ? 0 : (size_t)n;
	}
	return 0;
}

static int local_file_finish(struct host_file *file, struct err *err)
{
	int ret = close(file->fd) < 0 ? err_errno(err, errno, "close %s", file->path) : 0;

	free(file->path);
	free(file);
	return ret;
}

static int local_file_remove(struct host *host, const char *path, struct err *err)
{
	(void)host;
	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(err, errno, "remove %s", path);
	return 0;
}

static int local_free_space(struct host *host, const char *path, uint64_t *bytes, struct err *err)
{
	struct statvfs fs;

	(void)host;
	if (statvfs(path, &fs) < 0)
		return err_errno(err, errno, "%s", path);
	*bytes = (uint64_t)fs.f_frsize * fs.f_bavail;
	return 0;
}

static int local_command(struct host *host, const char *command, int64_t timeout_ms,
			 struct process_output *output, struct err *err)
{
	struct local_host *local = (struct local_host *)host;
	const char *argv[] = {"/bin/sh", "-c", command, NULL};

	return process_run(local->loop, argv, timeout_ms, output, err);
}

static struct stream *local_program(struct host *host, const char *command, struct err *err)
{
	return process_stream(((struct local_host *)host)->loop, command, err);
}

static void local_close(struct host *host)
{
	free(host);
}

static const struct host_ops local_ops = {
	.reopen = local_reopen,
	.address = local_address,
	.unix_stream = local_unix_stream,
	.file_info = local_file_info,
	.file_rename = local_file_rename,
	.file_open_new = local_file_open_new,
	.file_resize = local_file_resize,
	.file_give = local_file_give,
	.file_write = local_file_write,
	.file_finish = local_file_finish,
	.file_remove = local_file_remove,
	.free_space = local_free_space,
	.command = local_command,
	.program = local_program,
	.close = local_close,
};

struct host *host_local(struct loop *loop, int64_t answer_timeout_ms)
{
	struct local_host *local = mem_zalloc(1, sizeof(*local));

	local->host.ops = &local_ops;
	local->host.name = "this host";
	local->loop = loop;
	local->answer_timeout_ms = answer_timeout_ms;
	return &local->host;
}
