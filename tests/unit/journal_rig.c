#include "journal_rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

struct journal_rig rig = {.directory = "/tmp/test-journal-XXXXXX"};

void rig_remove_all(void)
{
	_autofree_ char *command = str_printf("rm -rf %s", rig.directory);

	if (system(command) != 0)
		fprintf(stderr, "%s failed\n", command);
}

void rig_set_up(void)
{
	ck_assert_ptr_nonnull(mkdtemp(rig.directory));
	snprintf(rig.path, sizeof(rig.path), "%s/" SAMPLE_ID ".journal", rig.directory);
	rig.err = (struct err){0};
}

void rig_read_whole(struct buf *content)
{
	char piece[65536];
	int fd = open(rig.path, O_RDONLY);
	ssize_t n;

	ck_assert_int_ge(fd, 0);
	while ((n = read(fd, piece, sizeof(piece))) > 0)
		buf_add(content, piece, (size_t)n);
	close(fd);
}

void rig_write_whole(const char *content, size_t len)
{
	int fd = open(rig.path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, content, len), len);
	close(fd);
}

size_t rig_count_files(void)
{
	struct journal_list list;
	size_t count;

	ck_assert_ok(journal_list(rig.directory, NULL, &list, &rig.err), &rig.err);
	count = list.count;
	journal_list_deinit(&list);
	return count;
}

bool rig_is_empty_directory(void)
{
	return rmdir(rig.directory) == 0 && mkdir(rig.directory, 0700) == 0;
}

struct record rig_record_of(int64_t since)
{
	struct record record = record_minimal();

	record.since = since;
	return record;
}

struct journal *rig_create(void)
{
	struct record record = rig_record_of(1);
	struct journal *journal = journal_create(rig.directory, &record, &rig.err);

	ck_assert_msg(journal != NULL, "%s", rig.err.text);
	return journal;
}

void rig_append(struct journal *journal, int64_t since, bool durable)
{
	struct record record = rig_record_of(since);

	ck_assert_ok(journal_append(journal, &record, durable, &rig.err), &rig.err);
}

/* Opens it, and gives `since` of its last record, or 0 when there is none. */
int64_t rig_reopen(struct journal **journal)
{
	struct record record;
	pid_t holder;
	int64_t since;

	*journal = journal_open(rig.path, &record, &holder, &rig.err);
	if (!*journal) {
		ck_assert_int_eq(rig.err.kind, ERR_FAILED);
		ck_assert_has(rig.err.text, "has not one whole record");
		return 0;
	}
	since = record.since;
	record_deinit(&record);
	return since;
}

int64_t rig_last_since(void)
{
	struct journal *journal;
	int64_t since = rig_reopen(&journal);

	journal_close(journal);
	return since;
}

void rig_check_open_fails(enum err_kind kind, const char *word)
{
	struct record record;
	pid_t holder;

	ck_assert_ptr_null(journal_open(rig.path, &record, &holder, &rig.err));
	ck_assert_int_eq(rig.err.kind, kind);
	ck_assert_has(rig.err.text, word);
	ck_assert_ptr_null(record.id);
}

static void on_term(int signal_number)
{
	(void)signal_number;
}

/* Blocked but for when it waits, so that none comes too early. */
static void child_wait_term(void)
{
	struct sigaction action = {.sa_handler = on_term};
	sigset_t none;

	sigemptyset(&none);
	sigaction(SIGTERM, &action, NULL);
	sigsuspend(&none);
}

void rig_fork_child(void (*run)(struct journal *journal))
{
	int ready[2];
	sigset_t term, before;
	char byte;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	ck_assert_int_eq(pipe(ready), 0);
	rig.child = fork();
	if (rig.child == 0) {
		struct journal *journal = rig_create();

		rig_append(journal, 2, false);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		run(journal);
		_exit(0);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(ready[1]);
	rig.child_ready = ready[0];
	ck_assert_int_eq(read(rig.child_ready, &byte, 1), 1);
}

void rig_child_holds(struct journal *journal)
{
	(void)journal;
	child_wait_term();
}

void rig_child_ends_it(struct journal *journal)
{
	struct record record = rig_record_of(3);

	child_wait_term();
	record.state = RECORD_ENDED;
	record.outcome = RECORD_BACK;
	if (journal_end(journal, &record, &rig.err) < 0)
		_exit(1);
	journal_close(journal);
	child_wait_term(); /* it goes on without */
}

void rig_child_takes_no_notice(struct journal *journal)
{
	(void)journal;
	for (;;)
		child_wait_term();
}

void rig_reap(int signal_number)
{
	if (signal_number)
		kill(rig.child, signal_number);
	ck_assert_int_eq(waitpid(rig.child, NULL, 0), rig.child);
	close(rig.child_ready);
}
