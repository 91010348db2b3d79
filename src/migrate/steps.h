/* The whole migration as one table of steps, and the engine that runs it: forward, and
 * back when something fails. */
#ifndef VMFERRY_MIGRATE_STEPS_H
#define VMFERRY_MIGRATE_STEPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct migration;

enum phase {
	PHASE_BEGIN,   /* source: looks, refuses, chooses */
	PHASE_PREPARE, /* destination: creates, starts, exports */
	PHASE_PERFORM, /* source: mirrors, migrates */
	PHASE_FINISH,  /* destination: runs the guest */
	PHASE_CONFIRM, /* source: ends */
};

struct step {
	const char *name;
	enum phase phase;
	const char *meaning; /* one line, for people */
	/* Does it; @timeout_ms is the row's deadline for each of its waits. */
	int (*run)(struct migration *m, int64_t timeout_ms, struct err *err);
	/* Takes it back. May be called twice, after a run that failed in the middle, and after
	 * one whose end was not seen: it looks before it acts. */
	int (*undo)(struct migration *m, int64_t timeout_ms, struct err *err);
	const char *no_undo; /* why there is nothing to take back; set exactly when undo is not */
	/* Whether this migration needs it; NULL: always. Asked when its turn comes. */
	bool (*applies)(const struct migration *m);
	size_t deadline;  /* offset of the row's deadline in struct timeouts */
	bool waits;       /* a signal ends its run early; else the run is seen through */
	bool cancellable; /* until here the guest can be taken back to the source */
	bool again;       /* also for a QEMU that was started again (--retries) */
};

extern const struct step steps[];
extern const size_t steps_count;

/* The row of that name, which is there. */
size_t step_row(const char *name);

bool step_applies(const struct step *step, const struct migration *m);

const char *phase_name(enum phase phase);

/* Runs the steps of the phases @first to @last. When one fails, or a signal came, all that
 * were begun are undone, last first, unless the row is past the point of no return
 * (then @err is of kind ERR_HUMAN). What an undo could not do is in m->left_behind. */
int steps_run(struct migration *m, enum phase first, enum phase last, struct err *err);

/* Goes on in a later process, from @row to the end of phase @last, as steps_run() does; m->begun
 * has what was begun before. */
int steps_resume(struct migration *m, size_t row, enum phase last, struct err *err);

/* Undoes, last first, all that is marked as begun (m->begun). */
void steps_undo(struct migration *m);

#endif
