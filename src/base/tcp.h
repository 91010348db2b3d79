/* Whether a TCP port can be reached. */
#ifndef VMFERRY_BASE_TCP_H
#define VMFERRY_BASE_TCP_H

#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"

/* Connects to a numeric @address and closes again. ERR_TIMEOUT when nothing answers, as
 * behind a firewall that swallows. */
int tcp_probe(struct loop *loop, const char *address, int port, int64_t timeout_ms,
	      struct err *err);

#endif
