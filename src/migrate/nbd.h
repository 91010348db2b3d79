#ifndef VMFERRY_MIGRATE_NBD_H
#define VMFERRY_MIGRATE_NBD_H

#include "migrate/migration.h"

/* Starts the NBD server over there on the first free port from @low to @high: *@port;
 * 0 with an error when none is free. */
int start_serving(struct migration *m, int low, int high, int *port, struct err *err);

/* Whether @err is the destination's QEMU's word that it has an NBD server already, which no command
 * tells of as long as it has no exports; then @err also says what to do. */
bool server_was_there(struct migration *m, struct err *err);

/* How the source's QEMU reaches @disk's export. Strings are borrowed. */
void target_of(struct migration *m, const struct disk *disk, struct qmp_target *target);

/* Whether the source's QEMU has to connect by itself. */
bool source_connects(struct migration *m);

/* Puts the target of @disk on a new connection of the source's QEMU to the same address, which
 * answers (nbd_reach()). Not @done: QEMU has something to flush first, through the connection that
 * is lost; with each try it comes nearer to making that one anew, in the background
 * (bdrv_reopen_prepare() of its block.c; seen on 7.2, 10.0, 11.1). */
int nbd_plug_anew(struct migration *m, struct disk *disk, bool *done, struct err *err);

/* Another process may have died in the middle of that: removes what no disk's target uses. */
void nbd_forget_left_plugs(struct migration *m);

/* Whether the NBD server answers; see nbd_probe.h. */
int nbd_reach(struct migration *m, int64_t timeout_ms, struct err *err);

/* --encrypt=ssh: ends the NBD server over there, and with it all its connections, and starts it
 * again. What an SSH session that was lost has not delivered yet - its kernel, its sshd may go on
 * for minutes - gets nowhere then. Else it might come after what the guest has written to the same
 * place since. */
int nbd_serve_anew(struct migration *m, struct err *err);

/* Waits until the NBD server can be reached, for as long as --reconnect allows; @timeout_ms
 * a try. */
int nbd_await_port(struct migration *m, int64_t timeout_ms, struct err *err);

/* drive-mirror opens its target itself; blockdev-mirror wants a node for it. */
bool uses_drive_mirror(const struct migration *m);

#endif
