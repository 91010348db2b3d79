/* Moving a guest: what cli sees of it. */
#ifndef VMFERRY_MIGRATE_MIGRATE_H
#define VMFERRY_MIGRATE_MIGRATE_H

#include "base/loop.h"
#include "migrate/disk.h"
#include "migrate/migration.h"
#include "migrate/options.h"
#include "migrate/problems.h"
#include "migrate/report.h"
#include "migrate/steps.h"

/* @opt and @report must live as long as the migration. */
struct migration *migration_new(struct loop *loop, const struct options *opt,
				const struct report *report);
void migration_free(struct migration *m);

/* Looks at both sides and changes nothing: afterwards m->disks is the plan, m->left_out
 * what is not moved, m->problems every objection. -1 with ERR_REFUSED when there is any. */
int migration_check(struct migration *m, struct err *err);

/* Moves the guest. -1: refused, or failed (or interrupted) and undone, or ERR_HUMAN;
 * m->problems has the objections, m->left_behind what could not be undone. */
int migration_run(struct migration *m, struct err *err);

/* One phase by hand, as a process of its own. @in: the cookie of the phase before, NULL for
 * begin; it must live as long as @m. *@gave tells whether there is an @out for the next phase,
 * also after a failure that the next one has to hear of; the caller's to cookie_deinit. */
int migration_phase(struct migration *m, enum phase phase, const struct cookie *in,
		    struct cookie *out, bool *gave, struct err *err);

/* The cookie that was given is lost, for the reason @err: nobody can go on, so what prepare or
 * perform has done is undone. */
void migration_phase_lost(struct migration *m, struct err *err);

#endif
