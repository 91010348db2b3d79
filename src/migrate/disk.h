/* The disks that move: which ones, from which path to which, and how far each is. */
#ifndef VMFERRY_MIGRATE_DISK_H
#define VMFERRY_MIGRATE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/options.h"
#include "migrate/problems.h"
#include "qmp/drives.h"

enum disk_fate {
	DISK_EXISTS, /* the file is there, its contents will be replaced */
	DISK_CREATE, /* we make it */
};

struct disk {
	char *name;                  /* what the user calls it */
	const struct qmp_drive *src; /* of the source's drives */
	char *src_path;              /* absolute; NULL when the image is no file */
	char *dst_path;              /* absolute; NULL while not known */
	bool on_command_line;        /* --clone: the source's names its image */
	const struct qmp_drive *dst; /* its counterpart; NULL until that QEMU was looked at */
	bool path_wanted;            /* by --disk NAME=PATH or --map: no other will do */
	char *dst_node;              /* node over there; NULL until its QEMU was looked at */
	bool dst_by_device;          /* it has the same -drive name */
	uint64_t dst_size;           /* bytes of that node */
	uint64_t dst_actual_size;    /* bytes its file has allocated */
	char *dst_left; /* --retries: how a QEMU that died has left it (host_file_state), or NULL */
	enum disk_fate fate;
	uint32_t mode;         /* permission bits of the source's file */
	uint32_t uid, gid;     /* its owner and group; FILE_OWNER_UNKNOWN: not known */
	uint64_t backing_size; /* --incremental: bytes of the source's backing image */
	char *backing;         /* and its digest, for the cookie; NULL: none. See look_backing.c */
	char *storage; /* what the source's storage is, see look_at_storage(); NULL: not asked */

	char job[24], target[24], nbd[24], export[64]; /* names on both QEMUs */
	char plug[24]; /* what takes nbd's place when its connection was lost; see rejoin.h */
	int nbd_fd;    /* our copy of a connection that the source's QEMU has, or -1; see link.h */
	struct loop_fd *nbd_watch; /* for its end, or NULL */
	/* The file that we make over there, see files.c. */
	bool making;         /* it may be there under its temporary name */
	uint64_t made_inode; /* of that file; 0: not known */
	uint64_t made_birth; /* the second in which its inode came to be; 0: not known */
	char *made_path;     /* it has this name, its final one; NULL: not yet, or none */
	bool passed_fd, has_target, has_plug, has_job; /* made by us in the source's QEMU */

	/* What the source's QEMU told by events. */
	bool ready;      /* in steady state */
	bool stopped;    /* by an error over there, or of the connection */
	bool ended;      /* BLOCK_JOB_COMPLETED or _CANCELLED */
	bool concluded;  /* waits for job-dismiss */
	char error[512]; /* of a mirror that ended badly */

	/* Since connections were lost, see rejoin.h. */
	bool rejoined;       /* it was told to go on, has gone on, or has a new connection */
	uint64_t done_bytes; /* when last looked at; UINT64_MAX: not yet */
	bool idle;           /* when last looked at, nothing was left to be copied */
	int vain;            /* so often it was stopped though its connection stood */
};

struct disks {
	struct disk *list;
	size_t count;
};

/* Chooses among @drives: those that --disk names, else every writable, inserted disk that
 * is no CD-ROM, floppy or pflash. What is named but unsuitable goes to @problems, what is
 * left out is told in @left_out. @cwd is the source QEMU's working directory. */
void disks_choose(struct disks *disks, const struct qmp_drives *drives, const struct options *opt,
		  const char *cwd, struct problems *problems, struct problems *left_out);

/* Adds @drive. @path: where it goes, by the user's word, or NULL: by --map, else as here. */
void disks_add(struct disks *disks, const struct qmp_drive *drive, const char *path,
	       const struct options *opt, const char *cwd);

/* What there is, for words: "vda, vdb (read-only)". Caller frees. */
char *disks_list(const struct qmp_drives *drives);

/* The longest of @maps (as options.h has them) that @path is under, applied, with *@mapped
 * set; else a copy of @path. Caller frees. */
char *disk_map_path(const char *path, const char *const *maps, bool *mapped);

/* @path seen from QEMU's working directory; a copy where that is not known (NULL). NULL gives
 * NULL. Caller frees. */
char *disk_absolute_path(const char *path, const char *cwd);

/* Names the exports after the move @id: an export of another move, or of somebody else, can never
 * be taken for one of these, not even by a QEMU that connects anew by itself. */
void disks_name_exports(struct disks *disks, const char *id);

void disks_deinit(struct disks *disks);

/* The disk whose job is @job, or NULL. */
struct disk *disks_of_job(struct disks *disks, const char *job);

/* Whether an error has stopped a mirror. */
bool disks_any_stopped(const struct disks *disks);

/* The drive over there that is @src's counterpart: same device name, else same node name,
 * else same qdev. NULL when there is none. */
const struct qmp_drive *disk_counterpart(const struct qmp_drive *src, const struct qmp_drives *dst);

#endif
