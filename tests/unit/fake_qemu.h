/* A model of QEMU behind a scripted monitor: as much of its state as a move changes, with
 * QEMU's own refusals. A pair of them can carry a whole migration. What must never happen
 * ends the test at once: both running the guest, the destination running with its NBD
 * server up, a switchover with mirrors still running, a mirror that makes the guest's writes ended
 * by force while it may make one.
 */
#ifndef VMFERRY_TESTS_FAKE_QEMU_H
#define VMFERRY_TESTS_FAKE_QEMU_H

#include "fake_qmp.h"

#define FAKE_DRIVES_MAX 3

/* One entry of query-block. Strings are borrowed. */
struct fake_drive {
	const char *device; /* "" with -blockdev; NULL: no such drive */
	const char *node, *qdev, *type, *driver;
	char file[128];
	json_int_t size;
	bool read_only, empty, temporary;
	struct {
		char name[160]; /* "": there is none, nor any under it */
		const char *format;
		json_int_t size;
	} backing[2]; /* its backing image, and that one's */
};

struct fake_qemu {
	struct loop *loop;
	struct fake *fake;
	struct fake_qemu *peer;
	struct fake_drive drives[FAKE_DRIVES_MAX];
	json_t *more_drive; /* one more entry of query-block, as it is; or NULL */

	const char *machine; /* QOM type; NULL: not told */
	const char *state;   /* RunState */
	bool hold;           /* -S, or `stop` while inmigrate */
	bool incoming;       /* migrate-incoming was taken */
	bool old;            /* before 9.1: does not know exit-on-error */
	bool keep;           /* with exit-on-error false */
	bool gone;
	const char *migration;     /* MigrationStatus; "" for none so far */
	bool pause_in_copy;        /* migration stays "active": RAM never converges */
	json_t *capabilities;      /* name -> bool */
	json_t *parameters;        /* max-bandwidth, downtime-limit */
	json_t *jobs;              /* id -> status; "standby": stopped by an error */
	bool write_blocking;       /* its mirrors make the guest's writes on both sides */
	json_t *nodes;             /* node made by blockdev-add -> job using it, or "" */
	json_t *exports;           /* id -> node */
	json_t *objects;           /* made by object-add: id -> null */
	json_t *qom;               /* QOM path -> properties, of devices and buses */
	json_t *fds;               /* names of descriptors it was given and has not used -> null */
	char nbd_keys[80];         /* the NBD server's tls-creds; "" for none */
	int nbd_fd;                /* listens for real; -1: no NBD server */
	struct loop_fd *nbd_watch; /* while it has no exports */
	int ram_fd;                /* the same for RAM */
	bool was_running;          /* when `migrate` came */
	json_t *at_start;          /* capabilities and parameters, see fake_qemu_changed() */
};

/* A source whose guest runs, or a destination started with -incoming defer -S. Each has two
 * drives, with files of their own: "virtio0" by -drive, "data" by -blockdev. */
void fake_qemu_init(struct fake_qemu *q, struct loop *loop, bool destination);
void fake_qemu_pair(struct fake_qemu *src, struct fake_qemu *dst);
void fake_qemu_deinit(struct fake_qemu *q);

/* Gives it a device or a bus: at @path, with @properties as JSON. "type" is one of them. */
void fake_qemu_add(struct fake_qemu *q, const char *path, const char *properties);

/* Takes a command or a migration capability away. */
void fake_qemu_cannot(struct fake_qemu *q, const char *name);

bool fake_qemu_running(const struct fake_qemu *q);

/* What a move has set and not taken back, in words; NULL for nothing. Borrowed. */
const char *fake_qemu_changed(const struct fake_qemu *q);

/* Ends at once, as after SIGKILL. */
void fake_qemu_die(struct fake_qemu *q);

#endif
