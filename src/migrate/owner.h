/* Who owns the files that are made over there. */
#ifndef VMFERRY_MIGRATE_OWNER_H
#define VMFERRY_MIGRATE_OWNER_H

#include "migrate/migration.h"

/* Gives @file, which was made over there, to whom the source's belongs: @uid and @gid, of this
 * host. Not where they are not known, where the login may not, and where it goes to the user of
 * the QEMU that is started there; 0 then, too, with a note where root itself may not. */
int owner_give(struct migration *m, struct host_file *file, uint32_t uid, uint32_t gid,
	       struct err *err);

#endif
