#ifndef VMFERRY_MIGRATE_NBD_H
#define VMFERRY_MIGRATE_NBD_H

#include "migrate/migration.h"

/* How the source's QEMU reaches @disk's export. Strings are borrowed. */
void target_of(struct migration *m, const struct disk *disk, struct qmp_target *target);

/* Whether the source's QEMU has to connect by itself. */
bool source_connects(struct migration *m);

/* drive-mirror opens its target itself; blockdev-mirror wants a node for it. */
bool uses_drive_mirror(const struct migration *m);

/* Gets, in a later process, copies of the connections that the source's QEMU has to the
 * destination, where it may (tcp_connections_of()). Without them the move goes on, but on a
 * network that dies silently QEMU waits as long as TCP does. */
void adopt_connections(struct migration *m);

/* Shuts the connections to the NBD server down, QEMU's own ends included: whoever waits for an
 * answer on one gets an error. */
void shut_down_disks(struct migration *m);

/* Closes our copies of the connections to the NBD server; QEMU's own stay. */
void disconnect_disks(struct migration *m);

#endif
