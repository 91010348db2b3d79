/* What is on record comes back as it was, and what is no record is told. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "journal/record.h"
#include "record_sample.h"
#include "unit.h"

/* The strings of a record are its own. */
#define S(text) ((char[]){text})

static struct err err;

/* --- round trips --- */

static void check_round_trip(const struct record *record)
{
	_autofree_ char *line = record_write(record, &err);
	struct record back;

	ck_assert_msg(line != NULL, "%s", err.text);
	ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
	ck_assert_ok(record_read(&back, line, strlen(line) - 1, &err), &err);
	ck_assert_ptr_null(record_difference(record, &back));
	record_deinit(&back);
}

START_TEST(full_record_comes_back)
{
	struct record record = record_sample();

	check_round_trip(&record);
}
END_TEST

START_TEST(minimal_record_comes_back)
{
	struct record record = record_minimal();
	_autofree_ char *line = record_write(&record, &err);

	ck_assert_str_eq(line,
			 "{\"vmferry-journal\":1,\"id\":\"" SAMPLE_ID "\",\"step\":\"look\","
			 "\"state\":\"begun\",\"source\":\"/run/a.sock\","
			 "\"dst_socket\":\"/run/b.sock\",\"mirror\":\"auto\",\"disks\":[]}\n");
	check_round_trip(&record);
}
END_TEST

START_TEST(every_byte_of_a_text_comes_back)
{
	struct record record = record_minimal();
	char text[0x10000];
	char *p = text;

	for (int a = 1; a < 256; a += 1)
		for (int b = 1; b < 256; b += 3) {
			if ((size_t)(p - text) > sizeof(text) - 3)
				break;
			*p++ = (char)a;
			*p++ = (char)b;
		}
	*p = '\0';
	record.start = text;
	record.guest = text;
	check_round_trip(&record);
}
END_TEST

START_TEST(most_disks_come_back)
{
	struct record record = record_minimal();
	struct record_disk disks[RECORD_DISKS_MAX];
	char name[] = "disk";
	char path[] = "/srv/a";

	for (size_t i = 0; i < COUNT_OF(disks); i++)
		disks[i] = (struct record_disk){.name = name, .inode = i, .src = path};
	record.disks = disks;
	record.disks_count = COUNT_OF(disks);
	check_round_trip(&record);
}
END_TEST

START_TEST(states_have_names)
{
	ck_assert_str_eq(record_state_name(RECORD_BEGUN), "begun");
	ck_assert_str_eq(record_state_name(RECORD_DONE), "done");
	ck_assert_str_eq(record_state_name(RECORD_UNDOING), "undoing");
	ck_assert_str_eq(record_state_name(RECORD_ENDED), "ended");
}
END_TEST

/* --- what is not written --- */

static void check_unwritten(const struct record *record, const char *word)
{
	_autofree_ char *line = record_write(record, &err);

	ck_assert_msg(line == NULL, "%s: written", word);
	ck_assert_int_eq(err.kind, ERR_FAILED);
	ck_assert_has(err.text, word);
}

START_TEST(what_could_not_be_read_is_not_written)
{
	struct record record;
	struct record_disk disk = {.name = NULL};

#define WITHOUT(member, value)                                                                     \
	record = record_minimal();                                                                 \
	record.member = (value);                                                                   \
	check_unwritten(&record, #member)
	WITHOUT(id, NULL);
	WITHOUT(id, S("0123"));
	WITHOUT(id, S("0123456789ABCDEF0123456789ABCDEF"));
	WITHOUT(source, S(""));
	WITHOUT(source, S("run/a.sock"));
	WITHOUT(dst_socket, NULL);
	WITHOUT(step, NULL);
	WITHOUT(step, S(""));
	WITHOUT(mirror, S("other"));
	WITHOUT(uuid, S("a\nb"));
	WITHOUT(address, S("\xff"));
	WITHOUT(src_process, S("12"));
	WITHOUT(src_process, S("12 x"));
	WITHOUT(dst_port, 65536);
	WITHOUT(begun, -1);
	WITHOUT(bandwidth, UINT64_MAX);
	WITHOUT(state, (enum record_state)4);
	WITHOUT(outcome, (enum record_outcome)3);
	record = record_minimal();
	record.disks = &disk;
	record.disks_count = 1;
	check_unwritten(&record, "disk 0: name is missing");
	record.disks_count = RECORD_DISKS_MAX + 1;
	check_unwritten(&record, "1025 disks");
}
END_TEST

START_TEST(line_that_is_too_long_is_not_written)
{
	struct record record = record_minimal();
	_autofree_ char *text = mem_zalloc(RECORD_LINE_MAX, 1);

	memset(text, 'x', RECORD_LINE_MAX - 1);
	record.start = text;
	check_unwritten(&record, "longer");
	text[RECORD_LINE_MAX - 1024] = '\0';
	check_round_trip(&record);
}
END_TEST

/* --- hostile lines --- */

static void check_refused(const char *line, size_t len, const char *word)
{
	struct record record;

	memset(&record, 0x5a, sizeof(record));
	err = (struct err){0};
	ck_assert_msg(record_read(&record, line, len, &err) < 0, "taken: %.300s", line);
	ck_assert_int_eq(err.kind, ERR_FAILED);
	ck_assert_has(err.text, word);
	ck_assert_ptr_null(record.disks);
	ck_assert_ptr_null(record.id);
}

static json_t *sample_json(void)
{
	struct record record = record_sample();
	_autofree_ char *line = record_write(&record, &err);

	return json_loads(line, 0, NULL);
}

/* With @value, of the caller, as the member @name of the record or, @disk, of its first disk. */
static void check_member_refused(bool disk, const char *name, json_t *value)
{
	json_t *sample = sample_json();
	json_t *object = disk ? json_array_get(json_object_get(sample, "disks"), 0) : sample;
	char *line;

	if (value)
		json_object_set_new(object, name, value);
	else
		json_object_del(object, name);
	line = json_dumps(sample, 0);
	check_refused(line, strlen(line), name);
	free(line);
	json_decref(sample);
}

static bool is_required(bool disk, const char *name)
{
	static const char *const required[] = {"id",   "state",  "source",         "dst_socket",
					       "step", "mirror", "vmferry-journal"};

	if (disk)
		return str_eq(name, "name");
	for (size_t i = 0; i < COUNT_OF(required); i++)
		if (str_eq(name, required[i]))
			return true;
	return false;
}

/* Every type but its own, what no text and no number may be, and to be missing. */
static void check_member(bool disk, const char *name, const json_t *value)
{
	if (str_eq(name, "vmferry-journal"))
		return;
	check_member_refused(disk, name, json_null());
	check_member_refused(disk, name, json_object());
	check_member_refused(disk, name, json_real(1.0));
	check_member_refused(disk, name, json_integer(-1));
	if (!json_is_array(value))
		check_member_refused(disk, name, json_array());
	if (!json_is_string(value))
		check_member_refused(disk, name, json_string("1"));
	else {
		check_member_refused(disk, name, json_integer(1));
		check_member_refused(disk, name, json_string("%"));
		check_member_refused(disk, name, json_string("%0"));
		check_member_refused(disk, name, json_string("%zz"));
		check_member_refused(disk, name, json_string("%00"));
		check_member_refused(disk, name, json_string("/%FF"));
	}
	if (!json_is_boolean(value))
		check_member_refused(disk, name, json_true());
	if (is_required(disk, name)) {
		check_member_refused(disk, name, NULL);
		check_member_refused(disk, name, json_string(""));
	}
}

START_TEST(each_member_is_checked)
{
	json_t *sample = sample_json();
	const char *name;
	json_t *value;
	int count = 0;

	json_object_foreach (sample, name, value) {
		check_member(false, name, value);
		count++;
	}
	ck_assert_int_eq(count, 61);
	count = 0;
	json_object_foreach (json_array_get(json_object_get(sample, "disks"), 0), name, value) {
		check_member(true, name, value);
		count++;
	}
	ck_assert_int_eq(count, 12);
	json_decref(sample);
}
END_TEST

START_TEST(each_range_is_checked)
{
	check_member_refused(false, "dst_port", json_integer(65536));
	check_member_refused(false, "nbd_port", json_integer((1ll << 32) + 1));
	check_member_refused(false, "capabilities", json_integer(1ll << 32));
	check_member_refused(false, "state", json_string("over"));
	check_member_refused(false, "outcome", json_string("lost"));
	check_member_refused(false, "mirror", json_string("mirror"));
	check_member_refused(false, "id", json_string("0123456789abcdef0123456789abcdeg"));
	check_member_refused(false, "source", json_string("a"));
	check_member_refused(false, "uuid", json_string("a%0ab"));
	check_member_refused(false, "src_process", json_string("1 2 3"));
	check_member_refused(true, "dst", json_string("a"));
	check_member_refused(true, "name", json_string("%1b[31m"));
	check_member_refused(true, "inode", json_string("18446744073709551616"));
	check_member_refused(true, "inode", json_string("-1"));
	check_member_refused(true, "inode", json_string("1 "));
	check_member_refused(true, "inode", json_string(""));
	check_member_refused(true, "birth", json_integer(-1));
}
END_TEST

START_TEST(disks_are_counted)
{
	json_t *sample = sample_json();
	json_t *disks = json_object_get(sample, "disks");
	char *line;

	while (json_array_size(disks) <= RECORD_DISKS_MAX)
		json_array_append(disks, json_array_get(disks, 0));
	line = json_dumps(sample, 0);
	check_refused(line, strlen(line), "1025 disks are more than 1024");
	free(line);
	json_array_clear(disks);
	json_array_append_new(disks, json_integer(1));
	line = json_dumps(sample, 0);
	check_refused(line, strlen(line), "disk 0: is no object");
	free(line);
	json_decref(sample);
}
END_TEST

START_TEST(other_version_is_told)
{
	static const char other[] = "{\"vmferry-journal\":2,\"id\":7}";
	static const char none[] = "{\"id\":7}";
	static const char text[] = "{\"vmferry-journal\":\"1\"}";

	check_refused(other, strlen(other), "version 2");
	check_refused(none, strlen(none), "is no vmferry journal's");
	check_refused(text, strlen(text), "is no vmferry journal's");
}
END_TEST

START_TEST(unknown_members_are_skipped)
{
	json_t *sample = sample_json();
	struct record expected = record_sample();
	struct record record;
	char *line;

	json_object_set_new(sample, "new", json_pack("{s:[i,n]}", "x", 1));
	json_object_set_new(json_array_get(json_object_get(sample, "disks"), 1), "new",
			    json_real(1e300));
	line = json_dumps(sample, 0);
	ck_assert_ok(record_read(&record, line, strlen(line), &err), &err);
	ck_assert_ptr_null(record_difference(&expected, &record));
	record_deinit(&record);
	free(line);
	json_decref(sample);
}
END_TEST

/* A minimal record with @more, JSON, before its last brace. */
static void check_minimal_with(const char *more, size_t len, const char *word)
{
	struct record record = record_minimal();
	_autofree_ char *line = record_write(&record, &err);
	_cleanup_buf_ struct buf text = {0};

	buf_add(&text, line, strlen(line) - 2);
	buf_add(&text, more, len);
	buf_add(&text, "}", 1);
	check_refused(text.data, text.len, word);
}

START_TEST(bad_json_is_refused)
{
	static const char *const bad[] = {
		",\"begun\":99999999999999999999999999",
		",\"begun\":1e999",
		",\"begun\":0x1",
		",\"begun\":NaN",
		",\"guest\":\"a\\u0000b\"",
		",\"guest\":\"\\ud800\"",
		",\"guest\":\"\xff\"",
		",\"guest\":\"\x01\"",
		",\"id\":\"" SAMPLE_ID "\"",
		",\"begun\":1,\"begun\":1",
		"}{",
		",",
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++)
		check_minimal_with(bad[i], strlen(bad[i]), "is no JSON: ");
	check_minimal_with(",\"guest\":\"a\0b\"", 14, "is no JSON: ");
	check_refused("", 0, "is no JSON: ");
	check_refused("[]", 2, "is no vmferry journal's");
	check_refused("\0", 1, "is no JSON: ");
}
END_TEST

START_TEST(deep_nesting_is_refused)
{
	_cleanup_buf_ struct buf more = {0};

	buf_printf(&more, ",\"new\":");
	for (int i = 0; i < 1000000; i++)
		buf_add(&more, "[", 1);
	check_minimal_with(more.data, more.len, "is no JSON: maximum parsing depth");
}
END_TEST

START_TEST(long_line_is_refused)
{
	size_t len = 5u << 20;
	_autofree_ char *spaces = mem_zalloc(len, 1);

	memset(spaces, ' ', len);
	check_minimal_with(spaces, len, "is longer than 4194304 bytes");
}
END_TEST

START_TEST(cut_line_is_refused)
{
	struct record record = record_sample();
	_autofree_ char *line = record_write(&record, &err);

	for (size_t len = 0; len < strlen(line) - 1; len++)
		check_refused(line, len, "is no JSON: ");
}
END_TEST

START_TEST(nothing_can_be_freed)
{
	struct record record = {0};

	record_deinit(&record);
	record_deinit(&record);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		full_record_comes_back,
		minimal_record_comes_back,
		every_byte_of_a_text_comes_back,
		most_disks_come_back,
		states_have_names,
		what_could_not_be_read_is_not_written,
		line_that_is_too_long_is_not_written,
		each_member_is_checked,
		each_range_is_checked,
		disks_are_counted,
		other_version_is_told,
		unknown_members_are_skipped,
		bad_json_is_refused,
		deep_nesting_is_refused,
		long_line_is_refused,
		cut_line_is_refused,
		nothing_can_be_freed,
	};

	return unit_run("record", tests, COUNT_OF(tests));
}
