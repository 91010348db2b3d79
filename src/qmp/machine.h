/* What kind of machine a QEMU is: what the two sides of a migration must have alike. */
#ifndef VMFERRY_QMP_MACHINE_H
#define VMFERRY_QMP_MACHINE_H

#include <stdint.h>

#include "qmp/qmp.h"

/* Where a CPU sits; -1 for what is not told. Of the ids that QEMU knows these three are the same
 * from 5.2 to 11.1; others (die, module) came and went. */
struct qmp_cpu {
	int socket, core, thread;
};

#define QMP_CPUS_MAX 1024

struct qmp_machine {
	char type[128];                   /* QOM type, "pc-i440fx-7.2-machine"; "" when not told */
	uint64_t memory;                  /* bytes at start (-m); 0 when not told */
	uint64_t plugged_memory;          /* bytes plugged in since */
	unsigned cpus;                    /* 0 when not told */
	struct qmp_cpu cpu[QMP_CPUS_MAX]; /* the first so many, in no order */
};

/* Asks QEMU (qom-get, query-memory-size-summary, query-cpus-fast). What it refuses to tell is
 * left empty. */
int qmp_machine_query(struct qmp *qmp, struct qmp_machine *machine, struct err *err);

/* What runs the guest's CPUs, "kvm" or "tcg" (query-kvm, query-accelerators). A QEMU before 11
 * tells of KVM only: what is not is said to be "tcg". "" when it refuses to tell. */
int qmp_accelerator_query(struct qmp *qmp, char name[16], struct err *err);

#endif
