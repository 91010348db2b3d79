/* What the user asked for. Filled by cli, only read afterwards; strings are cli's. */
#ifndef VMFERRY_MIGRATE_OPTIONS_H
#define VMFERRY_MIGRATE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/destination.h"
#include "ssh/ssh.h"

enum mirror_method {
	MIRROR_AUTO, /* blockdev-mirror where QEMU has what it needs, else drive-mirror */
	MIRROR_BLOCKDEV,
	MIRROR_DRIVE,
	MIRROR_NONE, /* the old way: in the migration's own stream */
};

enum encrypt_method {
	ENCRYPT_AUTO, /* to another host as ENCRYPT_PSK; on this host, and by hand, as ENCRYPT_NONE
		       */
	ENCRYPT_PSK,  /* by a key made for this move */
	ENCRYPT_X509, /* by certificates that are there */
	ENCRYPT_SSH,  /* through an SSH session, and no port is opened */
	ENCRYPT_NONE,
};

struct timeouts {
	int64_t connect_ms;    /* SSH, a monitor's greeting, a data port */
	int64_t answer_ms;     /* one QMP command, one SSH request */
	int64_t start_ms;      /* --start, until the monitor answers */
	int64_t stall_ms;      /* no progress of disks or RAM for so long */
	int64_t switchover_ms; /* each wait while the guest is stopped */
	int64_t reconnect_ms;  /* a connection that is lost while the disks are copied; -1: none */
};

struct options {
	const char *source; /* path of the QMP socket */
	struct destination dst;
	const char *const *disks; /* NAME or NAME=PATH; NULL-terminated, NULL: all */
	const char *const *maps;  /* SRCPREFIX=DSTPREFIX; NULL-terminated, NULL: none */
	const char *start;        /* shell command that starts the waiting QEMU, or NULL */
	bool clone;               /* start it ourselves, by the source's own command line */
	bool copy_extra;          /* with it: what does not move and is not there is copied */
	bool scope;               /* with it: in a scope of systemd of its own */
	enum mirror_method mirror;
	enum encrypt_method encrypt;
	const char *certificates;   /* ENCRYPT_X509: their directory, on both hosts */
	bool incremental;           /* only what the top images hold */
	bool trust_backing;         /* with it: backing images are not compared */
	bool fast;                  /* copy as fast as the machine can */
	uint64_t bandwidth;         /* bytes/s in total, 0: no limit */
	uint64_t downtime_limit_ms; /* 0: as QEMU has it */
	const char *data_address;   /* NULL: the address SSH reached */
	int port_low, port_high;
	bool keep_source;
	int retries; /* how often a QEMU that dies while RAM is sent is started again over there */
	struct timeouts timeouts;
	struct timeouts asked; /* of those, what the user gave; 0: not given, and by default */
	const char *journal_directory; /* see journal.h; NULL: nothing is put on record */
	const char *halt_before;       /* for tests: SIGSTOP ourselves before this step, or NULL */
	struct ssh_target ssh;
};

#endif
