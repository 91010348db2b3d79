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

/* --clone: what the destination's command line will be; and whether all that it needs is there.
 * Objects to what cannot be repeated. */
void look_at_clone(struct migration *m);
void look_at_clone_over_there(struct migration *m);

/* --clone: objects to a display of the source's that nobody has over there; tells that its terminal
 * is not there either. */
void look_at_console(struct migration *m);

/* --clone: tells that the guest has its host's own CPU, and the other host's is another. */
void look_at_cpu(struct migration *m);

/* Objects to a disk whose image the source's QEMU has open, but may not open again. */
void look_at_access(struct migration *m);

/* Whether both sides are surely one host. */
bool look_is_same_host(struct migration *m);

/* Keeps what tells whether the destination's storage is the same, for begin's cookie. */
void look_at_storage(struct migration *m, struct disk *disk);

/* 1 when a path of the source's host (as this process opens it) and one of the destination's are
 * one file or device, 0 when not, -1 when that cannot be seen. */
int look_same_storage(struct migration *m, const char *src, const char *dst, struct err *err);

/* --incremental: objects to a disk of the source without a backing image. */
void look_for_backing(struct migration *m, struct disk *disk);

/* Objects to an image that is not there and would have to be one with a backing image. */
void look_for_overlay(struct migration *m, const struct disk *disk);

/* Objects to an image over there into which only the top image's data cannot go. */
void look_at_overlay(struct migration *m, const struct disk *disk);

/* Compares the backing images' contents, which may take hours, if nothing was objected to so
 * far. By hand begin's are kept for the cookie, and prepare's compared with that. -1 only when
 * interrupted. */
int look_at_backing(struct migration *m, struct err *err);

/* A file that the QEMU of that side names, as an absolute path, if its working directory can be
 * seen; the destination's is NULL, and said, if not. The source's is such that this process can
 * open it. Caller frees. */
char *look_src_path(const struct migration *m, const char *file);
char *look_dst_path(struct migration *m, const struct disk *disk, const char *file);

/* A path of the source's QEMU as this process can open it. Caller frees. */
char *source_path(const struct migration *m, const char *path);

#endif
