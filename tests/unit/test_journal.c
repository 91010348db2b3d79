/* What is written is found, and goes when it has ended. */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "journal_rig.h"
#include "unit.h"

START_TEST(first_record_is_there_when_it_is_made)
{
	struct journal *journal;
	struct stat st;

	rig_set_up();
	journal = rig_create();
	ck_assert_str_eq(journal_path(journal), rig.path);
	ck_assert_int_eq(stat(rig.path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	journal_close(journal);
	ck_assert_int_eq(rig_last_since(), 1);
	rig_remove_all();
}
END_TEST

START_TEST(last_record_counts)
{
	struct journal *journal;

	rig_set_up();
	journal = rig_create();
	for (int i = 2; i < 300; i++)
		rig_append(journal, i, i % 2);
	journal_close(journal);
	ck_assert_int_eq(rig_reopen(&journal), 299);
	rig_append(journal, 300, true);
	rig_append(journal, 301, true);
	journal_close(journal);
	ck_assert_int_eq(rig_last_since(), 301);
	rig_remove_all();
}
END_TEST

START_TEST(full_record_comes_back_from_the_file)
{
	struct record record = record_sample();
	struct record back;
	struct journal *journal;
	pid_t holder;

	rig_set_up();
	record.state = RECORD_DONE;
	journal = rig_create();
	ck_assert_ok(journal_append(journal, &record, true, &rig.err), &rig.err);
	journal_close(journal);
	journal = journal_open(rig.path, &back, &holder, &rig.err);
	ck_assert_ptr_null(record_difference(&record, &back));
	record_deinit(&back);
	journal_close(journal);
	rig_remove_all();
}
END_TEST

START_TEST(closed_file_is_text)
{
	struct journal *journal;
	_cleanup_buf_ struct buf content = {0};

	rig_set_up();
	journal = rig_create();
	rig_append(journal, 2, true);
	journal_close(journal);
	rig_read_whole(&content);
	ck_assert_uint_eq(content.len, strlen(content.data));
	ck_assert_int_eq(content.data[content.len - 1], '\n');
	rig_remove_all();
}
END_TEST

START_TEST(room_is_no_record)
{
	_cleanup_buf_ struct buf content = {0};

	rig_set_up();
	rig_fork_child(rig_child_holds);
	rig_reap(SIGKILL);
	rig_read_whole(&content);
	ck_assert_uint_gt(content.len, 100000); /* there is room */
	ck_assert_int_eq(content.data[content.len - 1], '\0');
	ck_assert_int_eq(rig_last_since(), 2);
	rig_remove_all();
}
END_TEST

START_TEST(long_records_are_read)
{
	struct record record = rig_record_of(2);
	_autofree_ char *text = mem_zalloc(3u << 20, 1);
	struct journal *journal;

	rig_set_up();
	memset(text, 'x', (3u << 20) - 1);
	record.start = text;
	journal = rig_create();
	ck_assert_ok(journal_append(journal, &record, true, &rig.err), &rig.err);
	ck_assert_ok(journal_append(journal, &record, false, &rig.err), &rig.err);
	journal_close(journal);
	ck_assert_int_eq(rig_reopen(&journal), 2);
	rig_append(journal, 3, false);
	journal_close(journal);
	ck_assert_int_eq(rig_last_since(), 3);
	rig_remove_all();
}
END_TEST

START_TEST(there_is_one_of_an_id)
{
	struct record record = rig_record_of(9);
	struct journal *journal;

	rig_set_up();
	journal = rig_create();
	journal_close(journal);
	ck_assert_ptr_null(journal_create(rig.directory, &record, &rig.err));
	ck_assert_has(rig.err.text, "File exists");
	ck_assert_int_eq(rig_last_since(), 1);
	rig_remove_all();
}
END_TEST

START_TEST(bad_record_is_not_appended)
{
	struct record record = rig_record_of(2);
	struct journal *journal;

	rig_set_up();
	record.step = NULL;
	ck_assert_ptr_null(journal_create(rig.directory, &record, &rig.err));
	ck_assert(rig_is_empty_directory());
	journal = rig_create();
	ck_assert_int_eq(journal_append(journal, &record, true, &rig.err), -1);
	ck_assert_has(rig.err.text, "step is missing");
	rig_append(journal, 3, true);
	journal_close(journal);
	ck_assert_int_eq(rig_last_since(), 3);
	rig_remove_all();
}
END_TEST

START_TEST(ended_one_is_removed)
{
	struct record record = rig_record_of(2);
	struct journal *journal;

	rig_set_up();
	journal = rig_create();
	record.state = RECORD_ENDED;
	ck_assert_ok(journal_end(journal, &record, &rig.err), &rig.err);
	ck_assert(rig_is_empty_directory());
	journal_close(journal);
	ck_assert(rig_is_empty_directory());
	rig_check_open_fails(ERR_CLOSED, "is not there");
	rig_remove_all();
}
END_TEST

START_TEST(ended_one_is_not_opened)
{
	struct record record = rig_record_of(2);
	struct journal *journal;

	rig_set_up();
	journal = rig_create();
	record.state = RECORD_ENDED;
	ck_assert_ok(journal_append(journal, &record, true, &rig.err), &rig.err);
	journal_close(journal);
	rig_check_open_fails(ERR_CLOSED, "has ended");
	ck_assert_uint_eq(rig_count_files(), 0);
	ck_assert(rig_is_empty_directory());
	rig_remove_all();
}
END_TEST

/* The limit lets a part of the line in. */
START_TEST(failed_append_leaves_the_last_record)
{
	struct rlimit before, limit;
	struct record record = rig_record_of(2);
	struct journal *journal;
	_autofree_ char *text = mem_zalloc(2u << 20, 1);

	rig_set_up();
	memset(text, 'x', (2u << 20) - 1);
	record.start = text;
	journal = rig_create();
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = (struct rlimit){1u << 20, before.rlim_max};
	setrlimit(RLIMIT_FSIZE, &limit);
	ck_assert_int_eq(journal_append(journal, &record, true, &rig.err), -1);
	ck_assert_has(rig.err.text, rig.path);
	rig_append(journal, 3, true);
	setrlimit(RLIMIT_FSIZE, &before);
	journal_close(journal);
	ck_assert_int_eq(rig_last_since(), 3);
	rig_remove_all();
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
	};

	return unit_run("journal", tests, COUNT_OF(tests));
}
