#include "journal/record_field.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "journal/record.h"
#include "journal/record_text.h"

/* No text in an error is longer than this, so that the reason behind it is never cut off. */
#define SHOWN_MAX 200

#define IN_RECORD(member)                                                                          \
	.name = #member, .offset = offsetof(struct record, member),                                \
	.width = sizeof(((struct record *)0)->member)
#define IN_DISK(member)                                                                            \
	.name = #member, .offset = offsetof(struct record_disk, member),                           \
	.width = sizeof(((struct record_disk *)0)->member)
#define TEXT .kind = RECORD_TEXT
#define BYTES .kind = RECORD_TEXT, .any = true
#define PATH .kind = RECORD_TEXT, .any = true, .check = record_text_path
#define NUMBER(to) .kind = RECORD_NUMBER, .max = (to)
#define FLAG .kind = RECORD_FLAG, .max = 1
#define WORD(list) .kind = RECORD_WORD, .words = (list)

static const char *const states[] = {
	[RECORD_BEGUN] = "begun",
	[RECORD_DONE] = "done",
	[RECORD_UNDOING] = "undoing",
	[RECORD_ENDED] = "ended",
	NULL,
};

static const char *const outcomes[] = {
	[RECORD_OPEN] = "open",
	[RECORD_MOVED] = "moved",
	[RECORD_BACK] = "back",
	NULL,
};

static const char *const mirrors[] = {"auto", "blockdev", "drive", "none", NULL};

static const char *const encryptions[] = {"psk", "x509", "ssh", "none", NULL};

static const struct record_field record[] = {
	{IN_RECORD(id), TEXT, .check = record_text_id, .required = true},
	{IN_RECORD(guest), BYTES},
	{IN_RECORD(uuid), TEXT},
	{IN_RECORD(begun), NUMBER(INT64_MAX)},

	{IN_RECORD(step), TEXT, .required = true},
	{IN_RECORD(state), WORD(states), .required = true},
	{IN_RECORD(since), NUMBER(INT64_MAX)},
	{IN_RECORD(outcome), WORD(outcomes)},

	{IN_RECORD(source), PATH, .required = true},
	{IN_RECORD(src_boot), TEXT},
	{IN_RECORD(src_process), TEXT, .check = record_text_process},
	{IN_RECORD(dst_host), BYTES},
	{IN_RECORD(dst_user), BYTES},
	{IN_RECORD(dst_port), NUMBER(UINT16_MAX)},
	{IN_RECORD(dst_socket), PATH, .required = true},
	{IN_RECORD(dst_boot), TEXT},

	{IN_RECORD(identity), BYTES},
	{IN_RECORD(config), BYTES},
	{IN_RECORD(known_hosts), BYTES},
	{IN_RECORD(sudo), FLAG},
	{IN_RECORD(start), BYTES},
	{IN_RECORD(mirror), TEXT, .words = mirrors, .required = true},
	{IN_RECORD(encrypt), TEXT, .words = encryptions},
	{IN_RECORD(certificates), PATH},
	{IN_RECORD(data_address), TEXT},
	{IN_RECORD(clone), FLAG},
	{IN_RECORD(fast), FLAG},
	{IN_RECORD(incremental), FLAG},
	{IN_RECORD(keep_source), FLAG},
	{IN_RECORD(bandwidth), NUMBER(INT64_MAX)},
	{IN_RECORD(downtime_limit), NUMBER(INT64_MAX)},
	{IN_RECORD(port_low), NUMBER(UINT16_MAX)},
	{IN_RECORD(port_high), NUMBER(UINT16_MAX)},
	{IN_RECORD(connect_ms), NUMBER(INT64_MAX)},
	{IN_RECORD(answer_ms), NUMBER(INT64_MAX)},
	{IN_RECORD(start_ms), NUMBER(INT64_MAX)},
	{IN_RECORD(stall_ms), NUMBER(INT64_MAX)},
	{IN_RECORD(switchover_ms), NUMBER(INT64_MAX)},
	{IN_RECORD(reconnect_ms), NUMBER(INT64_MAX)},

	{IN_RECORD(in_stream), FLAG},
	{IN_RECORD(was_running), FLAG},
	{IN_RECORD(incoming), FLAG},
	{IN_RECORD(migrating), FLAG},
	{IN_RECORD(switched), FLAG},
	{IN_RECORD(capabilities), NUMBER(UINT32_MAX)},
	{IN_RECORD(reconnects), FLAG},
	{IN_RECORD(halted), FLAG},
	{IN_RECORD(untidy), FLAG},
	{IN_RECORD(retried), NUMBER(UINT16_MAX)},
	{IN_RECORD(parameters), FLAG},
	{IN_RECORD(max_bandwidth), NUMBER(INT64_MAX)},
	{IN_RECORD(src_downtime_limit), NUMBER(INT64_MAX)},
	{IN_RECORD(src_tls_name), BYTES},
	{IN_RECORD(src_keys), PATH},
	{IN_RECORD(dst_keys), PATH},
	{IN_RECORD(address), TEXT},
	{IN_RECORD(nbd_port), NUMBER(UINT16_MAX)},
	{IN_RECORD(ram_port), NUMBER(UINT16_MAX)},
	{.name = NULL},
};

static const struct record_field disk[] = {
	{IN_DISK(name), TEXT, .required = true},
	{IN_DISK(device), TEXT},
	{IN_DISK(node), TEXT},
	{IN_DISK(qdev), TEXT},
	{IN_DISK(src), PATH},
	{IN_DISK(dst), PATH},
	{IN_DISK(export), TEXT},
	{IN_DISK(size), NUMBER(INT64_MAX)},
	{IN_DISK(dst_size), NUMBER(INT64_MAX)},
	{IN_DISK(create), FLAG},
	{IN_DISK(inode), .kind = RECORD_WIDE, .max = UINT64_MAX},
	{IN_DISK(birth), NUMBER(INT64_MAX)},
	{.name = NULL},
};

const struct record_field *record_field_record(void)
{
	return record;
}

const struct record_field *record_field_disk(void)
{
	return disk;
}

const char *const *record_field_states(void)
{
	return states;
}

char *record_field_text(const struct record_field *field, const void *from)
{
	return *(char *const *)((const char *)from + field->offset);
}

uint64_t record_field_number(const struct record_field *field, const void *from)
{
	const char *at = (const char *)from + field->offset;
	uint64_t wide;
	uint32_t narrow;

	if (field->width == sizeof(bool))
		return *(const bool *)at;
	if (field->width == sizeof(narrow)) {
		memcpy(&narrow, at, sizeof(narrow));
		return narrow;
	}
	memcpy(&wide, at, sizeof(wide));
	return wide;
}

void record_field_set_text(const struct record_field *field, char *text, void *to)
{
	*(char **)((char *)to + field->offset) = text;
}

void record_field_set_number(const struct record_field *field, uint64_t number, void *to)
{
	char *at = (char *)to + field->offset;
	uint32_t narrow = (uint32_t)number;

	if (field->width == sizeof(bool))
		*(bool *)at = number;
	else if (field->width == sizeof(narrow))
		memcpy(at, &narrow, sizeof(narrow));
	else
		memcpy(at, &number, sizeof(number));
}

static bool is_word(const struct record_field *field, const char *text)
{
	for (const char *const *word = field->words; *word; word++)
		if (str_eq(*word, text))
			return true;
	return false;
}

static int check_text(const struct record_field *field, const char *text, struct err *err)
{
	const char *why = field->any ? NULL : record_text_plain(text);

	if (!why && field->required && !*text)
		why = "is empty";
	if (!why && field->check)
		why = field->check(text);
	if (!why && field->words && !is_word(field, text))
		why = "is not known";
	if (!why)
		return 0;
	return err_set(err, ERR_FAILED, "%s \"%.*s\" %s", field->name, SHOWN_MAX, text, why);
}

static int check_word(const struct record_field *field, uint64_t number, struct err *err)
{
	for (uint64_t i = 0; field->words[i]; i++)
		if (i == number)
			return 0;
	return err_set(err, ERR_FAILED, "%s %" PRIu64 " is not known", field->name, number);
}

int record_field_check(const struct record_field *field, const void *from, struct err *err)
{
	uint64_t number;

	if (field->kind == RECORD_TEXT) {
		const char *text = record_field_text(field, from);

		if (text)
			return check_text(field, text, err);
		return field->required ? err_set(err, ERR_FAILED, "%s is missing", field->name) : 0;
	}
	number = record_field_number(field, from);
	if (field->kind == RECORD_WORD)
		return check_word(field, number, err);
	if (number < field->min || number > field->max)
		return err_set(err, ERR_FAILED, "%s %" PRIu64 " is not %" PRIu64 " to %" PRIu64,
			       field->name, number, field->min, field->max);
	return 0;
}

void record_field_deinit(const struct record_field *fields, void *from)
{
	for (; fields->name; fields++) {
		if (fields->kind != RECORD_TEXT)
			continue;
		free(record_field_text(fields, from));
		record_field_set_text(fields, NULL, from);
	}
}
