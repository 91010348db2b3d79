/* What the migration tells whoever shows it. Called from the loop or between waits;
 * must not wait. */
#ifndef VMFERRY_MIGRATE_REPORT_H
#define VMFERRY_MIGRATE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct step;

enum step_state {
	STEP_BEGUN,
	STEP_DONE,
	STEP_FAILED,
	STEP_UNDOING,
	STEP_UNDONE,
};

/* Bytes of one disk, or of RAM, so far. */
struct progress {
	const char *name; /* the disk's, or "ram" */
	uint64_t done_bytes, total_bytes;
	bool finished; /* in steady state, or through */
};

struct report {
	void (*step)(void *arg, const struct step *step, enum step_state state);
	void (*progress)(void *arg, const struct progress *items, size_t count);
	/* Something the user should know: a choice that was made, a thing left behind. */
	void (*note)(void *arg, const char *text);
	/* One QMP line of side @name, for --verbose. */
	void (*line)(void *arg, const char *name, bool out, const char *text, size_t len);
	void *arg;
};

#endif
