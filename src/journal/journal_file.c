/* The last whole line counts, and a line is whole when its newline is there and no NUL is in it.
 * NULs are what is found where a page of a line has not reached the disk before the host died,
 * though a later page has; record_write() makes none. A line that is whole and yet no record is
 * something else than a crash, and nobody's to skip. */
#include "journal/journal_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"

static int refuse_others(const struct stat *st, struct err *err)
{
	if (st->st_uid != geteuid())
		return err_set(err, ERR_FAILED, "belongs to another user (uid %ju, we are %ju)",
			       (uintmax_t)st->st_uid, (uintmax_t)geteuid());
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return err_set(err, ERR_FAILED, "others may write to it: chmod go-w");
	return 0;
}

static int open_error(struct err *err)
{
	if (errno == ENOENT)
		return err_set(err, ERR_CLOSED, "is not there");
	if (errno == ELOOP)
		return err_set(err, ERR_FAILED, "is a symbolic link");
	return err_errno(err, errno, "open");
}

int journal_file_open_directory(const char *path, struct err *err)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return open_error(err);
	if (fstat(fd, &st) < 0)
		return err_errno(err, errno, "fstat");
	if (refuse_others(&st, err) < 0)
		return -1;
	return journal_file_take(&fd);
}

/* O_NONBLOCK: to open a FIFO that was put there would wait for its other end. */
int journal_file_open(int directory_fd, const char *name, struct err *err)
{
	_cleanup_fd_ int fd =
		openat(directory_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return open_error(err);
	if (fstat(fd, &st) < 0)
		return err_errno(err, errno, "fstat");
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_FAILED, "is no regular file");
	if (refuse_others(&st, err) < 0)
		return -1;
	return journal_file_take(&fd);
}

int journal_file_holder(int fd, pid_t *holder, struct err *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_GETLK, &lock) < 0)
		return err_errno(err, errno, "ask for its lock");
	if (lock.l_type == F_UNLCK)
		*holder = 0;
	else
		*holder = lock.l_pid > 0 ? lock.l_pid : JOURNAL_FILE_UNSEEN;
	return 0;
}

int journal_file_lock(int fd, pid_t *holder, struct err *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	for (;;) {
		*holder = 0;
		if (fcntl(fd, F_SETLK, &lock) == 0)
			return 0;
		if (errno != EAGAIN && errno != EACCES)
			return err_errno(err, errno, "lock");
		if (journal_file_holder(fd, holder, err) < 0)
			return -1;
		if (*holder)
			return 0;
	}
}

bool journal_file_gone(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

/* What is not there any more, because its writer has just cut it off, is NULs. */
static int read_at(int fd, char *to, size_t len, off_t at, struct err *err)
{
	while (len) {
		ssize_t n = pread(fd, to, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, errno, "read");
		if (n == 0) {
			memset(to, 0, len);
			return 0;
		}
		to += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The place behind the last newline in @low to @high; *@found is @low where there is none. */
static int behind_newline(int fd, off_t low, off_t high, off_t *found, struct err *err)
{
	char piece[16384];

	for (*found = low; high > low;) {
		size_t len =
			high - low < (off_t)sizeof(piece) ? (size_t)(high - low) : sizeof(piece);
		const char *newline;

		high -= (off_t)len;
		if (read_at(fd, piece, len, high, err) < 0)
			return -1;
		newline = memrchr(piece, '\n', len);
		if (newline) {
			*found = high + (newline - piece) + 1;
			return 0;
		}
	}
	return 0;
}

/* The line that ends, with its newline, at @end. *@whole: there are no NULs in it, and @record is
 * filled. */
static int read_line(int fd, off_t start, off_t end, bool *whole, struct record *record,
		     struct err *err)
{
	size_t len = (size_t)(end - start) - 1;
	_autofree_ char *line = mem_zalloc(len + 1, 1);

	if (read_at(fd, line, len, start, err) < 0)
		return -1;
	*whole = memchr(line, '\0', len) == NULL;
	return *whole ? record_read(record, line, len, err) : 0;
}

/* Where the line begins that ends at @end. */
static int line_start(int fd, off_t end, off_t *start, struct err *err)
{
	off_t longest = end - (off_t)RECORD_LINE_MAX;
	off_t low = longest > 0 ? longest - 1 : 0; /* with the newline before the longest */

	if (behind_newline(fd, low, end - 1, start, err) < 0)
		return -1;
	if (*start == low && low)
		return err_set(err, ERR_FAILED, "its last line is longer than %u bytes",
			       RECORD_LINE_MAX);
	return 0;
}

int journal_file_read(int fd, struct record *record, off_t *end, struct err *err)
{
	bool whole = false;
	off_t start;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(err, errno, "fstat");
	for (start = st.st_size; !whole;) {
		if (behind_newline(fd, 0, start, end, err) < 0)
			return -1;
		if (*end == 0)
			return err_set(err, ERR_FAILED, "has not one whole record");
		if (line_start(fd, *end, &start, err) < 0 ||
		    read_line(fd, start, *end, &whole, record, err) < 0)
			return -1;
	}
	return 0;
}
