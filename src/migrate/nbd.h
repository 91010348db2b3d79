#ifndef VMFERRY_MIGRATE_NBD_H
#define VMFERRY_MIGRATE_NBD_H

#include "migrate/migration.h"

/* How the source's QEMU reaches @disk's export. Strings are borrowed. */
void target_of(struct migration *m, const struct disk *disk, struct qmp_target *target);

/* Whether the source's QEMU has to connect by itself. */
bool source_connects(struct migration *m);

/* Puts the target of @disk, which was replugged before (row replug), on a new connection of the
 * source's QEMU to the same address. Not @done: QEMU has something to flush first, through the
 * connection that is lost; with each try it comes nearer to making that one anew, in the
 * background (bdrv_reopen_prepare() of its block.c). */
int nbd_plug_anew(struct migration *m, struct disk *disk, int64_t timeout_ms, bool *done,
		  struct err *err);

/* drive-mirror opens its target itself; blockdev-mirror wants a node for it. */
bool uses_drive_mirror(const struct migration *m);

#endif
