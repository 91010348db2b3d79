/* The durable record of one migration: a file of JSON lines (record.h) that lives as long as
 * the migration is not ended on both sides, and is locked as long as a process works on it.
 *
 * The last whole line counts; what a crash has torn behind it is ignored by readers and cut off
 * before the next is written. The lock is fcntl(2)'s, of the process: it goes with it, however
 * it ends, and the kernel tells who holds it. So a journal's file must be opened only by the
 * functions below: closing any other descriptor of it would drop the lock. For the same reason a
 * process has one journal at a time.
 *
 * A directory or a file that others own or may write to is refused (ERR_FAILED), as is a file
 * that is a symbolic link; the directory may be one.
 *
 * While it is written NULs are behind the last line, as room that is on disk already; no line of
 * ours has a NUL in it. They go when it is closed.
 *
 * Directory: $STATE_DIRECTORY (systemd.exec(5)), the first of several; else /var/lib/vmferry for
 * root; else $XDG_STATE_HOME/vmferry, by default ~/.local/state/vmferry.
 */
#ifndef VMFERRY_JOURNAL_JOURNAL_H
#define VMFERRY_JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "journal/record.h"

struct journal;

/* The directory's path; the caller's to free. NULL with @err when there is none to be had (no
 * home directory, or STATE_DIRECTORY is no absolute path). It need not be there. */
char *journal_directory(struct err *err);

/* Holds the directory, made if it is missing (mode 0700, with its parents), for ourselves until
 * journal_unlock_directory(): between looking for another journal of the same guest and the
 * making of ours nobody else gets in. Waits for its turn, @timeout_ms at most. Returns a
 * descriptor, or -1: ERR_TIMEOUT, or ERR_FAILED. */
int journal_lock_directory(const char *directory, int timeout_ms, struct err *err);
void journal_unlock_directory(int fd);

/* Makes DIRECTORY/ID.journal, mode 0600, exclusively, and locks it, with @record (its id names
 * the file) as its first line, on disk with its name when this returns. NULL on error, and then
 * nothing is left. */
struct journal *journal_create(const char *directory, const struct record *record, struct err *err);

/* Opens and locks one that is there, and reads its last record into @record. NULL on error:
 * ERR_REFUSED when another process holds it, with *@holder its pid (else 0), or -1 when that
 * cannot be told (another pid namespace); ERR_CLOSED when it has gone, or its migration has
 * ended; ERR_FAILED when it has not one whole record, or the last whole line is no record of
 * ours. */
struct journal *journal_open(const char *path, struct record *record, pid_t *holder,
			     struct err *err);

/* Appends @record. @durable: on disk when this returns (fdatasync); else the kernel has it,
 * which outlives us but not the host. On error the last record is the one before. */
int journal_append(struct journal *journal, const struct record *record, bool durable,
		   struct err *err);

/* Appends @record, durable, whose state is RECORD_ENDED, and removes the file. */
int journal_end(struct journal *journal, const struct record *record, struct err *err);

const char *journal_path(const struct journal *journal);

/* Unlocks; the file stays. NULL is accepted. */
void journal_close(struct journal *journal);

/* --- looking, without taking the lock --- */

/* One journal as it was found. */
struct journal_entry {
	char *path;
	pid_t holder;         /* the process that works on it, -1: there is one, but it cannot be
				 seen from here; 0: none, it is abandoned */
	struct record record; /* the last one */
	bool readable;        /* else `error` tells why there is no record */
	char error[256];
};

struct journal_list {
	struct journal_entry *list;
	size_t count;
};

/* Reads all journals of @directory but @own (which this process has locked; may be NULL),
 * oldest first, and those without a record behind them. A directory that is not there has none.
 * Those that have ended, or went meanwhile, are left out; one that has ended, and whose process
 * died before it removed it, is removed. */
int journal_list(const char *directory, const struct journal *own, struct journal_list *list,
		 struct err *err);
void journal_list_deinit(struct journal_list *list);

/* Sends @signal_number to the process that holds the journal @path, and waits, @timeout_ms at
 * most, for the lock to be free. Fills @last with the last record then, which tells the outcome,
 * though the file may have been removed meanwhile (it is held open). -1: ERR_REFUSED when nobody
 * holds it; ERR_CLOSED when it has gone; ERR_TIMEOUT; ERR_FAILED. Not for our own. Other processes
 * that get the same pid meanwhile are never signalled (pidfd_open(2), and the lock asked for
 * again). Blocks. */
int journal_signal_holder(const char *path, int signal_number, int timeout_ms, struct record *last,
			  struct err *err);

#endif
