/* One that is written. The file is made without a name and linked into its directory when its
 * first record is in it and it is locked, so that nobody ever finds one that is empty or seems
 * abandoned; where the file system cannot do that it is made with its name at once.
 *
 * Whatever is behind `end`, the end of the last whole record, goes before anything is written
 * there, and that it is gone is on disk first: else a crash could leave a line with its beginning
 * of now and its end of then. */
#include "journal/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "journal/journal_file.h"

/* Bytes at a time; see journal_file.h. A migration of a few disks writes some 100 KiB. */
#define ROOM (256u << 10)

struct journal {
	int fd;
	int directory_fd;
	char *path;
	off_t end;  /* of the last whole record */
	off_t room; /* the file has NULs from `end` to here; less than `end`: it has none */
	bool cut;   /* something may be behind `end` that has to go */
	bool ended; /* the file is removed */
};

static const char *file_name(const struct journal *journal)
{
	return strrchr(journal->path, '/') + 1;
}

static void journal_freep(struct journal **journal)
{
	journal_close(*journal);
}

#define _cleanup_journal_ __attribute__((cleanup(journal_freep)))

static struct journal *journal_take(struct journal **journal)
{
	struct journal *taken = *journal;

	*journal = NULL;
	return taken;
}

/* Of the file at DIRECTORY/NAME; its directory is opened. */
static struct journal *journal_new(const char *directory, const char *name, struct err *err)
{
	_cleanup_journal_ struct journal *journal = mem_zalloc(1, sizeof(*journal));

	journal->fd = -1;
	journal->path = str_printf("%s/%s", directory, name);
	journal->directory_fd = journal_file_open_directory(directory, err);
	if (journal->directory_fd < 0) {
		err_wrap(err, "%s", directory);
		return NULL;
	}
	return journal_take(&journal);
}

/* --- writing --- */

static int write_at(int fd, const char *data, size_t len, off_t at)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int cut_off(struct journal *journal)
{
	journal->room = 0;
	if (ftruncate(journal->fd, journal->end) < 0 || fsync(journal->fd) < 0)
		return -1;
	journal->cut = false;
	return 0;
}

/* More room behind @end. None is no error: it makes things cheaper. */
static void make_room(struct journal *journal, off_t end)
{
	static const char nuls[ROOM];

	if (write_at(journal->fd, nuls, sizeof(nuls), end) == 0)
		journal->room = end + (off_t)sizeof(nuls);
}

/* Writes the line behind `end`, which stays. */
static int put_line(struct journal *journal, const char *line, bool durable)
{
	off_t end = journal->end + (off_t)strlen(line);

	if (journal->cut && cut_off(journal) < 0)
		return -1;
	if (write_at(journal->fd, line, strlen(line), journal->end) < 0)
		return -1;
	if (end > journal->room)
		make_room(journal, end);
	return durable ? fdatasync(journal->fd) : 0;
}

int journal_append(struct journal *journal, const struct record *record, bool durable,
		   struct err *err)
{
	_autofree_ char *line = record_write(record, err);

	if (!line)
		return err_wrap(err, "%s", journal->path);
	if (put_line(journal, line, durable) < 0) {
		err_errno(err, errno, "%s: write", journal->path);
		journal->cut = true;
		cut_off(journal); /* at once, if it can be: it is not to be read */
		return -1;
	}
	journal->end += (off_t)strlen(line);
	return 0;
}

int journal_end(struct journal *journal, const struct record *record, struct err *err)
{
	if (journal_append(journal, record, true, err) < 0)
		return -1;
	if (unlinkat(journal->directory_fd, file_name(journal), 0) < 0)
		return err_errno(err, errno, "%s: remove", journal->path);
	journal->ended = true;
	if (fsync(journal->directory_fd) < 0)
		return err_errno(err, errno, "%s: remove: sync its directory", journal->path);
	return 0;
}

/* --- making --- */

/* *@named: it has its name already. */
static int make_file(struct journal *journal, bool *named)
{
	*named = false;
	journal->fd = openat(journal->directory_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (journal->fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
		return journal->fd;
	journal->fd = openat(journal->directory_fd, file_name(journal),
			     O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);
	*named = journal->fd >= 0;
	return journal->fd;
}

/* As open(2) says of O_TMPFILE; the way without /proc wants a capability. */
static int name_file(struct journal *journal)
{
	_autofree_ char *unnamed = str_printf("/proc/self/fd/%d", journal->fd);

	return linkat(AT_FDCWD, unnamed, journal->directory_fd, file_name(journal),
		      AT_SYMLINK_FOLLOW);
}

static int fill_file(struct journal *journal, const char *line, bool *named, struct err *err)
{
	pid_t holder;

	if (journal_file_lock(journal->fd, &holder, err) < 0)
		return -1;
	if (holder)
		return err_set(err, ERR_FAILED, "was locked by process %d as it was made",
			       (int)holder);
	if (put_line(journal, line, false) < 0)
		return err_errno(err, errno, "write");
	journal->end = (off_t)strlen(line);
	if (!*named && name_file(journal) < 0)
		return err_errno(err, errno, "make");
	*named = true;
	if (fsync(journal->fd) < 0 || fsync(journal->directory_fd) < 0)
		return err_errno(err, errno, "sync");
	return 0;
}

struct journal *journal_create(const char *directory, const struct record *record, struct err *err)
{
	_autofree_ char *line = record_write(record, err);
	_autofree_ char *name = NULL;
	_cleanup_journal_ struct journal *journal = NULL;
	bool named;

	if (!line)
		return NULL;
	name = str_printf("%s%s", record->id, JOURNAL_FILE_SUFFIX);
	journal = journal_new(directory, name, err);
	if (!journal)
		return NULL;
	if (make_file(journal, &named) < 0) {
		err_errno(err, errno, "%s: make", journal->path);
		return NULL;
	}
	if (fill_file(journal, line, &named, err) < 0) {
		if (named)
			unlinkat(journal->directory_fd, name, 0);
		err_wrap(err, "%s", journal->path);
		return NULL;
	}
	return journal_take(&journal);
}

/* --- opening --- */

/* Opens and locks the file. */
static int hold_file(struct journal *journal, pid_t *holder, struct err *err)
{
	journal->fd = journal_file_open(journal->directory_fd, file_name(journal), err);
	if (journal->fd < 0 || journal_file_lock(journal->fd, holder, err) < 0)
		return -1;
	if (*holder > 0)
		return err_set(err, ERR_REFUSED, "process %d works on it", (int)*holder);
	if (*holder)
		return err_set(err, ERR_REFUSED,
			       "a process that cannot be seen from here works "
			       "on it");
	if (journal_file_gone(journal->fd))
		return err_set(err, ERR_CLOSED, "has gone");
	return 0;
}

static int open_file(struct journal *journal, struct record *record, pid_t *holder, struct err *err)
{
	if (hold_file(journal, holder, err) < 0 ||
	    journal_file_read(journal->fd, record, &journal->end, err) < 0)
		return -1;
	if (record->state == RECORD_ENDED) {
		record_deinit(record);
		return err_set(err, ERR_CLOSED, "its migration has ended");
	}
	journal->cut = true;
	return 0;
}

struct journal *journal_open(const char *path, struct record *record, pid_t *holder,
			     struct err *err)
{
	_autofree_ char *directory = str_directory(path);
	const char *slash = strrchr(path, '/');
	_cleanup_journal_ struct journal *journal = NULL;

	*holder = 0;
	*record = (struct record){0};
	journal = journal_new(directory, slash ? slash + 1 : path, err);
	if (!journal)
		return NULL;
	if (open_file(journal, record, holder, err) < 0) {
		err_wrap(err, "%s", path);
		return NULL;
	}
	return journal_take(&journal);
}

const char *journal_path(const struct journal *journal)
{
	return journal->path;
}

/* The room goes, so that a file that is left for people to look at is nothing but text. */
void journal_close(struct journal *journal)
{
	if (!journal)
		return;
	if (journal->room > journal->end && !journal->ended &&
	    ftruncate(journal->fd, journal->end) < 0)
		journal->room = 0; /* then it stays */
	journal_file_closep(&journal->fd);
	journal_file_closep(&journal->directory_fd);
	free(journal->path);
	free(journal);
}
