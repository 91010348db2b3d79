/* What is looked at before anything changes: each function adds its objections to
 * m->problems and goes on, so that the user gets all of them at once. -1 only when vmferry
 * cannot go on looking at all (interrupted). */
#ifndef VMFERRY_MIGRATE_LOOK_H
#define VMFERRY_MIGRATE_LOOK_H

#include "migrate/migration.h"

/* The source: its monitor, state, jobs, abilities; chooses the disks. */
int look_at_source(struct migration *m, struct err *err);

/* The destination's host: SSH, files, free space, and whether anything listens where the
 * monitor is to be. */
int look_at_host(struct migration *m, struct err *err);

/* The destination's QEMU, if it is there already or was started by now: state, abilities,
 * its disks against ours. */
int look_at_destination(struct migration *m, struct err *err);

/* By hand, for finish and confirm: what must be as the cookie says before they act. */
int look_at_the_end(struct migration *m, struct err *err);

/* Objects when the destination's QEMU waits for another guest. */
void look_at_identity(struct migration *m);

/* Migration capabilities and parameters of one side that do not go with ours. */
void look_at_migration_settings(struct migration *m, struct side *side);

/* Objects when the destination's QEMU is another machine than the source's. False when it is of
 * another type altogether: then its devices need no look. */
bool look_at_machine(struct migration *m);

/* Objects to each device that the destination's QEMU lacks, has too many, or has as another or
 * elsewhere. It needs both monitors, so by hand it is not looked at. */
void look_at_devices(struct migration *m);

/* Objects to a medium or a read-only image of one side alone, or of another size. */
void look_at_media(struct migration *m);

/* Decides how the disks go over, by what is known of the two QEMUs so far; objects when there is
 * no way at all. */
void choose_method(struct migration *m);

/* Whether the source's QEMU can wait in pre-switchover; and, where it has mirrors and cannot,
 * that the guest is stopped and the mirrors ended before its RAM is sent. */
bool can_pause(const struct migration *m);
bool stops_first(const struct migration *m);

/* Whether what is known speaks for the old way. */
bool can_stream(const struct migration *m);

/* Objects when both sides of @disk are the same file of the same host: the mirror would
 * write into its own source. */
void look_for_same_file(struct migration *m, struct disk *disk);

/* Objects when a file system over there has less room than our disks will take. */
void look_at_space(struct migration *m);

/* Whether both sides are surely one host. */
bool look_is_same_host(struct migration *m);

/* Keeps what tells whether the destination's storage is the same, for begin's cookie. */
void look_at_storage(struct migration *m, struct disk *disk);

/* A path of the source's QEMU as this process can open it. Caller frees. */
char *source_path(const struct migration *m, const char *path);

#endif
