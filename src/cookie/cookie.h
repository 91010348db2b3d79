/* The cookie by which the two hosts agree: what each phase tells the next one, on the other
 * host. XML, as libvirt's migration cookie is (its qemu_migration_cookie.c), so that others
 * can read what matters to them:
 *
 *   <qemu-migration>
 *     <name>web1</name> <uuid>...</uuid> <hostname>hosta</hostname> <hostuuid>...</hostuuid>
 *     <nbd> <disk src='/var/lib/images/web1.img' size='17179869184'/> </nbd>
 *     <vmferry xmlns='urn:vmferry:cookie:1' ...> ... </vmferry>
 *   </qemu-migration>
 *
 * begin's has <nbd> with the disks: "I can do this; these files, this large". prepare's has
 * <nbd port='X'/>: "so can I; they exist, at least as large; send". perform's has
 * <nbd port='-1'/>: "completed; shut it down". No <nbd>: that side cannot, or will not.
 * What vmferry needs beyond that stands in elements of its own namespace.
 *
 * What is read is hostile: every text, number, path and count in it has been checked here;
 * what cannot be checked without a QEMU or a file is its reader's business.
 */
#ifndef VMFERRY_COOKIE_COOKIE_H
#define VMFERRY_COOKIE_COOKIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The longest text that is taken for a cookie. */
#define COOKIE_TEXT_MAX (1u << 20)
#define COOKIE_DISKS_MAX 1024

/* Who wrote it. */
enum cookie_phase {
	COOKIE_BEGIN,
	COOKIE_PREPARE,
	COOKIE_PERFORM,
	COOKIE_FINISH,
};

/* How the disks get over. */
enum cookie_method {
	COOKIE_NBD,   /* mirrors to NBD exports */
	COOKIE_BLOCK, /* the old way: in the migration's own stream (`migrate` blk or inc) */
};

/* One disk that moves. Strings are owned by the cookie; NULL where there is none. */
struct cookie_disk {
	char *name;    /* what it is called in words; libvirt's target; else its src */
	char *src;     /* absolute path of its image on the source; NULL: it is no file */
	uint64_t size; /* bytes, the virtual size; 1 to 2^63 - 1 */

	/* vmferry's own; NULL, 0 and false in another's cookie. */
	char *device, *node, *qdev; /* QEMU's names for it on the source */
	char *format;               /* "raw", "qcow2", ... */
	uint64_t allocated;         /* bytes that its image takes of the source's disk */
	uint64_t cluster_size;      /* bytes, of a qcow2; a power of two, 512 to 2 MiB */
	char *compat;               /* of a qcow2, "0.10" or "1.1" */
	char *storage; /* what tells whether both hosts share it; see look_host.c, or NULL */
	char *backing; /* --incremental: SHA-256 of its backing image's contents, or NULL */
	uint64_t backing_size; /* bytes, the virtual size of that */
	uint32_t mode;         /* permission bits of the source's file */
	char *export;          /* prepare's: the NBD export it is to be mirrored to */
	char *dst;             /* prepare's: absolute path on the destination */
	uint64_t dst_size;     /* prepare's: bytes, at least `size` */
	bool made;             /* prepare's: its file was created by it */
};

struct cookie {
	char *name;     /* the guest's, or NULL */
	char *uuid;     /* the guest's, in lower case */
	char *hostname; /* of the host that wrote it, or NULL */
	char *hostuuid; /* of that host, in lower case, or NULL */
	enum cookie_phase phase;

	bool nbd;     /* there is an <nbd>; never in finish's, never with COOKIE_BLOCK */
	int nbd_port; /* 0 in begin's, 1 to 65535 in prepare's, -1 ("completed") in perform's */

	/* vmferry's own; absent from another's cookie. */
	bool vmferry;              /* they are there */
	char *id;                  /* of this migration: 32 hex digits; prepare draws its own */
	enum cookie_method method; /* COOKIE_NBD when not vmferry's */
	bool stream;               /* begin's: the source could take the old way */
	bool incremental;          /* only the top image of each disk */
	bool failed;               /* the phase failed: whoever reads it takes back what it did */
	char *reason;              /* of a failure, for people */
	bool completed;            /* perform's, finish's: the source has handed the guest over */
	bool was_running;          /* perform's: the guest ran when it was stopped */
	char *address;             /* prepare's: where the destination listens; numeric */
	int ram_port;              /* prepare's; 0: none */
	bool hangup_kills;         /* prepare's: its QEMU would die of an NBD client's end */
	char *process; /* prepare's: which QEMU it has got ready, "PID START"; or NULL */
	bool started;  /* prepare has started the destination's QEMU */
	uint32_t src_capabilities; /* a bit each: what perform switched on in the source's QEMU */
	uint32_t dst_capabilities; /* and prepare in the destination's */
	uint64_t max_bandwidth;    /* of the source's QEMU before perform changed them; bytes/s */
	uint64_t downtime_limit;   /* ms */

	struct cookie_disk *disks; /* those of vmferry's element; of <nbd> where that is absent */
	size_t disks_count;
};

/* Reads the cookie that is @text, @len bytes, into @cookie, whatever that held before. On error
 * -1 with one clear reason (ERR_REFUSED), and nothing to deinit. Unknown elements and
 * attributes are skipped; a <feature name='...'/> that is not known is an error, as libvirt's
 * readers hold it, too.
 *
 * What is there afterwards: `uuid`; of each disk `name` and `size`; with `vmferry` also `id`;
 * in prepare's with both `nbd` and `vmferry`, unless `failed`, `address` and each `export`.
 * No two disks have the same name, device, node, qdev, export, src or dst. */
int cookie_read(struct cookie *cookie, const char *text, size_t len, struct err *err);

/* The cookie as XML text, newline at its end; the caller's to free. NULL (ERR_REFUSED) for one
 * that cookie_read would refuse, by its words: a path with a control character in it is found
 * here, not on the other host. What is written is read back equal, but for
 *
 *   - `reason`, which is cleaned and cut, so that a failure can always be told;
 *   - `nbd` and `nbd_port`, which follow the phase: begin's <nbd> has no port, prepare's has
 *     `nbd_port`, perform's has -1; finish's cookie has no <nbd>, nor has one of a prepare
 *     that failed before it had a port. */
char *cookie_write(const struct cookie *cookie, struct err *err);

/* Fills @to, which holds nothing yet, with a copy of @from. */
void cookie_disk_copy(struct cookie_disk *to, const struct cookie_disk *from);

/* {0} is accepted. */
void cookie_deinit(struct cookie *cookie);

/* "begin", "prepare", "perform", "finish". */
const char *cookie_phase_name(enum cookie_phase phase);

#endif
