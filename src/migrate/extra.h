/* Files that the destination's QEMU needs and that are not there: with --copy-extra what does not
 * move, and the files that RAM is in. */
#ifndef VMFERRY_MIGRATE_EXTRA_H
#define VMFERRY_MIGRATE_EXTRA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/clone_argv.h"

struct migration;

struct extra {
	const struct clone_file *file; /* from where, to where; of m->clone. NULL in recover */
	uint64_t size_bytes;
	uint32_t mode;     /* permission bits of the source's file */
	uint32_t uid, gid; /* its owner and group */
	bool ram;          /* made empty: QEMU gives it its size and the guest's memory */
	bool store;        /* the guest may write to it meanwhile, and QEMU brings that */
	bool maybe_made;   /* its creation was sent, and the answer lost */
	char *made_path;   /* the file that we made over there; NULL: none */
	uint64_t made_inode, made_birth; /* of that; 0: not known */
};

struct extras {
	struct extra *list;
	size_t count;
};

/* Whether @file is of a kind that is copied: no program, no key. */
bool extras_can_copy(const struct clone_file *file);

/* With --copy-extra, for a @file that is not over there: plans its copy, or objects to it. False,
 * and nothing was done, when it is none to be copied. */
bool extras_add(struct migration *m, const struct clone_file *file);

/* Plans a file for RAM, which is not over there. */
void extras_add_ram(struct migration *m, const struct clone_file *file);

/* For a guest that stays paused: what of it is written only when it goes on. */
void extras_tell_stores(struct migration *m);

void extras_deinit(struct extras *extras);

#endif
