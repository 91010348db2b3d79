/* Where journals are. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/str.h"
#include "journal/journal.h"
#include "journal/journal_file.h"

/* Until somebody else's lock is asked for again: the kernel can tell of its end only the one who
 * blocks for it, without a deadline. It is held while a journal is made, some 10 ms. */
#define AGAIN_MS 10

/* systemd gives several, with colons between them, to a unit that asks for several. */
static char *from_systemd(const char *list, struct err *err)
{
	if (*list == '/')
		return str_printf("%.*s", (int)strcspn(list, ":"), list);
	err_set(err, ERR_FAILED, "STATE_DIRECTORY %.200s is no absolute path", list);
	return NULL;
}

/* "All paths [...] must be absolute. If an implementation encounters a relative path [...] it
 * should consider the path invalid and ignore it." (XDG Base Directory Specification) */
static char *from_home(struct err *err)
{
	const char *state = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");

	if (state && *state == '/')
		return str_printf("%s/vmferry", state);
	if (home && *home == '/')
		return str_printf("%s/.local/state/vmferry", home);
	err_set(err, ERR_FAILED,
		"there is no home directory to keep the journal of a migration in: set HOME, "
		"XDG_STATE_HOME or STATE_DIRECTORY");
	return NULL;
}

char *journal_directory(struct err *err)
{
	const char *systemd = getenv("STATE_DIRECTORY");

	if (systemd && *systemd)
		return from_systemd(systemd, err);
	return geteuid() == 0 ? str_dup("/var/lib/vmferry") : from_home(err);
}

/* Makes one, and sees to it that its name is on disk. */
static int make_one(const char *path, struct err *err)
{
	_autofree_ char *parent = NULL;
	_cleanup_fd_ int fd = -1;

	if (mkdir(path, 0700) < 0)
		return errno == EEXIST ? 0 : err_errno(err, errno, "%s: make", path);
	parent = str_directory(path);
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return err_errno(err, errno, "%s: sync", parent);
	return 0;
}

static int make_all(const char *path, struct err *err)
{
	for (const char *p = path; *p;) {
		_autofree_ char *upto = NULL;

		p += strspn(p, "/");
		p += strcspn(p, "/");
		upto = str_printf("%.*s", (int)(p - path), path);
		if (make_one(upto, err) < 0)
			return -1;
	}
	return 0;
}

static int wait_for_lock(int fd, int timeout_ms, struct err *err)
{
	int64_t deadline = loop_now_ms() + timeout_ms;

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		/* NFS would have it opened for writing. */
		if (errno == EBADF || errno == EOPNOTSUPP)
			return err_set(err, ERR_FAILED,
				       "its file system has no locks for directories: set "
				       "STATE_DIRECTORY to a directory on a local disk");
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_errno(err, errno, "lock");
		if (loop_now_ms() >= deadline)
			return err_set(err, ERR_TIMEOUT,
				       "another vmferry holds it for longer than %d ms",
				       timeout_ms);
		poll(NULL, 0, AGAIN_MS);
	}
	return 0;
}

int journal_lock_directory(const char *directory, int timeout_ms, struct err *err)
{
	_cleanup_fd_ int fd = -1;

	if (make_all(directory, err) < 0)
		return -1;
	fd = journal_file_open_directory(directory, err);
	if (fd < 0 || wait_for_lock(fd, timeout_ms, err) < 0)
		return err_wrap(err, "%s", directory);
	return journal_file_take(&fd);
}

void journal_unlock_directory(int fd)
{
	if (fd >= 0)
		close(fd);
}
