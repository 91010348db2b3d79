/* The file of a journal, for those who write it and those who look. Seen by this layer only.
 *
 * Lines of JSON, and behind them NULs, which are room for more: a line written into room that is
 * on disk already costs its fdatasync() no new size and no new blocks, and a full file system
 * does not stop an undo. Room has no newline, so that for a reader it is one more torn line.
 */
#ifndef VMFERRY_JOURNAL_JOURNAL_FILE_H
#define VMFERRY_JOURNAL_JOURNAL_FILE_H

#include <stdbool.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/err.h"
#include "journal/record.h"

#define JOURNAL_FILE_SUFFIX ".journal"

/* Somebody has the lock, but which process cannot be told: it is in another pid namespace, or on
 * another host. */
#define JOURNAL_FILE_UNSEEN (-1)

static inline void journal_file_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* `_cleanup_fd_ int fd = -1;`: closed when it goes out of scope. */
#define _cleanup_fd_ __attribute__((cleanup(journal_file_closep)))

/* Hands the descriptor over and leaves -1 behind. */
static inline int journal_file_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* Opens a directory; refuses one that others own or may write to. A link to it is followed: with
 * DynamicUser=, systemd's state directories are links. ERR_CLOSED when it is not there. */
int journal_file_open_directory(const char *path, struct err *err);

/* Opens the file @name in @directory_fd to read and write; refuses a symbolic link, what is no
 * file, and one that others own or may write to. ERR_CLOSED when it is not there. */
int journal_file_open(int directory_fd, const char *name, struct err *err);

/* Takes the lock: *@holder is 0 then, else who has it. */
int journal_file_lock(int fd, pid_t *holder, struct err *err);

/* Who has the lock; 0: nobody, or we ourselves. */
int journal_file_holder(int fd, pid_t *holder, struct err *err);

/* Whether it has been removed. */
bool journal_file_gone(int fd);

/* Reads the last whole record, and tells where its line ends. ERR_FAILED when there is none. */
int journal_file_read(int fd, struct record *record, off_t *end, struct err *err);

#endif
