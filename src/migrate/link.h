/* The connections of the disks, which the source's QEMU has to the NBD server and of which we
 * have copies: whether they stand, and the ways to make them faster and to end them.
 *
 * While the disks are copied, one that is lost is made anew, and the copy goes on where it was (see
 * rejoin.h). That it is lost is said, and it is given up when it takes longer than the user allows
 * (--reconnect). Later what is lost is lost: the guest may stand still by then. So it is from the
 * beginning where QEMU cannot be given another connection (before 6.1), where the one over there
 * would not bear the loss (look_at_iothread()), or where we may not have copies of QEMU's sockets
 * (see tcp_connections_of()). Of what goes through --encrypt=ssh there are none, and need not be.
 *
 * What a lost connection had under way is sent again on the next one. Nothing of it may arrive
 * after that, when the same place may have been written anew: so one is never ended in a way that
 * leaves the kernel to send the rest (tcp_disconnect()). What the server has taken in by then it
 * has begun earlier, on the same queue of the same file, and writes the same.
 */
#ifndef VMFERRY_MIGRATE_LINK_H
#define VMFERRY_MIGRATE_LINK_H

#include "migrate/migration.h"

/* Whether we can have copies of the sockets of the source's QEMU: it is the process behind the
 * monitor (no relay), and we may (ptrace(2)). Seen by giving it one. */
bool link_can_be_seen(struct migration *m);

/* To be called before the first connection is opened; then each that QEMU opens is found. */
void link_expect(struct migration *m);

/* QEMU has not taken @disk's connection, and has closed it: our copy would keep it open, and an NBD
 * server that is to end waits for a client that is still negotiating (7.2). */
void link_forget(struct migration *m, struct disk *disk);

/* All are there, or ought to be: from now on, and until link_settle(), they are watched. */
void link_watch(struct migration *m);

/* What is lost from now on is not waited for. */
void link_settle(struct migration *m);

/* Finds the connections, in a later process than the one that has watched them. Without them the
 * move goes on, but on a network that dies silently QEMU waits as long as TCP does. */
void link_adopt(struct migration *m);

/* Does what is to be done for lost ones to come back, if any are; to be called now and then. */
int link_mend(struct migration *m, struct err *err);

/* Whether one of them is lost, or silent, now; and whether none is, the mirrors go on, and what the
 * guest wrote meanwhile has been copied. */
bool link_is_lost(const struct migration *m);
bool link_is_well(const struct migration *m);

/* Whether all of them are there; and whether some may not be (through a tunnel that is not seen),
 * while the others answer. */
bool link_stands(struct migration *m);
bool link_lacks_some(struct migration *m);

/* Whether a lost one was waited for in vain. */
bool link_has_failed(const struct migration *m, struct err *err);

/* Ends them when nobody needs them any more. */
void link_end(struct migration *m);

/* Ends the connections for good: whoever waits for an answer on one, or for its return, gets an
 * error at once, and one that stands is not made anew. So do the flushes of a node that is closed,
 * by blockdev-del or at the end of its QEMU. An SSH session that they go through ends, RAM's with
 * it. Waits for the source's monitor, a second at most: one that is silent is hung up on all the
 * same. */
void link_hang_up(struct migration *m);

/* Closes our copies; QEMU's own connections stay. */
void link_close(struct migration *m);

#endif
