/* Mirrors whose connections were lost go on where they were, on new ones, while the guest runs.
 *
 * QEMU's NBD client waits for nothing here (no reconnect-delay; see qmp_target): a request on a
 * connection that is lost fails, which stops the mirror (on-target-error=stop) and starts another
 * connection, in the background. So a mirror that was stopped is resumed, again and again, until
 * it goes on. One that has nothing to copy has no requests; it would learn of its loss by the
 * guest's next write, or by its last flush, which is too late: it is put on another connection.
 */
#ifndef VMFERRY_MIGRATE_REJOIN_H
#define VMFERRY_MIGRATE_REJOIN_H

#include "migrate/migration.h"

/* Connections are lost: of each disk, for all we know. */
void rejoin_begin(struct migration *m);

struct rejoined {
	bool any_stopped;    /* one was, and was told to go on */
	bool all;            /* each has gone on since rejoin_begin(), and none is stopped */
	bool caught_up;      /* next to nothing is left to be copied, or it gets no less */
	uint64_t done_bytes; /* what all have copied */
	uint64_t left_bytes; /* to be copied */
};

/* To be called again and again until all have rejoined: @now. -1 also when a mirror does not go on
 * though its connection stands: it is something else that stops it. */
int rejoin_mirrors(struct migration *m, struct rejoined *now, struct err *err);

#endif
