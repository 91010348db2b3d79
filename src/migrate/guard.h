/* A guard over there: a shell that starts the destination's QEMU and holds on to it. When the
 * connection ends before guard_release(), or nothing of us is heard for long - vmferry died, the
 * network went - it ends that QEMU and removes the files that were made for it, by itself.
 * Afterwards the QEMU lives on whatever happens to vmferry. Nothing but a POSIX shell on Linux is
 * needed for it (and setsid(1), if it is there).
 */
#ifndef VMFERRY_MIGRATE_GUARD_H
#define VMFERRY_MIGRATE_GUARD_H

#include "migrate/host.h"

struct guard;

struct guard_patience {
	int64_t answer_ms; /* ours with it */
	int silence_s;     /* its own with us, when it hears nothing; 1 at least */
};

/* What a guard waits for us. Our signs of life come from the loop, which nothing keeps from
 * running for more than a fraction of this but the name service, when a connection is made anew,
 * and then this one is lost already. Who stops vmferry for longer loses the destination. */
#define GUARD_SILENCE_S 60

/* Starts one that knows these @files, which it removes only after guard_made(). NULL with
 * @err. @host must live as long. */
struct guard *guard_start(struct loop *loop, struct host *host, char *const *files, size_t count,
			  const struct guard_patience *patience, struct err *err);

/* File @index was made: from now on it is the guard's to remove. */
int guard_made(struct guard *guard, size_t index, struct err *err);

/* @directory, which key_directory_make() is about to make, is the guard's to remove, also when it
 * goes. */
int guard_keys(struct guard *guard, const char *directory, struct err *err);

/* Starts the program @argv (NULL at its end) with these settings of the environment ("A=b",
 * NULL at the end), in directory @cwd. What it writes to stderr is kept for words. Returns when
 * it has been started, which says nothing of how it fares. */
int guard_run(struct guard *guard, const char *cwd, const char *const *environment,
	      const char *const *argv, struct err *err);

/* Whether that program has ended, and why, by its own words: the first error that it told and
 * what it said after that, "qemu-system-x86_64: ...; ...", or its last line. */
bool guard_program_ended(const struct guard *guard);
const char *guard_last_words(const struct guard *guard);

/* Whether the connection to it stands. */
bool guard_is_there(const struct guard *guard);

/* Lets the program and the files live, whatever becomes of us; returns when the guard has said
 * so. What the program writes is not heard any more. guard_undo() can still be told. */
int guard_release(struct guard *guard, int64_t timeout_ms, struct err *err);

/* Has it end the program and remove the files now; returns when it has. */
int guard_undo(struct guard *guard, int64_t timeout_ms, struct err *err);

/* After guard_release(): it goes, and nothing of it is left over there when this returns. */
int guard_leave(struct guard *guard, int64_t timeout_ms, struct err *err);

/* Ends the connection, with what that entails. NULL is accepted. */
void guard_close(struct guard *guard);

#endif
