/* Between a migration and the cookie that one phase hands to the next, on the other host. All
 * that a later process needs to go on, or to take back, is in it: no phase keeps anything on
 * its host but what it has made there. */
#ifndef VMFERRY_MIGRATE_HANDOVER_H
#define VMFERRY_MIGRATE_HANDOVER_H

#include "migrate/migration.h"

/* The note (qmp_note_leave()) in a destination's QEMU whose finish has failed: from then on the
 * source may take the guest back, and that QEMU must never run it, whoever tries again. */
#define HANDOVER_FAILED_NOTE "vmferry-failed"

/* The note in the source's QEMU of the perform that is under way, or has handed its guest over:
 * confirm ends, or runs, only what its own cookie's move has stopped. */
void handover_note_of(const struct migration *m, char *note, size_t size);

/* What m->phase gives to the next one. @failure: why it failed, NULL when it did not. */
void handover_write(const struct migration *m, const struct err *failure, struct cookie *cookie);

/* Draws m->id, for a new migration. */
void handover_new_id(struct migration *m);

/* Takes in m->cookie, before anything is looked at. ERR_REFUSED when it is not from the phase
 * before m->phase. */
int handover_read(struct migration *m, struct err *err);

/* Chooses the disks by the cookie: prepare's from what it tells of them, perform's from the
 * source's own drives, which must be those. What does not fit goes to m->problems. */
void handover_choose_disks(struct migration *m);

/* Objects when the QEMU that was looked at is another guest's than the cookie's. */
void handover_check_guest(struct migration *m, const struct qmp_identity *guest, const char *who);

/* Objects, in finish, when the QEMU over here is not the very process that prepare saw. */
void handover_check_process(struct migration *m);

/* Marks what an earlier process of this side has begun by the cookie, so that it can be taken
 * back here: prepare's by finish, perform's by confirm. */
void handover_begun(struct migration *m);

#endif
