/* After the death of vmferry, or of a host: both sides are looked at, and what the two QEMUs
 * say is believed over what is on record. Then the migration goes on where it can, is finished
 * where the guest is over there, and is undone in all other cases.
 */
#ifndef VMFERRY_MIGRATE_RECOVER_H
#define VMFERRY_MIGRATE_RECOVER_H

#include "migrate/record.h"

/* How a side's QEMU was found. */
enum seen {
	SEEN_UNKNOWN, /* it, or its host, cannot be asked */
	SEEN_GONE,    /* it has ended: its host was rebooted, or nobody is there */
	SEEN_OTHER,   /* another QEMU is there, which is none of ours to touch */
	SEEN_THERE,   /* m->src.qmp, m->dst.qmp */
};

struct found {
	enum seen src, dst;
	char *src_words, *dst_words;                       /* one line each, for people */
	struct qmp_migration src_migration, dst_migration; /* of SEEN_THERE */
};

/* Looks at both sides of @m, which record_take() has filled, and changes nothing. The state
 * that an earlier process knew from events is asked for: the mirrors', the migrations'. */
void recover_look(struct migration *m, struct found *found);
void found_deinit(struct found *found);

/* Whether a disk of the source was written to since the last record, or that cannot be seen (it is
 * no file, or not there): by its time of modification (stat(2)), with a second for its clock. */
bool recover_src_written(const struct migration *m);

/* Goes on, finishes or undoes. 0 when all is settled, m->outcome tells how; -1 with ERR_HUMAN
 * when it is not: nothing was changed, or what is in m->left_behind could not be, and the
 * journal stays. Safe to call again, at any time. */
int migration_recover(struct migration *m, struct err *err);

#endif
