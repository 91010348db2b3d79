/* Journals in a directory of their own, and a process that holds one. */
#ifndef VMFERRY_TESTS_JOURNAL_RIG_H
#define VMFERRY_TESTS_JOURNAL_RIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/str.h"
#include "journal/journal.h"
#include "record_sample.h"

struct journal_rig {
	struct err err;
	char directory[32];
	char path[128]; /* of the journal of SAMPLE_ID in it */
	pid_t child;
	int child_ready;
};

extern struct journal_rig rig;

/* The directory, and what is in it. */
void rig_set_up(void);
void rig_remove_all(void);
bool rig_is_empty_directory(void);
size_t rig_count_files(void); /* journals in it, as journal_list() has them */

/* The file's bytes, past the journal. */
void rig_read_whole(struct buf *content);
void rig_write_whole(const char *content, size_t len);

/* Records are told apart by `since`; that of rig_create() is 1. */
struct record rig_record_of(int64_t since);
struct journal *rig_create(void);
void rig_append(struct journal *journal, int64_t since, bool durable);

/* Opens it, and gives `since` of its last record, or 0 when it has none. The second closes it. */
int64_t rig_reopen(struct journal **journal);
int64_t rig_last_since(void);
void rig_check_open_fails(enum err_kind kind, const char *word);

/* A child that makes the journal, with records 1 and 2, and then does @run. */
void rig_fork_child(void (*run)(struct journal *journal));
void rig_reap(int signal_number); /* sent first, if not 0 */

/* Each until, or at, SIGTERM. */
void rig_child_holds(struct journal *journal);
void rig_child_ends_it(struct journal *journal); /* by record 3, and lives on */
void rig_child_takes_no_notice(struct journal *journal);

#endif
