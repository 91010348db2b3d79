#ifndef VMFERRY_MIGRATE_NBD_H
#define VMFERRY_MIGRATE_NBD_H

#include "migrate/migration.h"

/* How the source's QEMU reaches @disk's export. Strings are borrowed. */
void target_of(const struct migration *m, const struct disk *disk, struct qmp_target *target);

/* drive-mirror opens its target itself; blockdev-mirror wants a node for it. */
bool uses_drive_mirror(const struct migration *m);

#endif
