/* What a crash leaves: the last whole record counts, and the next one is not harmed. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "journal_rig.h"
#include "unit.h"

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
	struct journal *journal = rig_create();

	for (int i = 2; i <= records; i++)
		rig_append(journal, i, false);
	journal_close(journal);
	rig_read_whole(content);
}

/* @len bytes of @content, and then @more. */
static void check_cut(const struct buf *content, size_t len, const char *more, size_t more_len)
{
	int64_t expected = expected_since(content, len);
	_cleanup_buf_ struct buf cut = {0};
	struct journal *journal;

	buf_add(&cut, content->data, len);
	buf_add(&cut, more, more_len);
	rig_write_whole(cut.data, cut.len);
	ck_assert_int_eq(rig_reopen(&journal), expected);
	if (!expected)
		return;
	rig_append(journal, 1000, false);
	journal_close(journal);
	ck_assert_int_eq(rig_last_since(), 1000);
}

START_TEST(cut_anywhere_the_last_whole_record_counts)
{
	_cleanup_buf_ struct buf content = {0};

	rig_set_up();
	fill(&content, 20);
	srandom(1);
	for (int i = 0; i < 1000; i++)
		check_cut(&content, (size_t)random() % (content.len + 1), "", 0);
	rig_remove_all();
}
END_TEST

START_TEST(torn_tail_of_any_kind_is_no_record)
{
	static const char nuls[70000];
	static const char hole[] = "{\"vmferry-journal\":1,\"id\":\"\0\0\0\0\"}\n";
	_cleanup_buf_ struct buf content = {0};

	rig_set_up();
	fill(&content, 20);
	srandom(2);
	for (int i = 0; i < 200; i++) {
		size_t len = (size_t)random() % (content.len + 1);

		check_cut(&content, len, nuls, sizeof(nuls));
		check_cut(&content, len, "\xff\x01{", 3);
	}
	check_cut(&content, content.len, hole, sizeof(hole) - 1);
	rig_remove_all();
}
END_TEST

static int written[2];

static void write_on(struct journal *journal)
{
	for (int64_t since = 3;; since++) {
		rig_append(journal, since, since % 8 == 0);
		if (write(written[1], &since, sizeof(since)) != sizeof(since))
			return;
	}
}

START_TEST(killed_writer_leaves_what_it_has_written)
{
	srandom(3);
	rig_set_up();
	for (int i = 0; i < 50; i++) {
		int64_t known = 2, found;

		ck_assert_int_eq(pipe(written), 0);
		rig_fork_child(write_on);
		close(written[1]);
		for (long n = random() % 200; n >= 0; n--)
			ck_assert_int_eq(read(written[0], &known, sizeof(known)), sizeof(known));
		kill(rig.child, SIGKILL);
		while (read(written[0], &known, sizeof(known)) == sizeof(known))
			; /* what it wrote until then */
		rig_reap(0);
		close(written[0]);
		found = rig_last_since();
		ck_assert_int_ge(found, known);
		ck_assert_int_le(found, known + 1);
		ck_assert_int_eq(unlink(rig.path), 0);
	}
	rig_remove_all();
}
END_TEST

/* A page of a line that has not come to the disk, though the next has. */
START_TEST(line_with_a_hole_is_no_record)
{
	_cleanup_buf_ struct buf content = {0};
	struct journal *journal;
	size_t last;

	rig_set_up();
	fill(&content, 20);
	last = (size_t)((char *)memrchr(content.data, '\n', content.len - 1) - content.data) + 1;
	for (size_t from = last; from < content.len - 2; from += 7) {
		_cleanup_buf_ struct buf torn = {0};

		buf_add(&torn, content.data, content.len);
		memset(torn.data + from, 0, from + 20 < content.len - 1 ? 20 : 1);
		rig_write_whole(torn.data, torn.len);
		ck_assert_int_eq(rig_reopen(&journal), 19);
		rig_append(journal, 21, false);
		journal_close(journal);
		ck_assert_int_eq(rig_last_since(), 21);
	}
	rig_remove_all();
}
END_TEST

/* That is none of ours: somebody has to look. */
START_TEST(whole_line_that_is_no_record_is_an_error)
{
	static const char newer[] = "{\"vmferry-journal\":2}\n";
	_cleanup_buf_ struct buf content = {0};

	rig_set_up();
	fill(&content, 3);
	buf_add(&content, "hello\n", 6);
	rig_write_whole(content.data, content.len);
	rig_check_open_fails(ERR_FAILED, "is no JSON");
	rig_write_whole(newer, strlen(newer));
	rig_check_open_fails(ERR_FAILED, "version 2");
	rig_remove_all();
}
END_TEST

START_TEST(line_of_5_mib_is_an_error)
{
	size_t len = 5u << 20;
	_autofree_ char *line = mem_zalloc(len, 1);

	rig_set_up();
	memset(line, ' ', len);
	line[len - 1] = '\n';
	rig_write_whole(line, len);
	rig_check_open_fails(ERR_FAILED, "is longer than");
	line[0] = '\n';
	rig_write_whole(line, len);
	rig_check_open_fails(ERR_FAILED, "is longer than");
	rig_remove_all();
}
END_TEST

START_TEST(empty_file_has_no_record)
{
	rig_set_up();
	rig_write_whole("", 0);
	rig_check_open_fails(ERR_FAILED, "has not one whole record");
	rig_remove_all();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		cut_anywhere_the_last_whole_record_counts,
		torn_tail_of_any_kind_is_no_record,
		killed_writer_leaves_what_it_has_written,
		line_with_a_hole_is_no_record,
		whole_line_that_is_no_record_is_an_error,
		line_of_5_mib_is_an_error,
		empty_file_has_no_record,
	};

	return unit_run("journal_torn", tests, COUNT_OF(tests));
}
