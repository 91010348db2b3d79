/* Files on the other host, by SFTP (sftp.h). What went wrong is looked at where that is possible.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "ssh/sftp.h"

static bool stat_step(struct ssh *ssh, void *arg)
{
	struct sftp_request *r = arg;

	r->rc = libssh2_sftp_stat_ex(ssh->sftp, r->path, (unsigned)strlen(r->path), r->kind,
				     &r->attrs);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

static bool create_step(struct ssh *ssh, void *arg)
{
	struct sftp_request *r = arg;

	r->handle = libssh2_sftp_open_ex(ssh->sftp, r->path, (unsigned)strlen(r->path),
					 LIBSSH2_FXF_WRITE | LIBSSH2_FXF_CREAT | LIBSSH2_FXF_EXCL,
					 r->mode, LIBSSH2_SFTP_OPENFILE);
	r->rc = r->handle ? 0 : libssh2_session_last_errno(ssh->session);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

static bool setstat_step(struct ssh *ssh, void *arg)
{
	struct sftp_request *r = arg;

	(void)ssh;
	r->rc = libssh2_sftp_fstat_ex(r->handle, &r->attrs, 1);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

static bool close_step(struct ssh *ssh, void *arg)
{
	struct sftp_request *r = arg;

	(void)ssh;
	r->rc = libssh2_sftp_close_handle(r->handle);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

static bool unlink_step(struct ssh *ssh, void *arg)
{
	struct sftp_request *r = arg;

	r->rc = libssh2_sftp_unlink_ex(ssh->sftp, r->path, (unsigned)strlen(r->path));
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

/* The plain request: libssh2 1.10.0 has no other, and later ones have posix-rename@openssh.com in
 * a function of its own. The flags are for version 5 of SFTP; none is "do not overwrite". */
static bool rename_step(struct ssh *ssh, void *arg)
{
	struct sftp_request *r = arg;

	r->rc = libssh2_sftp_rename_ex(ssh->sftp, r->path, (unsigned)strlen(r->path), r->to,
				       (unsigned)strlen(r->to), 0);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

static bool statvfs_step(struct ssh *ssh, void *arg)
{
	struct sftp_request *r = arg;

	r->rc = libssh2_sftp_statvfs(ssh->sftp, r->path, strlen(r->path), &r->space);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

/* For a @path that is not there: 0 when its directory is. */
static int check_directory(struct ssh *ssh, const char *verb, const char *path, struct err *err)
{
	_autofree_ char *dir = str_directory(path);
	struct sftp_request r = {.path = dir, .kind = LIBSSH2_SFTP_STAT};

	if (sftp_ask(ssh, "look at", stat_step, &r, err) < 0)
		return -1;
	if (sftp_no_such_file(&r))
		return err_set(err, ERR_FAILED, "%s: %s %s: there is no directory %s over there",
			       ssh->host, verb, path, dir);
	if (r.rc < 0)
		return sftp_failed(ssh, &r, "look at", err);
	if (!LIBSSH2_SFTP_S_ISDIR(r.attrs.permissions))
		return err_set(err, ERR_FAILED, "%s: %s %s: %s is no directory", ssh->host, verb,
			       path, dir);
	return 0;
}

/* A symbolic link to nothing is there and is not there; creating a file would fail. */
static int check_dangling(struct ssh *ssh, const char *path, struct err *err)
{
	struct sftp_request r = {.path = path, .kind = LIBSSH2_SFTP_LSTAT};

	if (sftp_ask(ssh, "look at", stat_step, &r, err) < 0)
		return -1;
	if (r.rc == 0)
		return err_set(err, ERR_FAILED, "%s: %s is a symbolic link to nothing", ssh->host,
			       path);
	return 0;
}

static enum file_kind kind_of(unsigned long permissions)
{
	if (LIBSSH2_SFTP_S_ISREG(permissions))
		return FILE_REGULAR;
	if (LIBSSH2_SFTP_S_ISDIR(permissions))
		return FILE_DIRECTORY;
	return LIBSSH2_SFTP_S_ISBLK(permissions) ? FILE_BLOCK_DEVICE : FILE_OTHER;
}

int ssh_file_info(struct ssh *ssh, const char *path, struct file_info *info, struct err *err)
{
	struct sftp_request r = {.path = path, .kind = LIBSSH2_SFTP_STAT};

	*info = (struct file_info){.kind = FILE_ABSENT};
	if (sftp_ask(ssh, "look at", stat_step, &r, err) < 0)
		return -1;
	if (sftp_no_such_file(&r)) {
		if (check_directory(ssh, "look at", path, err) < 0)
			return -1;
		return check_dangling(ssh, path, err);
	}
	if (r.rc < 0)
		return sftp_failed(ssh, &r, "look at", err);
	if (!(r.attrs.flags & LIBSSH2_SFTP_ATTR_PERMISSIONS) ||
	    !(r.attrs.flags & LIBSSH2_SFTP_ATTR_SIZE))
		return err_set(err, ERR_FAILED, "%s: %s: the server tells neither kind nor size",
			       ssh->host, path);
	info->kind = kind_of(r.attrs.permissions);
	info->size_bytes = r.attrs.filesize;
	info->mode = (uint32_t)r.attrs.permissions & 07777;
	info->uid = info->gid = FILE_OWNER_UNKNOWN;
	if (r.attrs.flags & LIBSSH2_SFTP_ATTR_UIDGID) {
		info->uid = (uint32_t)r.attrs.uid;
		info->gid = (uint32_t)r.attrs.gid;
	}
	return 0;
}

/* Why could it not be created? SFTP has no word for "exists". */
static int explain_create(struct ssh *ssh, const struct sftp_request *r, struct err *err)
{
	struct sftp_request seen = {.path = r->path, .kind = LIBSSH2_SFTP_LSTAT};

	if (sftp_no_such_file(r) && check_directory(ssh, "create", r->path, err) < 0)
		return -1;
	if (r->status == LIBSSH2_FX_FILE_ALREADY_EXISTS ||
	    (r->status == LIBSSH2_FX_FAILURE &&
	     sftp_ask(ssh, "look at", stat_step, &seen, err) == 0 && seen.rc == 0))
		return err_set(err, ERR_FAILED, "%s: create %s: it already exists", ssh->host,
			       r->path);
	return sftp_failed(ssh, r, "create", err);
}

/* Removes what was just created and could not be finished; the words stay @err's. */
static int take_back(struct ssh *ssh, const char *path, struct err *err)
{
	struct err why = {0};

	if (ssh_file_remove(ssh, path, &why) < 0 && err) {
		_autofree_ char *words = str_dup(err->text);

		err_set(err, err->kind, "%s; and the new file is still there: %s", words, why.text);
	}
	return -1;
}

/* Closes the new file, unless its SFTP is given up: then it went with that. */
static int close_new(struct ssh *ssh, struct sftp_request *r, const LIBSSH2_SFTP *sftp,
		     struct err *err)
{
	if (ssh->sftp != sftp)
		return err_set(err, ERR_FAILED, "%s: close %s: the server's SFTP has ended",
			       ssh->host, r->path);
	if (sftp_ask(ssh, "close", close_step, r, err) < 0)
		return -1;
	return r->rc < 0 ? sftp_failed(ssh, r, "close", err) : 0;
}

int ssh_file_remove(struct ssh *ssh, const char *path, struct err *err)
{
	struct sftp_request r = {.path = path};

	if (sftp_ask(ssh, "remove", unlink_step, &r, err) < 0)
		return -1;
	return r.rc < 0 && !sftp_no_such_file(&r) ? sftp_failed(ssh, &r, "remove", err) : 0;
}

/* 0 when nothing has the name @path, not even a symbolic link to nothing. */
static int check_free(struct ssh *ssh, const char *from, const char *path, struct err *err)
{
	struct sftp_request r = {.path = path, .kind = LIBSSH2_SFTP_LSTAT};

	if (sftp_ask(ssh, "look at", stat_step, &r, err) < 0)
		return -1;
	if (r.rc == 0)
		return err_set(err, ERR_FAILED, "%s: rename %s to %s: that already exists",
			       ssh->host, from, path);
	return sftp_no_such_file(&r) ? 0 : sftp_failed(ssh, &r, "look at", err);
}

int ssh_file_rename(struct ssh *ssh, const char *from, const char *to, struct err *err)
{
	_autofree_ char *verb = str_printf("give the name %s to", to);
	struct sftp_request r = {.path = from, .to = to};

	if (check_free(ssh, from, to, err) < 0 || sftp_ask(ssh, verb, rename_step, &r, err) < 0)
		return -1;
	if (r.rc == 0)
		return 0;
	if (r.status == LIBSSH2_FX_FAILURE && check_free(ssh, from, to, err) < 0)
		return -1;
	return sftp_failed(ssh, &r, verb, err);
}

int ssh_free_space(struct ssh *ssh, const char *path, uint64_t *bytes, struct err *err)
{
	struct sftp_request r = {.path = path};

	if (sftp_ask(ssh, "ask for the free space of", statvfs_step, &r, err) < 0)
		return -1;
	if (r.rc < 0)
		return sftp_failed(ssh, &r, "ask for the free space of", err);
	if (__builtin_mul_overflow(r.space.f_frsize, r.space.f_bavail, bytes))
		*bytes = UINT64_MAX;
	return 0;
}

/* --- contents --- */

struct ssh_file {
	struct ssh *ssh;
	const LIBSSH2_SFTP *sftp; /* the handle's; another one's it cannot be used with */
	struct sftp_request request;
	char *path;
};

static bool write_step(struct ssh *ssh, void *arg)
{
	struct sftp_request *r = arg;
	ssize_t n = 1;

	(void)ssh;
	while (r->len && (n = libssh2_sftp_write(r->handle, r->data, r->len)) > 0) {
		r->data += n;
		r->len -= (size_t)n;
	}
	r->rc = n < 0 ? (int)n : 0;
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

/* Sets what r->attrs has. */
static int set_attributes(struct ssh *ssh, struct sftp_request *r, const char *verb,
			  struct err *err)
{
	if (sftp_ask(ssh, verb, setstat_step, r, err) < 0)
		return -1;
	return r->rc < 0 ? sftp_failed(ssh, r, verb, err) : 0;
}

/* The mode is what is asked for, whatever umask there is over there. */
static int set_mode(struct ssh *ssh, struct sftp_request *r, uint32_t mode, struct err *err)
{
	r->attrs.flags = LIBSSH2_SFTP_ATTR_PERMISSIONS;
	r->attrs.permissions = mode;
	return set_attributes(ssh, r, "set the mode of", err);
}

struct ssh_file *ssh_file_open_new(struct ssh *ssh, const char *path, uint32_t mode,
				   struct err *err)
{
	struct ssh_file *file;
	struct sftp_request r = {.path = path, .mode = (long)(mode & 07777)};

	if (sftp_start(ssh, err) < 0)
		return NULL;
	if (sftp_ask(ssh, "create", create_step, &r, err) < 0) {
		err_wrap(err, "whether %s was created is not known", path);
		return NULL;
	}
	if (r.rc < 0) {
		explain_create(ssh, &r, err);
		return NULL;
	}
	file = mem_zalloc(1, sizeof(*file));
	file->ssh = ssh;
	file->sftp = ssh->sftp;
	file->path = str_dup(path);
	file->request = r;
	file->request.path = file->path;
	if (set_mode(ssh, &file->request, mode & 07777, err) == 0)
		return file;
	ssh_file_finish(file, NULL);
	take_back(ssh, path, err);
	return NULL;
}

/* Its handle is gone with the SFTP that it was of. */
static int check_handle(const struct ssh_file *file, const char *verb, struct err *err)
{
	if (file->ssh->sftp == file->sftp)
		return 0;
	return err_set(err, ERR_FAILED, "%s: %s %s: the server's SFTP has ended", file->ssh->host,
		       verb, file->path);
}

int ssh_file_resize(struct ssh_file *file, uint64_t size_bytes, struct err *err)
{
	static const char verb[] = "set the size of";
	struct sftp_request *r = &file->request;

	if (check_handle(file, verb, err) < 0)
		return -1;
	r->attrs.flags = LIBSSH2_SFTP_ATTR_SIZE;
	r->attrs.filesize = size_bytes;
	return set_attributes(file->ssh, r, verb, err);
}

int ssh_file_give(struct ssh_file *file, uint32_t uid, uint32_t gid, struct err *err)
{
	static const char verb[] = "set the owner of";
	struct sftp_request *r = &file->request;

	if (check_handle(file, verb, err) < 0)
		return -1;
	r->attrs.flags = LIBSSH2_SFTP_ATTR_UIDGID;
	r->attrs.uid = uid;
	r->attrs.gid = gid;
	return set_attributes(file->ssh, r, verb, err);
}

int ssh_file_write(struct ssh_file *file, const void *data, size_t len, struct err *err)
{
	struct sftp_request *r = &file->request;

	if (check_handle(file, "write", err) < 0)
		return -1;
	r->data = data;
	r->len = len;
	if (sftp_ask(file->ssh, "write", write_step, r, err) < 0)
		return -1;
	return r->rc < 0 ? sftp_failed(file->ssh, r, "write", err) : 0;
}

int ssh_file_finish(struct ssh_file *file, struct err *err)
{
	int ret = close_new(file->ssh, &file->request, file->sftp, err);

	free(file->path);
	free(file);
	return ret;
}
