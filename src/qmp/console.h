/* What of QEMU's is shown to whoever started it. */
#ifndef VMFERRY_QMP_CONSOLE_H
#define VMFERRY_QMP_CONSOLE_H

#include "qmp/qmp.h"

struct qmp_console {
	char display[32]; /* "gtk", "none"; "" when not told */
	char stdio[128];  /* the character device that is its stdin and stdout; "": none is */
};

/* Asks QEMU (query-display-options, query-chardev). What it refuses to tell is left empty. */
int qmp_console_query(struct qmp *qmp, struct qmp_console *console, struct err *err);

#endif
