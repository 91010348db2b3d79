/* Run state and migration of RAM (QEMU's qapi/run-state.json, qapi/migration.json). */
#ifndef VMFERRY_QMP_MIGRATION_H
#define VMFERRY_QMP_MIGRATION_H

#include <stdbool.h>
#include <stdint.h>

#include "qmp/qmp.h"

/* --- run state --- */

struct qmp_status {
	char state[32]; /* RunState: "running", "paused", "inmigrate", ... */
	bool running;
};

int qmp_status_query(struct qmp *qmp, struct qmp_status *status, struct err *err);

/* The same in two halves. */
struct qmp_request *qmp_status_send(struct qmp *qmp);
int qmp_status_take(struct qmp_request *request, struct qmp_status *status, struct err *err);

struct qmp_request *qmp_cont_send(struct qmp *qmp);

/* stop; in state "inmigrate" it makes QEMU wait for `cont` after the migration, as -S does
 * (qmp_stop() of QEMU, seen on 7.2, 10.0, 11.1). */
int qmp_stop(struct qmp *qmp, struct err *err);

/* quit; QEMU may close the connection before it answers, which is no error here. */
int qmp_quit(struct qmp *qmp, struct err *err);

/* query-name, query-uuid. @name is "" when the guest has none. */
struct qmp_identity {
	char name[256];
	char uuid[40];
};

int qmp_identity_query(struct qmp *qmp, struct qmp_identity *identity, struct err *err);

/* A note that stays in a QEMU as long as it lives, and that whoever comes later can read: an
 * object (object-add) of the name @id, which does nothing. */
int qmp_note_leave(struct qmp *qmp, const char *id, struct err *err);
int qmp_note_remove(struct qmp *qmp, const char *id, struct err *err);
int qmp_note_find(struct qmp *qmp, const char *id, bool *there, struct err *err);

/* --- migration --- */

struct qmp_migration {
	bool listening;    /* waits for a connection (socket-address, 4.0) */
	int port;          /* the TCP port it waits on; 0: none */
	char status[32];   /* MigrationStatus, "" while there was none */
	char error[512];   /* error-desc */
	char blocked[512]; /* the first of blocked-reasons */
	uint64_t total_bytes, remaining_bytes, transferred_bytes; /* of RAM */
	uint64_t disk_total_bytes, disk_transferred_bytes;        /* of disks in the stream */
	int64_t expected_downtime_ms, downtime_ms;
};

int qmp_migration_query(struct qmp *qmp, struct qmp_migration *migration, struct err *err);

/* True for the states in which a migration is under way or holds something. A status
 * never heard of counts as under way. */
bool qmp_migration_active(const char *status);

/* One capability as it is now, and on or off. */
int qmp_capability_get(struct qmp *qmp, const char *name, bool *on, struct err *err);
int qmp_capability_set(struct qmp *qmp, const char *name, bool on, struct err *err);

/* The names of all that are on, with blanks between; the caller's to free. */
int qmp_capabilities_on(struct qmp *qmp, char **names, struct err *err);

struct qmp_parameters {
	uint64_t max_bandwidth; /* bytes/s */
	uint64_t downtime_limit_ms;
	char tls[64];       /* tls-creds: the object (tls.h); "" for none */
	char tls_name[256]; /* tls-hostname: what its certificate is to be made out to; "" for none
			     */
};

int qmp_parameters_get(struct qmp *qmp, struct qmp_parameters *parameters, struct err *err);

/* The latter two are set only @with_tls. */
int qmp_parameters_set(struct qmp *qmp, const struct qmp_parameters *parameters, bool with_tls,
		       struct err *err);

/* migrate-incoming on the first port of @low to @high that is free at @address; which one that
 * is, qmp_migration_query() tells. QEMU itself goes through the ports, for one that was refused
 * a port may take no other: it stays in "setup" (seen on 10.0, 11.1; not on 5.2, 7.2).
 *
 * From 9.1 on that QEMU does not end when the migration comes to nothing. If it did, its NBD
 * server would go in the moment in which the guest goes on here, writing to both sides, and
 * the source's QEMU does not always survive that: 11.1.3 frees a write of the mirror twice (seen
 * in 2 of 17 moves interrupted just before step_detach; in none of 35 with this). */
int qmp_migrate_incoming(struct qmp *qmp, const char *address, int low, int high, struct err *err);

/* The same on the Unix socket @path, which QEMU makes. */
int qmp_migrate_incoming_unix(struct qmp *qmp, const char *path, struct err *err);

/* What else goes in the stream besides RAM (QMP_MIG_BLOCK). */
enum qmp_stream {
	QMP_STREAM_RAM,
	QMP_STREAM_DISKS,     /* blk: every writable drive, whole */
	QMP_STREAM_DISK_TOPS, /* inc: of each drive only its top image */
};

/* migrate fd:@fd_name, a connection that QEMU was given by qmp_pass_fd(); returns once it has
 * begun. */
int qmp_migrate(struct qmp *qmp, const char *fd_name, enum qmp_stream stream, struct err *err);
int qmp_migrate_cancel(struct qmp *qmp, struct err *err);

/* migrate-continue out of pre-switchover. */
struct qmp_request *qmp_migrate_continue_send(struct qmp *qmp);

#endif
