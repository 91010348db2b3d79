/* What is shown while a guest is moved, and never holds it up.
 *
 * A terminal stopped with Ctrl-S, a pager nobody scrolls, a `| tee` on a disk that hangs:
 * whoever writes to them with stdio stands still until they go on, perhaps with the guest
 * stopped in the switchover. Here a line is queued, and written as far as the descriptor
 * takes it at once; the rest is tried again with the next line and from the loop.
 */
#ifndef VMFERRY_CLI_OUT_H
#define VMFERRY_CLI_OUT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"
#include "base/str.h"

/* What is queued at most before lines of OUT_CHATTER are dropped. */
#define OUT_QUEUE_MAX_BYTES (8u << 20)

enum out_kind {
	OUT_MESSAGE, /* never dropped while somebody may still read it */
	OUT_CHATTER, /* progress, QMP lines: the oldest go when the queue is full */
};

struct out;

/* Shows things on @fd, which stays the caller's and keeps its flags. @loop is where what
 * could not be written is tried again; NULL: only with the next line. @tell_lost makes the
 * line that says how many lines of chatter were dropped. Blocks SIGTTOU. */
struct out *out_new(struct loop *loop, int fd, void (*tell_lost)(struct buf *line, size_t count));

/* Writes or queues @line, which ends in a newline. Never waits. */
void out_add(struct out *out, enum out_kind kind, const char *line);

/* What stands below all lines of a terminal from now on, @count lines, in place of what
 * stood there; NULL and 0: nothing. Of several that the terminal could not take only the last
 * is written. Never waits. */
void out_set_foot(struct out *out, const char *text, size_t count);

/* For when no guest can be held up any more: waits until all is written, @timeout_ms at
 * most. True when it is; also when nobody can read it any more. */
bool out_finish(struct out *out, int timeout_ms);

/* What is not written yet is dropped. Before loop_free(); NULL is accepted. */
void out_free(struct out *out);

#endif
