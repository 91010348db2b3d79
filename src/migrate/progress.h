/* Waits that take long: shown as they go on, and ended when nothing moves any more. */
#ifndef VMFERRY_MIGRATE_PROGRESS_H
#define VMFERRY_MIGRATE_PROGRESS_H

#include "migrate/migration.h"

/* As migration_await, but the deadline counts from the last progress: twice a second
 * @sample asks, reports, and gives a figure that changes when something moved. (QEMU has
 * no event for progress; what is waited for is an event all the same.) */
int progress_await(struct migration *m, const char *what, int64_t stall_ms,
		   bool (*done)(struct migration *m),
		   int (*sample)(struct migration *m, uint64_t *figure, struct err *err),
		   struct err *err);

/* Samples of all mirrors and of RAM; report to m->report. */
int progress_sample_disks(struct migration *m, uint64_t *figure, struct err *err);
int progress_sample_ram(struct migration *m, uint64_t *figure, struct err *err);

#endif
