/* The guest's drives as query-block shows them, one flat struct each. */
#ifndef VMFERRY_QMP_DRIVES_H
#define VMFERRY_QMP_DRIVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qmp/qmp.h"

/* One of the images under a drive's top image. */
struct qmp_backing {
	char *format; /* "raw", "qcow2" */
	char *file;   /* as in struct qmp_drive */
	char *url;    /* as QEMU calls it, for words */
	bool partial; /* the file is not just this image: a part of it, or data elsewhere */
	uint64_t virtual_size;
};

struct qmp_drive {
	char *device;   /* the -drive's name; NULL with -blockdev */
	char *qdev;     /* the guest's device: its id or QOM path; NULL: none uses the drive */
	char *id;       /* the id that the user gave that device, or NULL */
	char *type;     /* QOM type of that device ("scsi-cd"); NULL when not known */
	bool removable; /* of the medium */
	bool inserted;  /* all below is empty when false */
	char *node;     /* the topmost node's name, "#block123" if nobody gave one */
	char *driver;   /* of that node: "raw", "qcow2" */
	char *file;     /* the file or device at the bottom, as QEMU names it; may be relative to
			 * QEMU's working directory. NULL when it is no file (nbd, rbd, ...) */
	char *url;      /* what QEMU calls the image, for words; may be "json:..." */
	bool read_only;
	bool temporary; /* snapshot=on: its top image is thrown away at the end */
	bool encrypted;
	bool direct, no_flush;       /* how it is cached */
	char *detect_zeroes;         /* "off", "on", "unmap" */
	struct qmp_backing *backing; /* its backing image and what that one has, topmost first */
	size_t backing_count;        /* 0: none */
	uint64_t virtual_size;       /* bytes the guest sees */
	uint64_t actual_size;        /* bytes allocated in the host's file */
	uint64_t cluster_size;       /* bytes; 0 for raw */
	char *compat;                /* qcow2's "0.10" or "1.1", else NULL */
};

struct qmp_drives {
	struct qmp_drive *list;
	size_t count;
};

/* Asks QEMU (query-block, qom-get). */
int qmp_drives_query(struct qmp *qmp, struct qmp_drives *drives, struct err *err);
void qmp_drives_deinit(struct qmp_drives *drives);

/* What a user calls it: the device name, else the node name if it was given one, else
 * the id of the guest's device. Borrowed. */
const char *qmp_drive_name(const struct qmp_drive *drive);

/* Whether what it is plugged into does its requests in an iothread, from before the guest runs: so
 * does a SCSI controller's disk, unlike a virtio-blk. -1 when QEMU could not be asked. */
int qmp_drive_in_iothread(struct qmp *qmp, const struct qmp_drive *drive, struct err *err);

/* Whether @name is one of its names. A qdev may be given by its id where QEMU tells a
 * QOM path (/machine/peripheral/ID/virtio-backend). */
bool qmp_drive_is(const struct qmp_drive *drive, const char *name);

#endif
