/* The connection to the destination's QEMU, lost while the disks are copied: the copy goes on in
 * the two QEMUs, so it is opened again (--reconnect). */
#ifndef VMFERRY_MIGRATE_REOPEN_H
#define VMFERRY_MIGRATE_REOPEN_H

#include "migrate/migration.h"

/* Whether it is lost, and nothing was begun that would not wait for it. */
bool reopen_may_help(const struct migration *m);

/* Opens it again, and sees that it is the QEMU that it was: on a host that was not rebooted since,
 * which would have lost what its disks had not written yet, and with our exports. Tries for as
 * long as --reconnect allows. */
int reopen_destination(struct migration *m, struct err *err);

#endif
