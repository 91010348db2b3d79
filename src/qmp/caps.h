/* What this QEMU can: asked of it, never concluded from its version. The one place
 * where QEMU's differences are named; whoever acts asks qmp_can().
 *
 * query-qmp-schema is not asked: to make its answer QEMU holds its big lock, and the guest
 * stands still, for 37 ms (7.2, seen; more than a whole switchover takes). What it would
 * tell is told by commands that came in the same version.
 */
#ifndef VMFERRY_QMP_CAPS_H
#define VMFERRY_QMP_CAPS_H

#include <stdbool.h>

#include "qmp/qmp.h"

enum qmp_cap {
	/* commands (query-commands) */
	QMP_BLOCK_EXPORT_ADD, /* 5.2 */
	QMP_NBD_SERVER_ADD,   /* 1.3 */
	QMP_NBD_SERVER_START, /* 1.3 */
	QMP_NBD_SERVER_STOP,  /* 1.3 */
	QMP_BLOCKDEV_MIRROR,  /* 2.6 */
	QMP_DRIVE_MIRROR,     /* 1.3 */
	QMP_BLOCKDEV_ADD,     /* 2.9 */
	QMP_BLOCK_JOB_CHANGE, /* 8.2 */
	QMP_JOB_DISMISS,      /* 2.12, and with it auto-dismiss of the mirrors */
	QMP_BLOCK_RESIZE,     /* 0.14 */
	QMP_MIGRATE_INCOMING, /* 2.4 */
	QMP_MIGRATE_CONTINUE, /* 2.11 */
	QMP_QUERY_EXPORTS,    /* 5.2 */
	QMP_SET_ACTIVE,       /* 10.0 */
	QMP_YANK,             /* 6.0 */
	QMP_REOPEN,           /* 6.1 */
	/* migration capabilities (query-migrate-capabilities) */
	QMP_MIG_EVENTS,        /* 2.4 */
	QMP_MIG_PAUSE,         /* pause-before-switchover, 2.11 */
	QMP_MIG_LATE_ACTIVATE, /* late-block-activate, 3.0 */
	QMP_MIG_RETURN_PATH,   /* 2.5 */
	QMP_MIG_BLOCK,         /* block: disks in the stream (`migrate` blk, inc); 2.10 to 9.0 */
	QMP_CAP_COUNT,
};

struct qmp_caps {
	bool can[QMP_CAP_COUNT];
};

/* Asks QEMU. */
int qmp_caps_query(struct qmp *qmp, struct qmp_caps *caps, struct err *err);

static inline bool qmp_can(const struct qmp_caps *caps, enum qmp_cap cap)
{
	return caps->can[cap];
}

/* The command or capability by which QEMU knows it. */
const char *qmp_cap_name(enum qmp_cap cap);

#endif
