/* To end another's work. The pid that the kernel tells with the lock may be another process's by
 * the time it is used; so a pidfd is made of it first, and the lock is asked for again: when the
 * same pid still has it, the pidfd is either of that process or of one that has ended, which can
 * be sent nothing. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/str.h"
#include "journal/journal.h"
#include "journal/journal_file.h"

/* Until the lock is asked for again: its end is an event only when the process ends with it. */
#define AGAIN_MS 20

static int64_t left_ms(int64_t deadline_ms)
{
	int64_t left = deadline_ms - loop_now_ms();

	return left > 0 ? left : 0;
}

static int refuse_holder(pid_t holder, struct err *err)
{
	if (!holder)
		return err_set(err, ERR_REFUSED, "no process works on it");
	if (holder == JOURNAL_FILE_UNSEEN)
		return err_set(err, ERR_FAILED,
			       "a process that cannot be seen from here works on it");
	return 0;
}

/* *@sent: else the holder has gone, and there may be another. */
static int signal_process(int fd, pid_t holder, int signal_number, int pidfd, bool *sent,
			  struct err *err)
{
	pid_t now;

	*sent = false;
	if (journal_file_holder(fd, &now, err) < 0)
		return -1;
	if (now != holder)
		return 0;
	if (syscall(SYS_pidfd_send_signal, pidfd, signal_number, NULL, 0) == 0)
		*sent = true;
	else if (errno != ESRCH)
		return err_errno(err, errno, "signal process %d", (int)holder);
	return 0;
}

/* Finds the holder, and signals it. Its descriptor is the caller's to close. */
static int signal_lock(int fd, int signal_number, int64_t deadline_ms, pid_t *holder,
		       struct err *err)
{
	for (bool sent = false;;) {
		_cleanup_fd_ int pidfd = -1;

		if (journal_file_holder(fd, holder, err) < 0 || refuse_holder(*holder, err) < 0)
			return -1;
		pidfd = (int)syscall(SYS_pidfd_open, *holder, 0);
		if (pidfd < 0 && errno != ESRCH)
			return err_errno(err, errno, "process %d", (int)*holder);
		if (pidfd >= 0 && signal_process(fd, *holder, signal_number, pidfd, &sent, err) < 0)
			return -1;
		if (sent)
			return journal_file_take(&pidfd);
		if (!left_ms(deadline_ms))
			return err_set(err, ERR_TIMEOUT, "its process changes all the time");
	}
}

/* Until the lock is no longer @holder's, which it is not when that process has ended. */
static int await_release(int fd, pid_t holder, int pidfd, int64_t deadline_ms, struct err *err)
{
	for (;;) {
		struct pollfd ended = {.fd = pidfd, .events = POLLIN};
		int64_t wait_ms = left_ms(deadline_ms);
		pid_t now;

		if (journal_file_holder(fd, &now, err) < 0)
			return -1;
		if (now != holder)
			return 0;
		if (!wait_ms)
			return err_set(err, ERR_TIMEOUT, "process %d still works on it",
				       (int)holder);
		if (poll(&ended, 1, (int)(wait_ms < AGAIN_MS ? wait_ms : AGAIN_MS)) > 0)
			return 0;
	}
}

static int end_holder(int fd, int signal_number, int timeout_ms, struct record *last,
		      struct err *err)
{
	int64_t deadline_ms = loop_now_ms() + timeout_ms;
	_cleanup_fd_ int pidfd = -1;
	pid_t holder;
	off_t end;

	pidfd = signal_lock(fd, signal_number, deadline_ms, &holder, err);
	if (pidfd < 0 || await_release(fd, holder, pidfd, deadline_ms, err) < 0)
		return -1;
	return journal_file_read(fd, last, &end, err);
}

int journal_signal_holder(const char *path, int signal_number, int timeout_ms, struct record *last,
			  struct err *err)
{
	_autofree_ char *directory = str_directory(path);
	const char *slash = strrchr(path, '/');
	_cleanup_fd_ int directory_fd = journal_file_open_directory(directory, err);
	_cleanup_fd_ int fd = -1;

	*last = (struct record){0};
	if (directory_fd < 0)
		return err_wrap(err, "%s", directory);
	fd = journal_file_open(directory_fd, slash ? slash + 1 : path, err);
	if (fd < 0 || end_holder(fd, signal_number, timeout_ms, last, err) < 0)
		return err_wrap(err, "%s", path);
	return 0;
}
