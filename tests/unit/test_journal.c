/* Journals in a directory of their own: what is written is found, whatever it is cut to, whoever
 * holds it. */
#include "journal/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "record_sample.h"
#include "unit.h"

#define OTHER_ID "fedcba9876543210fedcba9876543210"

static struct err err;
static char directory[] = "/tmp/test-journal-XXXXXX";
static char path[128];

/* --- the directory and what is in it --- */

static void remove_all(void)
{
	_autofree_ char *command = str_printf("rm -rf %s", directory);

	if (system(command) != 0)
		fprintf(stderr, "%s failed\n", command);
}

static void set_up(void)
{
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/" SAMPLE_ID ".journal", directory);
	err = (struct err){0};
}

static void read_whole(struct buf *content)
{
	char piece[65536];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	ck_assert_int_ge(fd, 0);
	while ((n = read(fd, piece, sizeof(piece))) > 0)
		buf_add(content, piece, (size_t)n);
	close(fd);
}

static void write_whole(const char *content, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, content, len), len);
	close(fd);
}

static size_t count_files(void)
{
	struct journal_list list;
	size_t count;

	ck_assert_ok(journal_list(directory, NULL, &list, &err), &err);
	count = list.count;
	journal_list_deinit(&list);
	return count;
}

static bool is_empty_directory(void)
{
	return rmdir(directory) == 0 && mkdir(directory, 0700) == 0;
}

/* --- journals --- */

static struct record record_of(int64_t since)
{
	struct record record = record_minimal();

	record.since = since;
	return record;
}

static struct journal *create(void)
{
	struct record record = record_of(1);
	struct journal *journal = journal_create(directory, &record, &err);

	ck_assert_msg(journal != NULL, "%s", err.text);
	return journal;
}

static void append(struct journal *journal, int64_t since, bool durable)
{
	struct record record = record_of(since);

	ck_assert_ok(journal_append(journal, &record, durable, &err), &err);
}

/* Opens it, and gives `since` of its last record, or 0 when there is none. */
static int64_t reopen(struct journal **journal)
{
	struct record record;
	pid_t holder;
	int64_t since;

	*journal = journal_open(path, &record, &holder, &err);
	if (!*journal) {
		ck_assert_int_eq(err.kind, ERR_FAILED);
		ck_assert_has(err.text, "has not one whole record");
		return 0;
	}
	since = record.since;
	record_deinit(&record);
	return since;
}

static int64_t last_since(void)
{
	struct journal *journal;
	int64_t since = reopen(&journal);

	journal_close(journal);
	return since;
}

static void check_open_fails(enum err_kind kind, const char *word)
{
	struct record record;
	pid_t holder;

	ck_assert_ptr_null(journal_open(path, &record, &holder, &err));
	ck_assert_int_eq(err.kind, kind);
	ck_assert_has(err.text, word);
	ck_assert_ptr_null(record.id);
}

/* --- a child that holds it --- */

static pid_t child;
static int child_ready;

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

static void fork_child(void (*run)(struct journal *journal))
{
	int ready[2];
	sigset_t term, before;
	char byte;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	ck_assert_int_eq(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		struct journal *journal = create();

		append(journal, 2, false);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		run(journal);
		_exit(0);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(ready[1]);
	child_ready = ready[0];
	ck_assert_int_eq(read(child_ready, &byte, 1), 1);
}

static void child_holds(struct journal *journal)
{
	(void)journal;
	child_wait_term();
}

static void child_ends_it(struct journal *journal)
{
	struct record record = record_of(3);

	child_wait_term();
	record.state = RECORD_ENDED;
	record.outcome = RECORD_BACK;
	if (journal_end(journal, &record, &err) < 0)
		_exit(1);
	journal_close(journal);
	child_wait_term(); /* it goes on without */
}

static void child_takes_no_notice(struct journal *journal)
{
	(void)journal;
	for (;;)
		child_wait_term();
}

static void reap(int signal_number)
{
	if (signal_number)
		kill(child, signal_number);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	close(child_ready);
}

/* --- making, appending, ending --- */

START_TEST(first_record_is_there_when_it_is_made)
{
	struct journal *journal;
	struct stat st;

	set_up();
	journal = create();
	ck_assert_str_eq(journal_path(journal), path);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	journal_close(journal);
	ck_assert_int_eq(last_since(), 1);
	remove_all();
}
END_TEST

START_TEST(last_record_counts)
{
	struct journal *journal;

	set_up();
	journal = create();
	for (int i = 2; i < 300; i++)
		append(journal, i, i % 2);
	journal_close(journal);
	ck_assert_int_eq(reopen(&journal), 299);
	append(journal, 300, true);
	append(journal, 301, true);
	journal_close(journal);
	ck_assert_int_eq(last_since(), 301);
	remove_all();
}
END_TEST

START_TEST(full_record_comes_back_from_the_file)
{
	struct record record = record_sample();
	struct record back;
	struct journal *journal;
	pid_t holder;

	set_up();
	record.state = RECORD_DONE;
	journal = create();
	ck_assert_ok(journal_append(journal, &record, true, &err), &err);
	journal_close(journal);
	journal = journal_open(path, &back, &holder, &err);
	ck_assert_ptr_null(record_difference(&record, &back));
	record_deinit(&back);
	journal_close(journal);
	remove_all();
}
END_TEST

START_TEST(closed_file_is_text)
{
	struct journal *journal;
	_cleanup_buf_ struct buf content = {0};

	set_up();
	journal = create();
	append(journal, 2, true);
	journal_close(journal);
	read_whole(&content);
	ck_assert_uint_eq(content.len, strlen(content.data));
	ck_assert_int_eq(content.data[content.len - 1], '\n');
	remove_all();
}
END_TEST

START_TEST(room_is_no_record)
{
	_cleanup_buf_ struct buf content = {0};

	set_up();
	fork_child(child_holds);
	reap(SIGKILL);
	read_whole(&content);
	ck_assert_uint_gt(content.len, 100000); /* there is room */
	ck_assert_int_eq(content.data[content.len - 1], '\0');
	ck_assert_int_eq(last_since(), 2);
	remove_all();
}
END_TEST

START_TEST(long_records_are_read)
{
	struct record record = record_of(2);
	_autofree_ char *text = mem_zalloc(3u << 20, 1);
	struct journal *journal;

	set_up();
	memset(text, 'x', (3u << 20) - 1);
	record.start = text;
	journal = create();
	ck_assert_ok(journal_append(journal, &record, true, &err), &err);
	ck_assert_ok(journal_append(journal, &record, false, &err), &err);
	journal_close(journal);
	ck_assert_int_eq(reopen(&journal), 2);
	append(journal, 3, false);
	journal_close(journal);
	ck_assert_int_eq(last_since(), 3);
	remove_all();
}
END_TEST

START_TEST(there_is_one_of_an_id)
{
	struct record record = record_of(9);
	struct journal *journal;

	set_up();
	journal = create();
	journal_close(journal);
	ck_assert_ptr_null(journal_create(directory, &record, &err));
	ck_assert_has(err.text, "File exists");
	ck_assert_int_eq(last_since(), 1);
	remove_all();
}
END_TEST

START_TEST(bad_record_is_not_appended)
{
	struct record record = record_of(2);
	struct journal *journal;

	set_up();
	record.step = NULL;
	ck_assert_ptr_null(journal_create(directory, &record, &err));
	ck_assert(is_empty_directory());
	journal = create();
	ck_assert_int_eq(journal_append(journal, &record, true, &err), -1);
	ck_assert_has(err.text, "step is missing");
	append(journal, 3, true);
	journal_close(journal);
	ck_assert_int_eq(last_since(), 3);
	remove_all();
}
END_TEST

START_TEST(ended_one_is_removed)
{
	struct record record = record_of(2);
	struct journal *journal;

	set_up();
	journal = create();
	record.state = RECORD_ENDED;
	ck_assert_ok(journal_end(journal, &record, &err), &err);
	ck_assert(is_empty_directory());
	journal_close(journal);
	ck_assert(is_empty_directory());
	check_open_fails(ERR_CLOSED, "is not there");
	remove_all();
}
END_TEST

START_TEST(ended_one_is_not_opened)
{
	struct record record = record_of(2);
	struct journal *journal;

	set_up();
	journal = create();
	record.state = RECORD_ENDED;
	ck_assert_ok(journal_append(journal, &record, true, &err), &err);
	journal_close(journal);
	check_open_fails(ERR_CLOSED, "has ended");
	ck_assert_uint_eq(count_files(), 0);
	ck_assert(is_empty_directory());
	remove_all();
}
END_TEST

/* The limit lets a part of the line in. */
START_TEST(failed_append_leaves_the_last_record)
{
	struct rlimit before, limit;
	struct record record = record_of(2);
	struct journal *journal;
	_autofree_ char *text = mem_zalloc(2u << 20, 1);

	set_up();
	memset(text, 'x', (2u << 20) - 1);
	record.start = text;
	journal = create();
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = (struct rlimit){1u << 20, before.rlim_max};
	setrlimit(RLIMIT_FSIZE, &limit);
	ck_assert_int_eq(journal_append(journal, &record, true, &err), -1);
	ck_assert_has(err.text, path);
	append(journal, 3, true);
	setrlimit(RLIMIT_FSIZE, &before);
	journal_close(journal);
	ck_assert_int_eq(last_since(), 3);
	remove_all();
}
END_TEST

/* --- what a crash leaves --- */

/* Where the line ends that is the last one in the first @len bytes, and its `since`, or 0. */
static int64_t expected_since(const struct buf *content, size_t len)
{
	int64_t since = 0;

	for (size_t i = 0; i < len; i++)
		since += content->data[i] == '\n';
	return since;
}

static void fill(struct buf *content, int records)
{
	struct journal *journal = create();

	for (int i = 2; i <= records; i++)
		append(journal, i, false);
	journal_close(journal);
	read_whole(content);
}

/* @len bytes of @content, and then @more. */
static void check_cut(const struct buf *content, size_t len, const char *more, size_t more_len)
{
	int64_t expected = expected_since(content, len);
	_cleanup_buf_ struct buf cut = {0};
	struct journal *journal;

	buf_add(&cut, content->data, len);
	buf_add(&cut, more, more_len);
	write_whole(cut.data, cut.len);
	ck_assert_int_eq(reopen(&journal), expected);
	if (!expected)
		return;
	append(journal, 1000, false);
	journal_close(journal);
	ck_assert_int_eq(last_since(), 1000);
}

START_TEST(cut_anywhere_the_last_whole_record_counts)
{
	_cleanup_buf_ struct buf content = {0};

	set_up();
	fill(&content, 20);
	srandom(1);
	for (int i = 0; i < 1000; i++)
		check_cut(&content, (size_t)random() % (content.len + 1), "", 0);
	remove_all();
}
END_TEST

START_TEST(torn_tail_of_any_kind_is_no_record)
{
	static const char nuls[70000];
	static const char hole[] = "{\"vmferry-journal\":1,\"id\":\"\0\0\0\0\"}\n";
	_cleanup_buf_ struct buf content = {0};

	set_up();
	fill(&content, 20);
	srandom(2);
	for (int i = 0; i < 200; i++) {
		size_t len = (size_t)random() % (content.len + 1);

		check_cut(&content, len, nuls, sizeof(nuls));
		check_cut(&content, len, "\xff\x01{", 3);
	}
	check_cut(&content, content.len, hole, sizeof(hole) - 1);
	remove_all();
}
END_TEST

/* A page of a line that has not come to the disk, though the next has. */
START_TEST(line_with_a_hole_is_no_record)
{
	_cleanup_buf_ struct buf content = {0};
	struct journal *journal;
	size_t last;

	set_up();
	fill(&content, 20);
	last = content.len / 20 * 19;
	for (size_t from = last; from < content.len - 2; from += 7) {
		_cleanup_buf_ struct buf torn = {0};

		buf_add(&torn, content.data, content.len);
		memset(torn.data + from, 0, from + 20 < content.len - 1 ? 20 : 1);
		write_whole(torn.data, torn.len);
		ck_assert_int_eq(reopen(&journal), from < content.len - 1 ? 19 : 20);
		append(journal, 21, false);
		journal_close(journal);
		ck_assert_int_eq(last_since(), 21);
	}
	remove_all();
}
END_TEST

/* That is none of ours: somebody has to look. */
START_TEST(whole_line_that_is_no_record_is_an_error)
{
	static const char newer[] = "{\"vmferry-journal\":2}\n";
	_cleanup_buf_ struct buf content = {0};

	set_up();
	fill(&content, 3);
	buf_add(&content, "hello\n", 6);
	write_whole(content.data, content.len);
	check_open_fails(ERR_FAILED, "is no JSON");
	buf_drop(&content, content.len - 1);
	buf_add(&content, newer, strlen(newer));
	write_whole(content.data, content.len);
	check_open_fails(ERR_FAILED, "is no JSON");
	write_whole(newer, strlen(newer));
	check_open_fails(ERR_FAILED, "version 2");
	remove_all();
}
END_TEST

START_TEST(line_of_5_mib_is_an_error)
{
	size_t len = 5u << 20;
	_autofree_ char *line = mem_zalloc(len, 1);

	set_up();
	memset(line, ' ', len);
	line[len - 1] = '\n';
	write_whole(line, len);
	check_open_fails(ERR_FAILED, "is longer than");
	line[0] = '\n';
	write_whole(line, len);
	check_open_fails(ERR_FAILED, "is longer than");
	remove_all();
}
END_TEST

START_TEST(empty_file_has_no_record)
{
	set_up();
	write_whole("", 0);
	check_open_fails(ERR_FAILED, "has not one whole record");
	remove_all();
}
END_TEST

/* --- who may --- */

START_TEST(file_of_others_is_refused)
{
	struct journal *journal;
	_autofree_ char *real = NULL;

	set_up();
	journal = create();
	journal_close(journal);
	chmod(path, 0620);
	check_open_fails(ERR_FAILED, "others may write to it");
	chmod(path, 0602);
	check_open_fails(ERR_FAILED, "others may write to it");
	chmod(path, 0644);
	ck_assert_int_eq(last_since(), 1);
	real = str_printf("%s/real", directory);
	ck_assert_int_eq(rename(path, real), 0);
	ck_assert_int_eq(symlink("real", path), 0);
	check_open_fails(ERR_FAILED, "is a symbolic link");
	unlink(path);
	mkfifo(path, 0600);
	check_open_fails(ERR_FAILED, "is no regular file");
	unlink(path);
	mkdir(path, 0700);
	check_open_fails(ERR_FAILED, "open: Is a directory");
	remove_all();
}
END_TEST

START_TEST(directory_of_others_is_refused)
{
	struct record record = record_of(1);
	struct journal_list list;
	struct journal *journal;

	set_up();
	journal = create();
	journal_close(journal);
	chmod(directory, 0770);
	check_open_fails(ERR_FAILED, "others may write to it");
	ck_assert_ptr_null(journal_create(directory, &record, &err));
	ck_assert_has(err.text, "others may write to it");
	ck_assert_int_eq(journal_lock_directory(directory, 0, &err), -1);
	ck_assert_int_eq(journal_list(directory, NULL, &list, &err), -1);
	ck_assert_has(err.text, directory);
	remove_all();
}
END_TEST

START_TEST(owner_is_looked_at)
{
	struct journal *journal;

	if (geteuid() != 0)
		return; /* only root can give a file away */
	set_up();
	journal = create();
	journal_close(journal);
	ck_assert_int_eq(chown(path, 1, 0), 0);
	check_open_fails(ERR_FAILED, "belongs to another user");
	ck_assert_int_eq(chown(path, 0, 0), 0);
	ck_assert_int_eq(chown(directory, 1, 0), 0);
	check_open_fails(ERR_FAILED, "belongs to another user");
	remove_all();
}
END_TEST

/* --- the lock --- */

START_TEST(second_process_is_refused_with_the_first_ones_pid)
{
	struct record record;
	pid_t holder;

	set_up();
	fork_child(child_holds);
	ck_assert_ptr_null(journal_open(path, &record, &holder, &err));
	ck_assert_int_eq(err.kind, ERR_REFUSED);
	ck_assert_int_eq(holder, child);
	ck_assert_has(err.text, "works on it");
	reap(SIGKILL);
	ck_assert_int_eq(last_since(), 2);
	remove_all();
}
END_TEST

static void check_holder(const struct journal *own, pid_t holder)
{
	struct journal_list list;

	ck_assert_ok(journal_list(directory, own, &list, &err), &err);
	ck_assert_uint_eq(list.count, 1);
	ck_assert_int_eq(list.list[0].holder, holder);
	journal_list_deinit(&list);
}

/* Tells by its exit code whether it may open @path. */
static bool another_may_open(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct record record;
		pid_t holder;

		_exit(journal_open(path, &record, &holder, &err) != NULL);
	}
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

START_TEST(listing_does_not_drop_our_lock)
{
	struct record record = record_of(1);
	struct journal *journal, *other;
	_autofree_ char *second = NULL;

	set_up();
	record.id = OTHER_ID;
	other = journal_create(directory, &record, &err);
	journal_close(other);
	journal = create();
	second = str_printf("%s/second-name.journal", directory);
	ck_assert_int_eq(link(path, second), 0);
	check_holder(journal, 0);
	ck_assert(!another_may_open());
	journal_close(journal);
	ck_assert(another_may_open());
	remove_all();
}
END_TEST

/* --- listing --- */

static void create_old(const char *id, int64_t begun)
{
	struct record record = record_of(1);

	record.id = (char *)id;
	record.begun = begun;
	journal_close(journal_create(directory, &record, &err));
}

START_TEST(list_is_in_order_of_age)
{
	struct journal_list list;

	set_up();
	create_old("11111111111111111111111111111111", 30);
	create_old("22222222222222222222222222222222", 10);
	create_old("33333333333333333333333333333333", 20);
	write_whole("hello\n", 6);
	ck_assert_ok(journal_list(directory, NULL, &list, &err), &err);
	ck_assert_uint_eq(list.count, 4);
	ck_assert_int_eq(list.list[0].record.begun, 10);
	ck_assert_int_eq(list.list[1].record.begun, 20);
	ck_assert_int_eq(list.list[2].record.begun, 30);
	ck_assert(!list.list[3].readable);
	ck_assert_str_eq(list.list[3].path, path);
	ck_assert_has(list.list[3].error, "is no JSON");
	journal_list_deinit(&list);
	remove_all();
}
END_TEST

START_TEST(list_tells_who_holds)
{
	set_up();
	fork_child(child_holds);
	check_holder(NULL, child);
	reap(SIGKILL);
	check_holder(NULL, 0);
	remove_all();
}
END_TEST

START_TEST(list_has_journals_only)
{
	struct journal_list list;
	_autofree_ char *other = NULL;

	set_up();
	other = str_printf("%s/notes.txt", directory);
	ck_assert_int_eq(symlink("/etc/passwd", path), 0);
	ck_assert_int_eq(symlink("/etc/passwd", other), 0);
	ck_assert_ok(journal_list(directory, NULL, &list, &err), &err);
	ck_assert_uint_eq(list.count, 1);
	ck_assert_str_eq(list.list[0].error, "is a symbolic link");
	journal_list_deinit(&list);
	remove_all();
	ck_assert_uint_eq(count_files(), 0); /* nor a directory */
}
END_TEST

/* --- to end another's work --- */

START_TEST(holder_ends_and_its_last_record_is_had)
{
	struct record last;

	set_up();
	fork_child(child_ends_it);
	ck_assert_ok(journal_signal_holder(path, SIGTERM, 60000, &last, &err), &err);
	ck_assert_int_eq(last.since, 3);
	ck_assert_int_eq(last.state, RECORD_ENDED);
	ck_assert_int_eq(last.outcome, RECORD_BACK);
	record_deinit(&last);
	ck_assert(is_empty_directory());
	reap(SIGKILL);
	remove_all();
}
END_TEST

START_TEST(holder_dies_and_its_last_record_is_had)
{
	struct record last;

	set_up();
	fork_child(child_holds);
	ck_assert_ok(journal_signal_holder(path, SIGKILL, 60000, &last, &err), &err);
	ck_assert_int_eq(last.since, 2);
	ck_assert_int_eq(last.state, RECORD_BEGUN);
	record_deinit(&last);
	reap(0);
	ck_assert_int_eq(last_since(), 2);
	remove_all();
}
END_TEST

START_TEST(holder_that_goes_on_is_waited_for_no_longer)
{
	struct record last;

	set_up();
	fork_child(child_takes_no_notice);
	ck_assert_int_eq(journal_signal_holder(path, SIGTERM, 100, &last, &err), -1);
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	ck_assert_ptr_null(last.id);
	check_holder(NULL, child);
	reap(SIGKILL);
	remove_all();
}
END_TEST

START_TEST(nobody_is_signalled)
{
	struct record last;

	set_up();
	ck_assert_int_eq(journal_signal_holder(path, SIGTERM, 0, &last, &err), -1);
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	journal_close(create());
	ck_assert_int_eq(journal_signal_holder(path, SIGTERM, 0, &last, &err), -1);
	ck_assert_int_eq(err.kind, ERR_REFUSED);
	ck_assert_ptr_null(last.id);
	remove_all();
}
END_TEST

/* --- the directory --- */

START_TEST(directory_is_made_with_its_parents)
{
	_autofree_ char *deep = NULL;
	struct stat st;
	int fd;

	set_up();
	deep = str_printf("%s/state/a/b/", directory);
	fd = journal_lock_directory(deep, 1000, &err);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(stat(deep, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0700);
	journal_unlock_directory(fd);
	fd = journal_lock_directory(deep, 0, &err);
	ck_assert_int_ge(fd, 0);
	journal_unlock_directory(fd);
	remove_all();
}
END_TEST

START_TEST(directory_is_held_by_one)
{
	int fd, second;

	set_up();
	fd = journal_lock_directory(directory, 0, &err);
	ck_assert_int_eq(journal_lock_directory(directory, 50, &err), -1);
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	journal_unlock_directory(fd);
	second = journal_lock_directory(directory, 0, &err);
	ck_assert_int_ge(second, 0);
	journal_unlock_directory(second);
	journal_unlock_directory(-1);
	remove_all();
}
END_TEST

START_TEST(directory_is_waited_for)
{
	char byte;
	int ready[2], fd;
	pid_t pid;

	set_up();
	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		fd = journal_lock_directory(directory, 0, &err);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		poll(NULL, 0, 100); /* it makes its journal */
		journal_unlock_directory(fd);
		_exit(0);
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	fd = journal_lock_directory(directory, 60000, &err);
	ck_assert_int_ge(fd, 0);
	journal_unlock_directory(fd);
	waitpid(pid, NULL, 0);
	remove_all();
}
END_TEST

static void check_directory(const char *expected)
{
	_autofree_ char *found = journal_directory(&err);

	if (expected)
		ck_assert_str_eq(found, expected);
	else
		ck_assert_ptr_null(found);
}

START_TEST(directory_is_where_systemd_says)
{
	setenv("STATE_DIRECTORY", "/var/lib/a", 1);
	check_directory("/var/lib/a");
	setenv("STATE_DIRECTORY", "/var/lib/a:/var/lib/b", 1);
	check_directory("/var/lib/a");
	setenv("STATE_DIRECTORY", "a", 1);
	check_directory(NULL);
	ck_assert_has(err.text, "STATE_DIRECTORY a is no absolute path");
}
END_TEST

START_TEST(directory_is_at_home)
{
	unsetenv("STATE_DIRECTORY");
	if (geteuid() == 0) {
		check_directory("/var/lib/vmferry");
		ck_assert_int_eq(seteuid(1), 0);
	}
	setenv("HOME", "/home/a", 1);
	setenv("XDG_STATE_HOME", "/state", 1);
	check_directory("/state/vmferry");
	setenv("XDG_STATE_HOME", "state", 1);
	check_directory("/home/a/.local/state/vmferry");
	unsetenv("XDG_STATE_HOME");
	check_directory("/home/a/.local/state/vmferry");
	unsetenv("HOME");
	check_directory(NULL);
	ck_assert_has(err.text, "set HOME");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		first_record_is_there_when_it_is_made,
		last_record_counts,
		full_record_comes_back_from_the_file,
		closed_file_is_text,
		room_is_no_record,
		long_records_are_read,
		there_is_one_of_an_id,
		bad_record_is_not_appended,
		ended_one_is_removed,
		ended_one_is_not_opened,
		failed_append_leaves_the_last_record,
		cut_anywhere_the_last_whole_record_counts,
		torn_tail_of_any_kind_is_no_record,
		line_with_a_hole_is_no_record,
		whole_line_that_is_no_record_is_an_error,
		line_of_5_mib_is_an_error,
		empty_file_has_no_record,
		file_of_others_is_refused,
		directory_of_others_is_refused,
		owner_is_looked_at,
		second_process_is_refused_with_the_first_ones_pid,
		listing_does_not_drop_our_lock,
		list_is_in_order_of_age,
		list_tells_who_holds,
		list_has_journals_only,
		holder_ends_and_its_last_record_is_had,
		holder_dies_and_its_last_record_is_had,
		holder_that_goes_on_is_waited_for_no_longer,
		nobody_is_signalled,
		directory_is_made_with_its_parents,
		directory_is_held_by_one,
		directory_is_waited_for,
		directory_is_where_systemd_says,
		directory_is_at_home,
	};

	return unit_run("journal", tests, COUNT_OF(tests));
}
