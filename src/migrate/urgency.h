/* Which of several abandoned migrations is to be recovered first. */
#ifndef VMFERRY_MIGRATE_URGENCY_H
#define VMFERRY_MIGRATE_URGENCY_H

#include "journal/record.h"

/* The most urgent first. */
enum urgency {
	URGENCY_STANDS, /* the guest may stand still, and goes on within seconds */
	URGENCY_SHORT,  /* it runs, and all is settled within seconds: undone, or finished */
	URGENCY_STREAM, /* its disks are in the stream of RAM, which may take hours; it may stand
			   still at the end of that */
	URGENCY_COPY,   /* it runs, and its disks may have to be copied for hours yet */
};

/* By the record alone, neither QEMU is asked. */
enum urgency urgency_of(const struct record *record);

#endif
