/* Between a migration and its journal (journal/journal.h): what is put on record as it goes
 * on, and what a later process takes from there.
 *
 * A record is about to be true, never less than true: it stands before the act that it tells
 * of. Each is on disk before the act, but for those made while the guest stands still: there
 * only the point of no return waits for the disk. The others the kernel has, which is enough:
 * if this host goes down, the source's QEMU goes with it, and what the destination is tells
 * the rest.
 */
#ifndef VMFERRY_MIGRATE_RECORD_H
#define VMFERRY_MIGRATE_RECORD_H

#include "journal/journal.h"
#include "migrate/migration.h"
#include "migrate/options.h"
#include "migrate/steps.h"

/* Whose journal it is: whether @record is of the guest that the monitor @source (links
 * resolved) and, unless NULL, the process @process are of, on this host as it is up now
 * (@boot). */
bool record_is_of(const struct record *record, const char *source, const char *process,
		  const char *boot);

/* The process that listens on the monitor @source, as record_is_of() takes it, and this host's boot
 * id; each NULL when it is not seen, and the caller's to free. Of its QEMU nothing is asked. */
void record_find_process(struct loop *loop, const char *source, char **process, char **boot);

/* Who holds a journal (struct journal_entry), for words; the caller's to free. */
char *record_holder_words(pid_t holder);

/* Whether there is a journal of the same guest in opt->journal_directory, by its monitor and, once
 * that was opened, its process: 0 there is none; -1 (ERR_REFUSED) who holds it, or that it is
 * abandoned, and what to do; or the journals cannot be read. */
int record_refuse_another(struct migration *m, struct err *err);

/* Makes the journal of a migration that has looked and found nothing to object to. Without
 * opt->journal_directory there is none, and nothing is recorded. ERR_REFUSED when another one
 * of the same guest is there: who holds it, or that it is abandoned. */
int record_open(struct migration *m, struct err *err);

/* Puts on record that @step has come to @state. */
int record_step(struct migration *m, const struct step *step, enum record_state state,
		struct err *err);

/* Puts on record that all is being undone. What cannot be recorded is said. */
void record_undoing(struct migration *m);

/* Nothing is left to do: the journal goes. */
void record_end(struct migration *m, enum record_outcome outcome);

/* The options that @record remembers, where @opt has none. Its strings must live as long. Timeouts
 * that neither has stay 0. */
void record_options(const struct record *record, struct options *opt);

/* Takes over @journal and @record, which is empty then: @m, a new migration, is as that one was,
 * as far as that is known without looking at anything. */
void record_take(struct migration *m, struct journal *journal, struct record *record);

/* The row that the record tells of. steps_count when there is none. */
size_t record_row(const struct record *record);

/* The one that its migration has come to at most: with the destination's QEMU started again
 * (--retries), what was done in the source's is there whatever the row. */
size_t record_furthest_row(const struct record *record);

#endif
