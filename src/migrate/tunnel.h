/* --encrypt=ssh: disks and RAM go through an SSH session of their own (ssh/forward.h), and no port
 * is opened anywhere. Over there the NBD server and the migration listen on Unix sockets in a
 * directory that only that QEMU's user may enter; here whoever connects to their counterparts, in
 * a directory of ours, gets there. We connect, and hand the connections to the source's QEMU; but
 * where those of the disks are to be made anew when they are lost, that QEMU connects itself.
 *
 * The session ends with us. One that is lost while the disks are copied is opened again, and its
 * sockets are where they were.
 */
#ifndef VMFERRY_MIGRATE_TUNNEL_H
#define VMFERRY_MIGRATE_TUNNEL_H

#include "migrate/migration.h"

bool tunnel_is_used(const struct migration *m);

/* While the destination's QEMU is looked at: objects where its sockets would be out of reach of
 * the login. */
void tunnel_look(struct migration *m);

/* Starts the NBD server on its socket, as step_serve. */
int tunnel_serve(struct migration *m, int64_t timeout_ms, struct err *err);

/* Lets the destination wait for RAM on its socket, as step_listen. */
int tunnel_listen(struct migration *m, int64_t timeout_ms, struct err *err);

/* A connection to the NBD server, whose greeting has come and was not read; to where RAM is waited
 * for. The caller's to close; -1 with @err. */
int tunnel_connect_nbd(struct migration *m, int64_t timeout_ms, struct err *err);
int tunnel_connect_ram(struct migration *m, struct err *err);

/* Lets the source's QEMU, whosever it is, connect to the disks' socket here: m->link.path. */
int tunnel_let_source_in(struct migration *m, struct err *err);

/* Whether the session is there. */
bool tunnel_stands(const struct migration *m);

/* Opens it again when it has ended, by the login of the monitors, which are connected. */
int tunnel_reopen(struct migration *m, struct err *err);

/* Ends the session: whoever waits for an answer through it gets an error. */
void tunnel_hang_up(struct migration *m);

/* Whether the session has ended while it is needed. */
bool tunnel_has_failed(const struct migration *m, struct err *err);

#endif
