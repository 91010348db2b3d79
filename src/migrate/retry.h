/* --retries: a QEMU over there that dies while RAM is sent is started again (--start, --clone),
 * and what has been copied is not copied once more. Its rows of the table are done again, those
 * marked so; the mirrors, which the lost connections have stopped and not ended, go on (row
 * rejoin); RAM is sent from its beginning. Meanwhile the guest runs on the source, whose writes
 * wait for nothing.
 *
 * What the dead QEMU had acknowledged is in its files: its host has it, for it was not rebooted,
 * and an image in raw format is nothing but its file. Another format keeps tables in memory, which
 * die with their QEMU. What it was still writing has ended by then, or a lock on the image is in
 * the way of the next one.
 */
#ifndef VMFERRY_MIGRATE_RETRY_H
#define VMFERRY_MIGRATE_RETRY_H

#include "migrate/migration.h"

/* To be called before the mirrors are made: decides whether they are to be such that it can be
 * done (m->may_retry); says why not, if it was asked for. */
void retry_choose(struct migration *m);

/* @step has failed (@err). 0 when that was the death of the destination's QEMU, and the rows that
 * are marked so are to be done again (m->retrying); what that QEMU had of RAM has been taken back.
 * Else -1, and @err is as it was, or says what has failed in addition. */
int retry_after(struct migration *m, const struct step *step, struct err *err);

/* For a QEMU that was started again, before anything of it is used: -1 when an image is not as the
 * one before has left it. What has been copied is not copied again, so whoever makes images anew
 * in the command of --start, as before the first start, would take it away unseen. */
int retry_accept(struct migration *m, struct err *err);

#endif
