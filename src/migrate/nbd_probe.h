/* Whether an NBD server answers, asked as a client would and without using anything of it. */
#ifndef VMFERRY_MIGRATE_NBD_PROBE_H
#define VMFERRY_MIGRATE_NBD_PROBE_H

#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"

/* Connects to numeric @address:@port, takes the server's greeting and says goodbye
 * (NBD_OPT_ABORT), so that the server has nothing to complain of. ERR_TIMEOUT when nothing
 * answers, as behind a firewall that swallows. */
int nbd_probe(struct loop *loop, const char *address, int port, int64_t timeout_ms,
	      struct err *err);

/* The same over a connection @fd, which is closed. */
int nbd_probe_connected(struct loop *loop, int fd, int64_t timeout_ms, struct err *err);

#endif
