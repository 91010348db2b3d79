#ifndef VMFERRY_MIGRATE_NBD_H
#define VMFERRY_MIGRATE_NBD_H

#include "migrate/migration.h"

/* Starts the NBD server over there on the first free port from @low to the last of --ports: *@port;
 * 0 with an error when none is free. */
int start_serving(struct migration *m, int low, int *port, struct err *err);

/* How the source's QEMU reaches @disk's export. Strings are borrowed. */
void target_of(struct migration *m, const struct disk *disk, struct qmp_target *target);

/* Whether the source's QEMU has to connect by itself. */
bool source_connects(struct migration *m);

/* drive-mirror opens its target itself; blockdev-mirror wants a node for it. */
bool uses_drive_mirror(const struct migration *m);

#endif
