/* The JSON of a record: {"vmferry-journal":1,"id":...,"disks":[{...},...]}, the members by the
 * tables of record_field.c. What is 0, false or NULL and need not be there is left out.
 *
 * Written is only what the reader would take: both ask record_field_check(). */
#include "journal/record.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "journal/record_field.h"
#include "journal/record_text.h"

#define VERSION_NAME "vmferry-journal"
#define VERSION 1

static void json_freep(json_t **json)
{
	json_decref(*json);
}

#define _cleanup_json_ __attribute__((cleanup(json_freep)))

/* --- writing --- */

static json_t *text_json(const char *text)
{
	_autofree_ char *escaped = record_text_escape(text);

	return json_string(escaped);
}

static json_t *wide_json(uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	return json_string(text);
}

static json_t *number_json(const struct record_field *field, uint64_t number)
{
	switch (field->kind) {
	case RECORD_WIDE:
		return wide_json(number);
	case RECORD_FLAG:
		return json_boolean(number);
	case RECORD_WORD:
		return json_string(field->words[number]);
	default:
		return json_integer((json_int_t)number);
	}
}

/* Adds the member of @from to @object, if it is to be there. */
static int write_field(const struct record_field *field, const void *from, json_t *object,
		       struct err *err)
{
	json_t *value = NULL;

	if (record_field_check(field, from, err) < 0)
		return -1;
	if (field->kind == RECORD_TEXT) {
		const char *text = record_field_text(field, from);

		if (!text)
			return 0;
		value = text_json(text);
	} else {
		uint64_t number = record_field_number(field, from);

		if (!number && !field->required)
			return 0;
		value = number_json(field, number);
	}
	if (json_object_set_new(object, field->name, value) < 0)
		return err_set(err, ERR_FAILED, "%s: out of memory", field->name);
	return 0;
}

static int write_fields(const struct record_field *fields, const void *from, json_t *object,
			struct err *err)
{
	for (; fields->name; fields++)
		if (write_field(fields, from, object, err) < 0)
			return -1;
	return 0;
}

/* A list of disks, or of what has a part of what disks have. */
static int write_list(const struct record_disk *list, size_t count, const char *name,
		      json_t *object, struct err *err)
{
	json_t *items = json_array();

	if (json_object_set_new(object, name, items) < 0)
		return err_set(err, ERR_FAILED, "%s: out of memory", name);
	if (count > RECORD_DISKS_MAX)
		return err_set(err, ERR_FAILED, "%zu %s are more than %d", count, name,
			       RECORD_DISKS_MAX);
	for (size_t i = 0; i < count; i++) {
		json_t *item = json_object();

		if (json_array_append_new(items, item) < 0)
			return err_set(err, ERR_FAILED, "%s: out of memory", name);
		if (write_fields(record_field_disk(), &list[i], item, err) < 0)
			return err_wrap(err, "%.*s %zu", (int)strlen(name) - 1, name, i);
	}
	return 0;
}

static int write_lists(const struct record *record, json_t *object, struct err *err)
{
	if (write_list(record->disks, record->disks_count, "disks", object, err) < 0)
		return -1;
	return record->extras_count
		       ? write_list(record->extras, record->extras_count, "extras", object, err)
		       : 0;
}

char *record_write(const struct record *record, struct err *err)
{
	_cleanup_json_ json_t *object = json_object();
	_autofree_ char *text = NULL;

	json_object_set_new(object, VERSION_NAME, json_integer(VERSION));
	if (write_fields(record_field_record(), record, object, err) < 0 ||
	    write_lists(record, object, err) < 0) {
		err_wrap(err, "record");
		return NULL;
	}
	text = json_dumps(object, JSON_COMPACT);
	if (!text) {
		err_set(err, ERR_FAILED, "record: out of memory");
		return NULL;
	}
	if (strlen(text) >= RECORD_LINE_MAX) {
		err_set(err, ERR_FAILED, "record: is longer than %u bytes", RECORD_LINE_MAX);
		return NULL;
	}
	return str_printf("%s\n", text);
}

/* --- reading --- */

static int wrong_type(const struct record_field *field, const char *want, struct err *err)
{
	return err_set(err, ERR_FAILED, "%s is no %s", field->name, want);
}

static int read_text(const struct record_field *field, const json_t *value, void *to,
		     struct err *err)
{
	char *text;

	if (!json_is_string(value))
		return wrong_type(field, "text", err);
	text = record_text_unescape(json_string_value(value));
	if (!text)
		return err_set(err, ERR_FAILED, "%s has a %% without two digits", field->name);
	record_field_set_text(field, text, to);
	return 0;
}

static int read_wide(const struct record_field *field, const char *text, uint64_t *number,
		     struct err *err)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return wrong_type(field, "digits", err);
	errno = 0;
	*number = strtoull(text, &end, 10);
	if (errno || *end)
		return wrong_type(field, "number of 64 bits", err);
	return 0;
}

static int read_word(const struct record_field *field, const char *text, uint64_t *number,
		     struct err *err)
{
	if (!text)
		return wrong_type(field, "text", err);
	for (*number = 0; field->words[*number]; ++*number)
		if (str_eq(field->words[*number], text))
			return 0;
	return err_set(err, ERR_FAILED, "%s \"%.200s\" is not known", field->name, text);
}

static int read_number(const struct record_field *field, const json_t *value, uint64_t *number,
		       struct err *err)
{
	switch (field->kind) {
	case RECORD_WIDE:
		return read_wide(field, json_string_value(value), number, err);
	case RECORD_WORD:
		return read_word(field, json_string_value(value), number, err);
	case RECORD_FLAG:
		*number = json_is_true(value);
		return json_is_boolean(value) ? 0 : wrong_type(field, "true or false", err);
	default:
		/* Before it is narrowed into its place: record_field_check() would see the rest. */
		if (!json_is_integer(value) || json_integer_value(value) < 0 ||
		    (uint64_t)json_integer_value(value) > field->max)
			return err_set(err, ERR_FAILED, "%s is no number to %" PRIu64, field->name,
				       field->max);
		*number = (uint64_t)json_integer_value(value);
		return 0;
	}
}

/* Into @to, where there is nothing yet. */
static int read_field(const struct record_field *field, const json_t *object, void *to,
		      struct err *err)
{
	const json_t *value = json_object_get(object, field->name);
	uint64_t number = 0;

	if (!value && field->required)
		return err_set(err, ERR_FAILED, "%s is missing", field->name);
	if (!value)
		return 0;
	if (field->kind == RECORD_TEXT) {
		if (read_text(field, value, to, err) < 0)
			return -1;
	} else {
		if (read_number(field, value, &number, err) < 0)
			return -1;
		record_field_set_number(field, number, to);
	}
	return record_field_check(field, to, err);
}

static int read_fields(const struct record_field *fields, const json_t *object, void *to,
		       struct err *err)
{
	if (!json_is_object(object))
		return err_set(err, ERR_FAILED, "is no object");
	for (; fields->name; fields++)
		if (read_field(fields, object, to, err) < 0)
			return -1;
	return 0;
}

/* What is read so far is the record's, also on error. */
static int read_list(const json_t *object, const char *name, struct record_disk **list,
		     size_t *count, struct err *err)
{
	const json_t *items = json_object_get(object, name);

	if (items && !json_is_array(items))
		return err_set(err, ERR_FAILED, "%s is no list", name);
	if (json_array_size(items) > RECORD_DISKS_MAX)
		return err_set(err, ERR_FAILED, "%zu %s are more than %d", json_array_size(items),
			       name, RECORD_DISKS_MAX);
	if (!json_array_size(items))
		return 0;
	*count = json_array_size(items);
	*list = mem_zalloc(*count, sizeof(**list));
	for (size_t i = 0; i < *count; i++)
		if (read_fields(record_field_disk(), json_array_get(items, i), &(*list)[i], err) <
		    0)
			return err_wrap(err, "%.*s %zu", (int)strlen(name) - 1, name, i);
	return 0;
}

static int check_version(const json_t *object, struct err *err)
{
	const json_t *version = json_object_get(object, VERSION_NAME);

	if (!json_is_integer(version))
		return err_set(err, ERR_FAILED, "is no vmferry journal's");
	if (json_integer_value(version) != VERSION)
		return err_set(err, ERR_FAILED,
			       "is of version %" JSON_INTEGER_FORMAT
			       " of the journal, this vmferry knows %d",
			       json_integer_value(version), VERSION);
	return 0;
}

static int read_line(struct record *record, const char *text, size_t len, struct err *err)
{
	_cleanup_json_ json_t *object = NULL;
	json_error_t error;

	if (len >= RECORD_LINE_MAX)
		return err_set(err, ERR_FAILED, "is longer than %u bytes", RECORD_LINE_MAX);
	object = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!object)
		return err_set(err, ERR_FAILED, "is no JSON: %s", error.text);
	if (check_version(object, err) < 0 ||
	    read_fields(record_field_record(), object, record, err) < 0)
		return -1;
	if (read_list(object, "disks", &record->disks, &record->disks_count, err) < 0)
		return -1;
	return read_list(object, "extras", &record->extras, &record->extras_count, err);
}

int record_read(struct record *record, const char *text, size_t len, struct err *err)
{
	*record = (struct record){0};
	if (read_line(record, text, len, err) == 0)
		return 0;
	record_deinit(record);
	return err_wrap(err, "record");
}

static void list_deinit(struct record_disk *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		record_field_deinit(record_field_disk(), &list[i]);
	free(list);
}

void record_deinit(struct record *record)
{
	list_deinit(record->disks, record->disks_count);
	list_deinit(record->extras, record->extras_count);
	record_field_deinit(record_field_record(), record);
	*record = (struct record){0};
}

const char *record_state_name(enum record_state state)
{
	return record_field_states()[state];
}
