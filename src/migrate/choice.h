/* What somebody who has looked can choose from, where `recover` must not choose: two commands for a
 * shell, each with what speaks for it. */
#ifndef VMFERRY_MIGRATE_CHOICE_H
#define VMFERRY_MIGRATE_CHOICE_H

#include "migrate/recover.h"

/* Adds to m->choices the two that go with what was @found, or nothing where no command would
 * settle anything. @dst_holds: the destination's QEMU has taken all of the guest in. */
void choice_offer(struct migration *m, const struct found *found, bool dst_holds);

#endif
