/* What is on record of one migration: enough to look at both sides after we have died, and to
 * go on, finish or undo. Each record is whole, so that the last one that can be read is all
 * that is needed. No secrets.
 *
 * In JSON a member has its name here; one that is 0, false or NULL is left out. Text is kept byte
 * for byte: '%', control characters and what is no UTF-8 are "%" and two hex digits for each of
 * their bytes ("%25" is a '%'). `inode` is a string of digits, for it may need all its 64 bits;
 * other numbers have 63.
 */
#ifndef VMFERRY_JOURNAL_RECORD_H
#define VMFERRY_JOURNAL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RECORD_DISKS_MAX 1024
/* The longest line that is taken for a record, its end included. */
#define RECORD_LINE_MAX (4u << 20)

/* Where the migration was with its step. */
enum record_state {
	RECORD_BEGUN,   /* it is about to be done: it may be done, or not, or in part */
	RECORD_DONE,    /* it is done */
	RECORD_UNDOING, /* the migration is being undone */
	RECORD_ENDED,   /* nothing is left to do: see `outcome` */
};

/* How it has ended; a row each of enum record_outcome. */
enum record_outcome {
	RECORD_OPEN,  /* not yet */
	RECORD_MOVED, /* the guest is on the destination */
	RECORD_BACK,  /* it is on the source, and all was undone */
};

/* One disk that moves. Strings are owned by the record; NULL where there is none. */
struct record_disk {
	char *name;                 /* what the user calls it */
	char *device, *node, *qdev; /* QEMU's names for it on the source */
	char *src;         /* absolute path of its image on the source; NULL: it is no file */
	char *dst;         /* absolute path on the destination, or NULL */
	char *export;      /* the name of its NBD export, or NULL */
	uint64_t size;     /* bytes, the virtual size */
	uint64_t dst_size; /* bytes; 0: not known yet */
	bool create;       /* its file is made by this migration */
	uint64_t inode;    /* of that file, over there; 0: not made yet, or not known */
	uint64_t birth;    /* of that file, seconds since the epoch; 0: the same */
};

struct record {
	/* Which migration. */
	char *id;      /* 32 hex digits, drawn for it */
	char *guest;   /* its name, or NULL */
	char *uuid;    /* or NULL */
	int64_t begun; /* seconds since the epoch */

	/* The two sides. */
	char *source;      /* path of the source's monitor, absolute, links resolved */
	char *src_boot;    /* boot id of its host */
	char *src_process; /* of its QEMU, "PID START" (proc(5): stat, field 22), or NULL */
	char *dst_host;    /* as the user wrote it; NULL: this host */
	char *dst_user;    /* or NULL */
	uint32_t dst_port; /* SSH's; 0: as ssh(1) would have it */
	char *dst_socket;  /* path of the destination's monitor */
	char *dst_boot;    /* boot id of that host, or NULL while not known */

	/* What the user asked for, as its options; NULL, 0 and false: not given. */
	char *identity, *config, *known_hosts;
	char *start;
	char *mirror;       /* "auto", "blockdev", "drive", "none" */
	char *encrypt;      /* "psk", "x509", "ssh", "none"; NULL: none */
	char *certificates; /* "x509": their directory */
	char *data_address;
	bool sudo;
	bool clone, fast, incremental, keep_source;
	uint64_t bandwidth;      /* bytes/s */
	uint64_t downtime_limit; /* ms */
	uint32_t port_low, port_high;
	int64_t connect_ms, answer_ms, start_ms, stall_ms, switchover_ms, reconnect_ms;

	/* How far it is. */
	char *step; /* the row's name */
	enum record_state state;
	int64_t since; /* seconds since the epoch: when `step` came to `state` */
	enum record_outcome outcome;

	/* What was done to the two QEMUs. */
	bool in_stream;              /* the old way: no mirrors */
	bool was_running;            /* the guest ran when it was stopped for the switchover */
	bool incoming;               /* migrate-incoming was sent */
	bool migrating;              /* `migrate` was sent */
	bool switched;               /* `cont` may have been sent to the destination */
	uint32_t capabilities;       /* a bit each: what was switched on in the QEMUs */
	bool reconnects;             /* the source's QEMU makes lost connections of disks anew */
	bool halted;                 /* the guest was stopped on the source to end the mirrors */
	bool untidy;                 /* not all that is to be released over there was */
	uint32_t retried;            /* how often the destination's QEMU was started again: the
				      * mirrors are there since before */
	bool parameters;             /* those of the source were changed; before that they were: */
	uint64_t max_bandwidth;      /* bytes/s */
	uint64_t src_downtime_limit; /* ms */
	char *src_tls_name;          /* tls-hostname, or NULL */
	char *src_keys, *dst_keys;   /* directories made for a key, or for the sockets of
				      * "ssh", on the two hosts, or NULL */
	char *address;               /* where the destination listens; numeric */
	uint32_t nbd_port, ram_port; /* 0: not yet */

	struct record_disk *disks;
	size_t disks_count;
	struct record_disk *extras; /* files of --copy-extra: of each its name, dst, inode, birth */
	size_t extras_count;
};

/* The record as one line of JSON, with its newline; the caller's to free. NULL (ERR_FAILED) for
 * one that could not be read again. */
char *record_write(const struct record *record, struct err *err);

/* Reads the line @text of @len bytes, without its newline, into @record, whatever that held
 * before. The line is hostile: its length, the count of its disks, every number's range and
 * every text are checked; unknown members are skipped; a version other than ours is an error
 * that says so. On error -1 (ERR_FAILED) and nothing to deinit.
 *
 * What users and QEMU name as they like may be any bytes: guest, all paths, dst_host, dst_user
 * and `start`. To be shown they have to be cleaned, which err_set() does. Other texts are UTF-8
 * without control characters; the id is 32 hex digits, source, dst_socket, src and dst are
 * absolute paths, src_process is "PID START", mirror is one of its words.
 *
 * What is there afterwards: id, source, dst_socket, step, mirror, and the name of each disk and
 * extra file. */
int record_read(struct record *record, const char *text, size_t len, struct err *err);

/* Frees what it holds. {0} is accepted. */
void record_deinit(struct record *record);

/* "begun", "done", "undoing", "ended". */
const char *record_state_name(enum record_state state);

#endif
