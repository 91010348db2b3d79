/* One migration under way: both sides, the disks, and what the two QEMUs have told so
 * far. Seen by the steps only; others use migrate.h.
 */
#ifndef VMFERRY_MIGRATE_MIGRATION_H
#define VMFERRY_MIGRATE_MIGRATION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"
#include "cookie/cookie.h"
#include "journal/record.h"
#include "migrate/clone_argv.h"
#include "migrate/clone_user.h"
#include "migrate/disk.h"
#include "migrate/extra.h"
#include "migrate/guard.h"
#include "migrate/host.h"
#include "migrate/options.h"
#include "migrate/problems.h"
#include "migrate/report.h"
#include "migrate/source_process.h"
#include "migrate/steps.h"
#include "qmp/block.h"
#include "qmp/caps.h"
#include "qmp/drives.h"
#include "qmp/migration.h"

#define STEPS_MAX 40

/* One of the two QEMUs. */
struct side {
	struct migration *m;
	const char *name; /* for words: "source", or the destination's host */
	struct qmp *qmp;  /* NULL while not connected */
	struct qmp_caps caps;
	struct qmp_status status; /* as it was looked at */
	struct qmp_drives drives;

	/* What its events told. */
	char migration_status[32]; /* of the last MIGRATION event */
	bool stopped;              /* STOP came; source: since `migrate` */
	bool resumed;              /* RESUME came */
};

/* The connections of the disks; see link.h. */
struct link {
	bool returns;                /* lost ones are made anew */
	bool made_by_qemu;           /* and not by us */
	char *path;                  /* --encrypt=ssh: the socket to which; NULL: none */
	bool expecting;              /* they are being opened */
	struct loop_timer *quickack; /* while the mirrors run to an old NBD server, else NULL */
	struct loop_timer *look;     /* while they are watched, else NULL */
	int64_t lost_ms;             /* loop_now_ms() since when one is lost; 0: all are there */
	bool told;                   /* that it is lost */
	bool behind;                 /* what the guest has written since is yet to be copied */
	bool stale;                  /* some have ended since the mirrors began to rejoin */
	bool plugging;               /* a node is being put on a new one */
	uint64_t least_left_bytes;   /* to be copied, since the last loss, */
	int64_t least_left_ms;       /* and loop_now_ms() of that; 0: not looked at yet */
	int64_t next_login_ms;       /* --encrypt=ssh: loop_now_ms() before which none is tried */
	char why[256];               /* it could not be mended yet; "" nothing to say */
};

/* Where the destination listens: prepare's answer to the source. */
struct listening {
	const char *address;
	int nbd_port; /* 0: not yet */
	int ram_port;
};

/* See owner.c. */
struct owner {
	bool known;
	uint32_t src_uid, src_gid; /* of a file here */
	bool may;                  /* the login may give a file away */
	uint32_t uid, gid;         /* with it: whom these are over there */
	bool told;                 /* that it could not */
};

/* See keys.c. */
struct keys {
	char object[64]; /* its name, in both QEMUs */
	bool src_added, dst_added;
	/* Where the key is or may be; for ENCRYPT_SSH, the sockets. NULL: nowhere */
	char *src_directory, *dst_directory;
};

struct migration {
	struct loop *loop;
	const struct options *opt;
	const struct report *report;
	struct host *here; /* the source's host */
	struct host *host; /* the destination's; NULL while not connected */
	struct side src, dst;
	struct qmp_identity guest;
	pid_t src_pid;                  /* of the source's QEMU, 0 when not known */
	pid_t dst_pid;                  /* by hand: of the destination's, the same */
	char *src_cwd, *dst_cwd;        /* of the QEMUs; NULL when not known, or not asked yet */
	bool hosts_compared, same_host; /* by their boot ids */
	bool was_running; /* the guest ran when its CPUs were stopped for the switchover */
	struct disks disks;
	bool in_stream;   /* the old way: the disks go in the migration's stream */
	char *method_why; /* with it: why; else NULL */
	bool incremental; /* only what the top images hold */

	/* --clone */
	struct source_process process; /* of the source's QEMU */
	struct clone clone;            /* the destination's command line */
	char accelerator[16];          /* that the source runs under; qmp_accelerator_query() */
	struct problems repairs;       /* what of it is so since the source's start, for words */
	char *scope_unit;              /* --scope: as that of the source's; NULL: any */
	char *scope_slice;             /* the same */
	bool scope_of_user;            /* of the login's own manager: it is not root */
	struct extras extras;          /* --copy-extra: what is copied with it */
	bool as_other_user;            /* than the one that logs in there */
	struct clone_user clone_user;  /* as whom that QEMU runs */
	struct guard *guard;           /* holds on to that QEMU; NULL: none */

	/* By hand, where each phase is a process of its own; see handover.h. */
	bool by_hand;
	enum phase phase;            /* this process's */
	const struct cookie *cookie; /* what it was given; NULL: none. Borrowed */
	bool gave;                   /* there is a cookie for the next phase */
	bool finished_before;        /* finish is run again, and has run the guest before */
	bool given_up;               /* finish has seen to it that the guest will not run there */
	char id[33];                 /* of this migration, 32 hex digits */
	char *address;               /* behind listening.address, when it is not opt's or host's */
	struct listening listening;
	struct link link;
	struct keys keys;
	struct owner owner;
	struct ssh_forward *forward;     /* --encrypt=ssh, see tunnel.h; NULL: not open */
	struct qmp_request *stop_status; /* query-status under way since STOP on the source */

	/* What is on record; see record.h. */
	struct journal *journal;     /* NULL: nothing is recorded */
	struct record record;        /* the last one */
	bool resumed;                /* by recover: an earlier process has begun it */
	enum record_outcome outcome; /* of the whole */

	struct problems problems;    /* objections, while it was looked at */
	struct problems left_out;    /* drives that do not move, and why */
	struct problems left_behind; /* what an undo could not undo */
	struct problems seen;        /* with that: how each side was found at the end */
	struct problems choices;     /* with that: what can be chosen from, see choice.h */

	bool begun[STEPS_MAX];    /* by row of the table of steps */
	enum err_kind undone_for; /* what is being undone, if anything */
	int64_t ram_begun_ms;
	bool relaxed;         /* the short downtime-limit was given up */
	bool migrating;       /* `migrate` was sent */
	int ram_fd;           /* our copy of RAM's connection that the source has, or -1 */
	bool detaching;       /* the mirrors are being ended by us */
	bool halted;          /* the guest is stopped on the source, by us, to end the mirrors */
	bool untidy;          /* not all that is to be released over there was */
	bool may_retry;       /* --retries: see retry.h */
	int retried;          /* so often */
	bool retrying;        /* from the death of the destination's QEMU until the mirrors go on */
	bool started_dst;     /* its QEMU was started by us, or by --start */
	bool src_postmigrate; /* the guest, paused before, is back, but QEMU has no way to "paused"
			       */
	bool source_lost;     /* its QEMU could not be asked any more at the end */
	bool source_silent;   /* nor did it answer then, or when the guest was to run again */
	bool dst_obeyed;      /* it has ended because we told it to */
	bool dst_left;        /* it holds the last of the guest, and is not ended */
	bool dst_quit;        /* we have ended the destination's QEMU */
	bool hangup_kills;    /* the destination's QEMU would die of an NBD client's end */
	bool dst_unreachable; /* an undo could not reach it: the others need not try */
	bool switched;        /* `cont` was sent to the destination: no way back */
	bool may_have_run;    /* an earlier process may have sent it */
	bool nbd_started;     /* the NBD server over there is ours */
	bool incoming;        /* migrate-incoming was sent: that QEMU can wait only once */
	unsigned capabilities_set;      /* bit i: row i of the table in capabilities.c, set by us */
	int64_t stopped_ms, resumed_ms; /* loop_now_ms() of STOP here and RESUME over there */
	struct qmp_parameters src_parameters; /* as they were */
	bool parameters_set;
};

/* Whether the destination's QEMU is started by us, in whatever way, and not there before. */
static inline bool starts_destination(const struct migration *m)
{
	return m->opt->start || m->record.starts || m->opt->clone;
}

struct journal;

/* Puts on record what is known by now; on disk when it returns, unless the guest stands still. */
int migration_record(struct migration *m, struct err *err);

/* Opens QMP on a side. */
int side_open_src(struct migration *m, struct err *err);
int side_open_dst(struct migration *m, struct err *err);

/* Waits, in the loop, until @done(@m) is true. Ends early with an error when a mirror has
 * failed, or the connection to a QEMU has ended. */
int migration_await(struct migration *m, const char *what, int64_t timeout_ms,
		    bool (*done)(struct migration *m), struct err *err);

/* Lets @ms pass until the next look at what no event tells of. -1 when something fails meanwhile,
 * as in migration_await. */
int migration_rest(struct migration *m, int64_t ms, struct err *err);

/* -1 when a mirror has failed or the connection to a QEMU has ended. */
int migration_check_alive(struct migration *m, struct err *err);

/* Says that @disk's mirror has failed, and @why; -1. */
int mirror_failed(const struct migration *m, const struct disk *disk, const char *why,
		  struct err *err);

/* As migration_await, for an undo: only the end of @side's own connection ends it early. */
int side_await(struct side *side, const char *what, int64_t timeout_ms,
	       bool (*done)(struct migration *m), struct err *err);

/* Tells what moves another way than usual, or not at all, and what is made otherwise over there
 * than the source's command line has it. */
void migration_tell_left_out(struct migration *m);
void migration_tell_method(struct migration *m);

void migration_note(struct migration *m, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
