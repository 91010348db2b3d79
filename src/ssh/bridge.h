/* A stream made into a descriptor, for what wants one: a second SSH session inside the first. */
#ifndef VMFERRY_SSH_BRIDGE_H
#define VMFERRY_SSH_BRIDGE_H

#include "base/err.h"
#include "base/loop.h"
#include "base/stream.h"

struct bridge;

/* Takes @stream over and carries its bytes to and from @fd, a non-blocking socket that becomes the
 * caller's. The end of either is the end of the other. NULL with @err; @stream is closed then. */
struct bridge *bridge_new(struct loop *loop, struct stream *stream, int *fd, struct err *err);

/* Why the stream has ended; NULL: it has not. */
const char *bridge_reason(const struct bridge *bridge);

/* Closes the stream. NULL is accepted. */
void bridge_free(struct bridge *bridge);

#endif
