/* Files on the other host, by SFTP version 3 (draft-ietf-secsh-filexfer-02), which is what
 * OpenSSH speaks. It has few error codes: nearly everything is SSH_FX_FAILURE, so what went
 * wrong is looked at where that is possible. */
#include <string.h>
#include <sys/stat.h>

#include "ssh/internal.h"

/* One request; which fields are used depends on it. */
struct request {
	bool (*step)(struct ssh *ssh, void *arg);
	const char *path;
	const char *to; /* of rename */
	LIBSSH2_SFTP_HANDLE *handle;
	LIBSSH2_SFTP_ATTRIBUTES attrs;
	LIBSSH2_SFTP_STATVFS space;
	int kind; /* of stat */
	long mode;
	int rc;
	unsigned long status; /* SSH_FX_*, when rc is LIBSSH2_ERROR_SFTP_PROTOCOL */
};

static bool init_step(struct ssh *ssh, void *arg)
{
	struct request *r = arg;

	ssh->sftp = libssh2_sftp_init(ssh->session);
	r->rc = ssh->sftp ? 0 : libssh2_session_last_errno(ssh->session);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

static bool stat_step(struct ssh *ssh, void *arg)
{
	struct request *r = arg;

	r->rc = libssh2_sftp_stat_ex(ssh->sftp, r->path, (unsigned)strlen(r->path), r->kind,
				     &r->attrs);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

static bool create_step(struct ssh *ssh, void *arg)
{
	struct request *r = arg;

	r->handle = libssh2_sftp_open_ex(ssh->sftp, r->path, (unsigned)strlen(r->path),
					 LIBSSH2_FXF_WRITE | LIBSSH2_FXF_CREAT | LIBSSH2_FXF_EXCL,
					 r->mode, LIBSSH2_SFTP_OPENFILE);
	r->rc = r->handle ? 0 : libssh2_session_last_errno(ssh->session);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

static bool setstat_step(struct ssh *ssh, void *arg)
{
	struct request *r = arg;

	(void)ssh;
	r->rc = libssh2_sftp_fstat_ex(r->handle, &r->attrs, 1);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

static bool close_step(struct ssh *ssh, void *arg)
{
	struct request *r = arg;

	(void)ssh;
	r->rc = libssh2_sftp_close_handle(r->handle);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

static bool unlink_step(struct ssh *ssh, void *arg)
{
	struct request *r = arg;

	r->rc = libssh2_sftp_unlink_ex(ssh->sftp, r->path, (unsigned)strlen(r->path));
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

/* The plain request: libssh2 1.10.0 has no other, and later ones have posix-rename@openssh.com in
 * a function of its own. The flags are for version 5 of SFTP; none is "do not overwrite". */
static bool rename_step(struct ssh *ssh, void *arg)
{
	struct request *r = arg;

	r->rc = libssh2_sftp_rename_ex(ssh->sftp, r->path, (unsigned)strlen(r->path), r->to,
				       (unsigned)strlen(r->to), 0);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

static bool statvfs_step(struct ssh *ssh, void *arg)
{
	struct request *r = arg;

	r->rc = libssh2_sftp_statvfs(ssh->sftp, r->path, strlen(r->path), &r->space);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

/* libssh2_sftp_init opens a channel, so a timeout there leaves the session half-way. */
static int start_sftp(struct ssh *ssh, struct err *err)
{
	struct request r = {0};
	char *text = NULL;

	if (ssh->sftp)
		return 0;
	if (ssh_channel_possible(ssh, err) < 0)
		return -1;
	if (ssh_io_run(ssh,
		       "the server's SFTP to start (is the program of \"Subsystem sftp\" there?)",
		       init_step, &r, err) < 0) {
		ssh->opening_stuck = true;
		return -1;
	}
	if (r.rc == 0)
		return 0;
	if (ssh_io_lost(ssh, r.rc))
		return ssh_io_closed(ssh, err);
	libssh2_session_last_error(ssh->session, &text, NULL, 0);
	return err_set(err, ERR_REFUSED,
		       "%s: the server has no SFTP (%s); its sshd_config needs a line "
		       "\"Subsystem sftp internal-sftp\"",
		       ssh->host, text ? text : "no reason given");
}

static const char *status_words(unsigned long status)
{
	switch (status) {
	case LIBSSH2_FX_NO_SUCH_FILE:
		return "no such file or directory";
	case LIBSSH2_FX_PERMISSION_DENIED:
		return "permission denied";
	case LIBSSH2_FX_OP_UNSUPPORTED:
		return "the server does not support it";
	case LIBSSH2_FX_FAILURE:
		return "failed over there, and SFTP does not say why (is the disk full, or "
		       "read-only?)";
	default:
		return "failed over there";
	}
}

/* "hostb: create /srv/web1.img: permission denied". Returns -1. */
static int failed(struct ssh *ssh, const struct request *r, const char *verb, struct err *err)
{
	char *text = NULL;

	if (ssh_io_lost(ssh, r->rc))
		return ssh_io_closed(ssh, err);
	if (r->rc == LIBSSH2_ERROR_SFTP_PROTOCOL)
		return err_set(err, ERR_FAILED, "%s: %s %s: %s", ssh->host, verb, r->path,
			       status_words(r->status));
	if (r->rc == LIBSSH2_ERROR_CHANNEL_CLOSED)
		return err_set(err, ERR_FAILED, "%s: %s %s: the server's SFTP has ended", ssh->host,
			       verb, r->path);
	libssh2_session_last_error(ssh->session, &text, NULL, 0);
	return err_set(err, ERR_FAILED, "%s: %s %s: %s", ssh->host, verb, r->path,
		       text && *text ? text : "SFTP failed");
}

/* For an SFTP that does not answer, or not sensibly: its state is half-way. The next request
 * gets a new one, and this ends with the session. */
static void give_up_sftp(struct ssh *ssh)
{
	ssh->sftp = NULL;
}

/* libssh2 1.10.0 waits on when the SFTP server has ended (sftp_packet_read() in src/sftp.c takes
 * the end of the channel for "not yet"). */
static bool ask_step(struct ssh *ssh, void *arg)
{
	struct request *r = arg;

	if (r->step(ssh, r))
		return true;
	if (!libssh2_channel_eof(libssh2_sftp_get_channel(ssh->sftp)))
		return false;
	r->rc = LIBSSH2_ERROR_CHANNEL_CLOSED;
	return true;
}

/* Makes the request: 0 when the server answered, which may be an error of the file (r->rc,
 * r->status). */
static int ask(struct ssh *ssh, const char *verb, bool (*step)(struct ssh *ssh, void *arg),
	       struct request *r, struct err *err)
{
	_autofree_ char *what = str_printf("SFTP to %s %s", verb, r->path);

	if (start_sftp(ssh, err) < 0)
		return -1;
	r->step = step;
	if (ssh_io_run(ssh, what, ask_step, r, err) < 0) {
		give_up_sftp(ssh);
		return -1;
	}
	if (r->rc == LIBSSH2_ERROR_SFTP_PROTOCOL) {
		r->status = libssh2_sftp_last_error(ssh->sftp);
		return 0;
	}
	if (r->rc == 0)
		return 0;
	failed(ssh, r, verb, err);
	give_up_sftp(ssh);
	return -1;
}

static bool no_such_file(const struct request *r)
{
	return r->rc == LIBSSH2_ERROR_SFTP_PROTOCOL &&
	       (r->status == LIBSSH2_FX_NO_SUCH_FILE || r->status == LIBSSH2_FX_NO_SUCH_PATH);
}

/* For a @path that is not there: 0 when its directory is. */
static int check_directory(struct ssh *ssh, const char *verb, const char *path, struct err *err)
{
	_autofree_ char *dir = str_directory(path);
	struct request r = {.path = dir, .kind = LIBSSH2_SFTP_STAT};

	if (ask(ssh, "look at", stat_step, &r, err) < 0)
		return -1;
	if (no_such_file(&r))
		return err_set(err, ERR_FAILED, "%s: %s %s: there is no directory %s over there",
			       ssh->host, verb, path, dir);
	if (r.rc < 0)
		return failed(ssh, &r, "look at", err);
	if (!LIBSSH2_SFTP_S_ISDIR(r.attrs.permissions))
		return err_set(err, ERR_FAILED, "%s: %s %s: %s is no directory", ssh->host, verb,
			       path, dir);
	return 0;
}

/* A symbolic link to nothing is there and is not there; creating a file would fail. */
static int check_dangling(struct ssh *ssh, const char *path, struct err *err)
{
	struct request r = {.path = path, .kind = LIBSSH2_SFTP_LSTAT};

	if (ask(ssh, "look at", stat_step, &r, err) < 0)
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
	struct request r = {.path = path, .kind = LIBSSH2_SFTP_STAT};

	*info = (struct file_info){.kind = FILE_ABSENT};
	if (ask(ssh, "look at", stat_step, &r, err) < 0)
		return -1;
	if (no_such_file(&r)) {
		if (check_directory(ssh, "look at", path, err) < 0)
			return -1;
		return check_dangling(ssh, path, err);
	}
	if (r.rc < 0)
		return failed(ssh, &r, "look at", err);
	if (!(r.attrs.flags & LIBSSH2_SFTP_ATTR_PERMISSIONS) ||
	    !(r.attrs.flags & LIBSSH2_SFTP_ATTR_SIZE))
		return err_set(err, ERR_FAILED, "%s: %s: the server tells neither kind nor size",
			       ssh->host, path);
	info->kind = kind_of(r.attrs.permissions);
	info->size_bytes = r.attrs.filesize;
	info->mode = (uint32_t)r.attrs.permissions & 07777;
	return 0;
}

/* Why could it not be created? SFTP has no word for "exists". */
static int explain_create(struct ssh *ssh, const struct request *r, struct err *err)
{
	struct request seen = {.path = r->path, .kind = LIBSSH2_SFTP_LSTAT};

	if (no_such_file(r) && check_directory(ssh, "create", r->path, err) < 0)
		return -1;
	if (r->status == LIBSSH2_FX_FILE_ALREADY_EXISTS ||
	    (r->status == LIBSSH2_FX_FAILURE && ask(ssh, "look at", stat_step, &seen, err) == 0 &&
	     seen.rc == 0))
		return err_set(err, ERR_FAILED, "%s: create %s: it already exists", ssh->host,
			       r->path);
	return failed(ssh, r, "create", err);
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

static int set_size(struct ssh *ssh, struct request *r, uint64_t size_bytes, uint32_t mode,
		    struct err *err)
{
	r->attrs.flags = LIBSSH2_SFTP_ATTR_SIZE | LIBSSH2_SFTP_ATTR_PERMISSIONS;
	r->attrs.filesize = size_bytes;
	r->attrs.permissions = mode;
	if (ask(ssh, "set the size of", setstat_step, r, err) < 0)
		return -1;
	return r->rc < 0 ? failed(ssh, r, "set the size of", err) : 0;
}

/* Closes the new file, unless its SFTP is given up: then it went with that. */
static int close_new(struct ssh *ssh, struct request *r, const LIBSSH2_SFTP *sftp, struct err *err)
{
	if (ssh->sftp != sftp)
		return -1;
	if (ask(ssh, "close", close_step, r, err) < 0)
		return -1;
	return r->rc < 0 ? failed(ssh, r, "close", err) : 0;
}

int ssh_file_create(struct ssh *ssh, const char *path, uint64_t size_bytes, uint32_t mode,
		    struct err *err)
{
	struct request r = {.path = path, .mode = (long)(mode & 07777)};
	const LIBSSH2_SFTP *sftp;
	int ret;

	if (start_sftp(ssh, err) < 0)
		return -1;
	if (ask(ssh, "create", create_step, &r, err) < 0)
		return err_wrap(err, "whether %s was created is not known", path);
	if (r.rc < 0)
		return explain_create(ssh, &r, err);
	sftp = ssh->sftp;
	ret = set_size(ssh, &r, size_bytes, mode & 07777, err);
	if (close_new(ssh, &r, sftp, ret < 0 ? NULL : err) < 0)
		ret = -1;
	return ret < 0 ? take_back(ssh, path, err) : 0;
}

int ssh_file_remove(struct ssh *ssh, const char *path, struct err *err)
{
	struct request r = {.path = path};

	if (ask(ssh, "remove", unlink_step, &r, err) < 0)
		return -1;
	return r.rc < 0 && !no_such_file(&r) ? failed(ssh, &r, "remove", err) : 0;
}

/* 0 when nothing has the name @path, not even a symbolic link to nothing. */
static int check_free(struct ssh *ssh, const char *from, const char *path, struct err *err)
{
	struct request r = {.path = path, .kind = LIBSSH2_SFTP_LSTAT};

	if (ask(ssh, "look at", stat_step, &r, err) < 0)
		return -1;
	if (r.rc == 0)
		return err_set(err, ERR_FAILED, "%s: rename %s to %s: that already exists",
			       ssh->host, from, path);
	return no_such_file(&r) ? 0 : failed(ssh, &r, "look at", err);
}

int ssh_file_rename(struct ssh *ssh, const char *from, const char *to, struct err *err)
{
	_autofree_ char *verb = str_printf("give the name %s to", to);
	struct request r = {.path = from, .to = to};

	if (check_free(ssh, from, to, err) < 0 || ask(ssh, verb, rename_step, &r, err) < 0)
		return -1;
	if (r.rc == 0)
		return 0;
	if (r.status == LIBSSH2_FX_FAILURE && check_free(ssh, from, to, err) < 0)
		return -1;
	return failed(ssh, &r, verb, err);
}

int ssh_free_space(struct ssh *ssh, const char *path, uint64_t *bytes, struct err *err)
{
	struct request r = {.path = path};

	if (ask(ssh, "ask for the free space of", statvfs_step, &r, err) < 0)
		return -1;
	if (r.rc < 0)
		return failed(ssh, &r, "ask for the free space of", err);
	if (__builtin_mul_overflow(r.space.f_frsize, r.space.f_bavail, bytes))
		*bytes = UINT64_MAX;
	return 0;
}
