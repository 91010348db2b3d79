/* --clone: what has changed in the source since its start, written into its command line before
 * the destination's is made out of that. What runs counts, not what was typed. */
#ifndef VMFERRY_MIGRATE_CLONE_CHANGES_H
#define VMFERRY_MIGRATE_CLONE_CHANGES_H

#include "migrate/clone_line.h"
#include "migrate/migration.h"
#include "qmp/plugged.h"

/* The source's command line as it would have to be today, NULL at its end; each argument and the
 * list are the caller's to free. What is written into it is told in m->repairs, what cannot be is
 * objected to. NULL when the source could not be asked (that is objected to, too). */
char **clone_changed_argv(struct migration *m);

/* --- for its parts --- */

struct changing {
	struct migration *m;
	struct clone_line line;
	struct qmp_changes changes;
};

/* Objects: "@what: @why". */
void changing_refuse(struct changing *c, const char *what, const char *why);

/* clone_devices.c: takes out what was unplugged, and puts in what was plugged. */
int clone_change_devices(struct changing *c, struct err *err);

/* clone_images.c: the images and media that are not the ones of the start. */
void clone_change_images(struct changing *c);

/* clone_backends.c: the options for a backend of the plugged @device. False when it was objected
 * to. @name: what the device calls it; replaced where that cannot be a name on a command line. */
bool clone_add_drive(struct changing *c, const struct qmp_plugged *device, char **name);
bool clone_add_netdev(struct changing *c, const struct qmp_plugged *device, const char *name);
bool clone_add_object(struct changing *c, const struct qmp_plugged *device, const char *name);

/* A node for what is in @drive, as -blockdev has it. Caller frees. */
char *clone_node(const struct changing *c, const struct qmp_drive *drive, const char *name);

/* Whether QEMU takes @name as one given by a user. */
bool clone_is_given_name(const char *name);

/* Whether the image can be opened by its format and its file alone; what is against it. */
const char *clone_why_no_image(const struct qmp_drive *drive);

#endif
