/* What status, cancel and recover share: which moves are on record, how they are named by the user
 * and to him. */
#ifndef VMFERRY_CLI_JOURNALS_H
#define VMFERRY_CLI_JOURNALS_H

#include <stdio.h>

#include "cli/cli.h"
#include "journal/journal.h"

/* A line for people, without its control bytes: what a journal names may be any bytes. */
void journals_say(FILE *to, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* How the guest of @r, and where it goes, are called in words. Borrowed. */
const char *journals_guest(const struct record *r);
const char *journals_destination(const struct record *r);

/* Whether the user means this one: by the guest's name, its UUID, its monitor on the source, or
 * the journal's own path. */
bool journals_is_named(const struct journal_entry *entry, const char *vm);

/* All that there are; the caller's to journal_list_deinit. -1, and said, when they cannot be
 * read: what is abandoned is not known then, and a human has to look. */
int journals_read(struct journal_list *list);

/* The most urgent first (urgency.h), of these the oldest; those that cannot be read come last. */
void journals_sort(struct journal_list *list);

/* Says it, and gives the exit code: @code; of a journal that cannot be read; of a @vm that is not
 * among those of @list. */
int journals_complain(enum exit_code code, const char *text);
int journals_complain_of(const struct journal_entry *entry);
int journals_unknown(const struct journal_list *list, const char *vm);

/* The user's options, and what @record remembers where there are none. Where the user wants to go
 * to another host now, his options for SSH are of that host, and only the record's count. */
struct options journals_options(const struct cmdline *cmd, const struct record *record);

#endif
