/* Block commands: the NBD server and its exports, nodes, mirrors and their jobs
 * (QEMU's qapi/block-core.json, qapi/block-export.json). */
#ifndef VMFERRY_QMP_BLOCK_H
#define VMFERRY_QMP_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "qmp/caps.h"
#include "qmp/qmp.h"

/* --- the destination's side --- */

/* nbd-server-start on @address:@port; through TLS by object @tls (tls.h), or NULL.
 *
 * Without max-connections: QEMU counts whoever is connected, with a key or without, for as long as
 * he says nothing (7.2; up to 10 s since 9.1), and a connection of ours that was lost without its
 * hearing of it, for hours. What is over that number is not taken in. So a small one would let
 * strangers keep us out, and a link that returns find its own place taken; and it keeps nobody
 * from anything that the key does not. */
int qmp_nbd_start(struct qmp *qmp, const char *address, int port, const char *tls, struct err *err);

/* The same on the Unix socket @path, which QEMU makes. */
int qmp_nbd_start_unix(struct qmp *qmp, const char *path, struct err *err);

/* nbd-server-stop: closes all exports, too, and the connections, of which none may be in its
 * handshake: 5.2 dies of that soon after, 7.2 as Debian 12 has it (7.2.22) waits for that client
 * for ever, and so does who asked for it. 10.0 ends it. */
struct qmp_request *qmp_nbd_stop_send(struct qmp *qmp);

/* Exports the tree under @node, writable, as @name (block-export-add, else
 * nbd-server-add). */
int qmp_export_add(struct qmp *qmp, const struct qmp_caps *caps, const char *node, const char *name,
		   struct err *err);

/* block-export-del of an export nobody uses. With clients, in mode hard, it can be the end: 11.1
 * drains all nodes for it, those of the other exports, too, and for ever when a client of one of
 * these has fallen silent in the middle of a request (bdrv_graph_wrlock_drained(); seen in 3 of 30
 * moves whose connections were cut so that the server did not hear of it). nbd-server-stop hangs
 * up on all clients first. */
int qmp_export_del(struct qmp *qmp, const char *name, struct err *err);

/* Number of exports (query-block-exports); 0 where QEMU cannot tell. */
int qmp_export_count(struct qmp *qmp, const struct qmp_caps *caps, size_t *count, struct err *err);

/* blockdev-set-active of all nodes: takes their locks, as `cont` would (QMP_SET_ACTIVE). */
int qmp_nodes_activate(struct qmp *qmp, struct err *err);

/* block_resize of a node, to bytes. */
int qmp_node_resize(struct qmp *qmp, const char *node, uint64_t size_bytes, struct err *err);

/* --- the source's side --- */

/* One exported disk as the source reaches it: over a connection to the NBD server that QEMU was
 * given by qmp_pass_fd(), or that it opens itself, again and again when it is lost.
 *
 * It is lost for good, or a request on it fails at once and has QEMU open another one in the
 * background, for a later request: at once, then after 1, 2, 4, 8, 16, 16... seconds. With a
 * reconnect-delay requests would wait for that, and whoever drains the node - the guest's own reset
 * of the disk, `stop`, the end of another mirror, the end of RAM - with them, while the guest and
 * the monitor stand still (7.2, 10.0, 11.1; 5.2 lets them fail at once) and no yank helps. So there
 * is none, and it is the mirror that waits: see qmp_mirror_start().
 *
 * 5.2 makes a lost connection anew at once, whether anybody needs it or not, and without being
 * asked to: when that falls into nbd-server-stop on the other side, a 5.2 there dies soon after,
 * maybe with the guest. */
struct qmp_target {
	const char *nbd_node; /* name for the NBD node */
	const char *fd_name;  /* or NULL, and: */
	const char *path;     /* of a Unix socket, absolute; or NULL, and: */
	const char *address;  /* numeric */
	int port;
	const char *tls;      /* the object (tls.h), or NULL */
	const char *tls_name; /* what the server's certificate is to be made out to; NULL: @address,
			       * or nothing (QMP_QUERY_STATS) */
	const char *export;
	uint64_t limit_bytes; /* show only so much of a larger export; 0: all of it */
};

/* blockdev-add of @target as @node, which is not @target->nbd_node. Zeroes and holes are
 * passed on as such. */
int qmp_target_add(struct qmp *qmp, const char *node, const struct qmp_target *target,
		   struct err *err);

/* Puts the tree @node of qmp_target_add() or of a drive-mirror on another connection to the same
 * export: blockdev-add of an NBD node @nbd_node, and blockdev-reopen of @node with it, also under
 * a running mirror (QMP_REOPEN; seen on 7.2, 10.0, 11.1). The requests of the node before it have
 * ended by then; it goes by itself, if it was not one of blockdev-add. */
int qmp_target_replug(struct qmp *qmp, const char *node, const struct qmp_target *target,
		      struct err *err);

/* yank of the connection of an NBD node: its requests fail at once, and it does not come back.
 * Also while QEMU's main loop stands still. For a node without a connection it does nothing: its
 * requests go on waiting (seen on 7.2, 10.0, 11.1). */
struct qmp_request *qmp_node_yank_send(struct qmp *qmp, const char *nbd_node);

/* blockdev-del. */
int qmp_node_del(struct qmp *qmp, const char *node, struct err *err);

/* Whether a node of that name is there (query-named-block-nodes). */
int qmp_node_exists(struct qmp *qmp, const char *node, bool *there, struct err *err);

struct qmp_mirror {
	const char *job;          /* job id */
	const char *node;         /* what is mirrored */
	const char *target_node;  /* blockdev-mirror; or NULL and: */
	struct qmp_target target; /* drive-mirror */
	const char *file_node;    /* with it: what its tree's node is called, or NULL */
	uint64_t buf_size;        /* bytes; 0: QEMU's default */
	uint64_t speed;           /* bytes/s; 0: no limit */
	bool top;                 /* sync=top: what the top image holds, not its backing image */
};

/* blockdev-mirror, or drive-mirror where there is no target_node; sync=full if
 * not @mirror->top.
 *
 * An error over there stops it (BLOCK_JOB_ERROR) and does not end it: QEMU does not bear the end
 * of a mirror at any moment. While the guest is being stopped, bdrv_flush_all() goes through the
 * disks and gives back the reference of another node than it took when a mirror's filter goes
 * meanwhile (bdrv_next(); 7.2: the filter stayed for ever in 1 of 14 moves whose connections were
 * cut while RAM was sent). And see end_write_blocking() of the migration. */
int qmp_mirror_start(struct qmp *qmp, const struct qmp_caps *caps, const struct qmp_mirror *mirror,
		     struct err *err);

int qmp_job_set_speed(struct qmp *qmp, const char *job, uint64_t bytes_per_s, struct err *err);

/* block-job-change of a mirror to copy-mode write-blocking: from then on each write of
 * the guest is on both sides before it is acknowledged. */
int qmp_job_write_blocking(struct qmp *qmp, const char *job, struct err *err);

/* block-job-cancel. Without @force a mirror that is ready ends with both sides equal;
 * with it, at once. */
struct qmp_request *qmp_job_cancel_send(struct qmp *qmp, const char *job, bool force);

/* block-job-resume of a mirror that an error of its target has stopped. Nothing is lost
 * meanwhile: the guest writes on, also in copy-mode write-blocking, and what the target has not
 * taken is copied later (seen on 7.2, 10.0, 11.1). The first requests of one whose connection was
 * lost stop it again; see qmp_target. */
int qmp_job_resume(struct qmp *qmp, const char *job, struct err *err);

/* job-dismiss of a concluded job. */
int qmp_job_dismiss(struct qmp *qmp, const char *job, struct err *err);

struct qmp_job {
	bool found;
	bool concluded; /* ended, waits for job-dismiss */
	bool ready;
	bool in_sync; /* a write-blocking mirror with nothing left to copy (actively-synced) */
	bool stopped; /* by an error (io-status), which can be resumed from */
	uint64_t done_bytes, total_bytes;
	char error[512]; /* of a concluded or stopped job; "" if it went well */
};

/* query-block-jobs: fills @jobs[i] for @ids[i]; a job that is not there has found=false. */
int qmp_jobs_query(struct qmp *qmp, const char *const *ids, struct qmp_job *jobs, size_t count,
		   struct err *err);

/* The name of any block job, NULL when there is none. Caller frees. */
int qmp_any_job(struct qmp *qmp, char **id, struct err *err);

#endif
