#include "cookie/field.h"

#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "cookie/cookie.h"
#include "cookie/text.h"

/* No text in an error is longer than this, so that the reason behind it is never cut off. */
#define SHOWN_MAX 200

#define IN_COOKIE(member)                                                                          \
	.offset = offsetof(struct cookie, member), .width = sizeof(((struct cookie *)0)->member)
#define IN_DISK(member)                                                                            \
	.offset = offsetof(struct cookie_disk, member),                                            \
	.width = sizeof(((struct cookie_disk *)0)->member)
#define TEXT .kind = FIELD_TEXT
#define NUMBER(from, to) .kind = FIELD_NUMBER, .min = (from), .max = (to)
#define WORD(list) .kind = FIELD_WORD, .words = (list)

static const char *const phases[] = {
	[COOKIE_BEGIN] = "begin",
	[COOKIE_PREPARE] = "prepare",
	[COOKIE_PERFORM] = "perform",
	[COOKIE_FINISH] = "finish",
	NULL,
};

static const char *const methods[] = {
	[COOKIE_NBD] = "nbd",
	[COOKIE_BLOCK] = "block",
	NULL,
};

static const char *const flags[] = {"no", "yes", NULL};

/* In libvirt's order. */
static const struct field guest[] = {
	{"name", IN_COOKIE(name), TEXT, .check = text_name},
	{"uuid", IN_COOKIE(uuid), TEXT, .check = text_uuid, .lower = true, .required = true},
	{"hostname", IN_COOKIE(hostname), TEXT, .check = text_name},
	{"hostuuid", IN_COOKIE(hostuuid), TEXT, .check = text_uuid, .lower = true},
	{.name = NULL},
};

static const struct field vmferry[] = {
	{"phase", IN_COOKIE(phase), WORD(phases), .required = true},
	{"id", IN_COOKIE(id), TEXT, .check = text_id, .required = true},
	{"method", IN_COOKIE(method), WORD(methods), .required = true},
	{"stream", IN_COOKIE(stream), WORD(flags)},
	{"incremental", IN_COOKIE(incremental), WORD(flags)},
	{"failed", IN_COOKIE(failed), WORD(flags)},
	{"reason", IN_COOKIE(reason), TEXT},
	{"completed", IN_COOKIE(completed), WORD(flags)},
	{"was-running", IN_COOKIE(was_running), WORD(flags)},
	{"address", IN_COOKIE(address), TEXT, .check = text_address},
	{"ram-port", IN_COOKIE(ram_port), NUMBER(1, UINT16_MAX)},
	{"process", IN_COOKIE(process), TEXT, .check = text_name},
	{"started", IN_COOKIE(started), WORD(flags)},
	{"hangup-kills", IN_COOKIE(hangup_kills), WORD(flags)},
	{"src-capabilities", IN_COOKIE(src_capabilities), NUMBER(0, UINT32_MAX)},
	{"dst-capabilities", IN_COOKIE(dst_capabilities), NUMBER(0, UINT32_MAX)},
	{"max-bandwidth", IN_COOKIE(max_bandwidth), NUMBER(0, INT64_MAX)},
	{"downtime-limit", IN_COOKIE(downtime_limit), NUMBER(0, INT64_MAX)},
	{.name = NULL},
};

static const struct field disk[] = {
	{"name", IN_DISK(name), TEXT, .required = true, .unique = true},
	{"src", IN_DISK(src), TEXT, .check = text_path, .unique = true},
	{"size", IN_DISK(size), NUMBER(1, INT64_MAX), .required = true},
	{"device", IN_DISK(device), TEXT, .unique = true},
	{"node", IN_DISK(node), TEXT, .unique = true},
	{"qdev", IN_DISK(qdev), TEXT, .unique = true},
	{"format", IN_DISK(format), TEXT},
	{"allocated", IN_DISK(allocated), NUMBER(0, INT64_MAX)},
	{"cluster-size", IN_DISK(cluster_size), NUMBER(512, 2 << 20)},
	{"compat", IN_DISK(compat), TEXT, .check = text_compat},
	{"storage", IN_DISK(storage), TEXT},
	{"backing", IN_DISK(backing), TEXT, .check = text_digest},
	{"backing-size", IN_DISK(backing_size), NUMBER(0, INT64_MAX)},
	{"mode", IN_DISK(mode), .kind = FIELD_MODE, .max = 07777},
	{"export", IN_DISK(export), TEXT, .unique = true},
	{"dst", IN_DISK(dst), TEXT, .check = text_path, .unique = true},
	{"dst-size", IN_DISK(dst_size), NUMBER(1, INT64_MAX)},
	{"made", IN_DISK(made), WORD(flags)},
	{.name = NULL},
};

/* The shape of issue and libvirt at once: src and size, target and capacity. */
static const struct field plain[] = {
	{"target", IN_DISK(name), TEXT, .check = text_name},
	{"src", IN_DISK(src), TEXT, .check = text_path},
	{"size", IN_DISK(size), NUMBER(1, INT64_MAX)},
	{"capacity", IN_DISK(size), NUMBER(1, INT64_MAX)},
	{.name = NULL},
};

const struct field *field_guest(void)
{
	return guest;
}

const struct field *field_vmferry(void)
{
	return vmferry;
}

const struct field *field_disk(void)
{
	return disk;
}

const struct field *field_plain(void)
{
	return plain;
}

const char *const *field_phases(void)
{
	return phases;
}

static int refuse(const struct field *field, const char *text, const char *why, struct err *err)
{
	return err_set(err, ERR_REFUSED, "%s %.*s %s", field->name, SHOWN_MAX, text, why);
}

static int parse_text(const struct field *field, const char *text, struct err *err)
{
	const char *why = text_check(text);

	if (!why && field->check)
		why = field->check(text);
	return why ? refuse(field, text, why, err) : 0;
}

static int parse_number(const struct field *field, const char *text, uint64_t *number,
			struct err *err)
{
	_autofree_ char *range = NULL;
	bool octal = field->kind == FIELD_MODE;

	if (text_number(text, octal ? 8 : 10, field->max, number) && *number >= field->min)
		return 0;
	range = octal ? str_printf("is not 0 to %" PRIo64 ", octal", field->max)
		      : str_printf("is not %" PRIu64 " to %" PRIu64, field->min, field->max);
	return refuse(field, text, range, err);
}

static int parse_word(const struct field *field, const char *text, uint64_t *number,
		      struct err *err)
{
	for (*number = 0; field->words[*number]; ++*number)
		if (str_eq(text, field->words[*number]))
			return 0;
	return refuse(field, text, "is not known", err);
}

static int parse(const struct field *field, const char *text, uint64_t *number, struct err *err)
{
	if (!*text)
		return err_set(err, ERR_REFUSED, "%s is empty", field->name);
	if (field->kind == FIELD_TEXT)
		return parse_text(field, text, err);
	if (field->kind == FIELD_WORD)
		return parse_word(field, text, number, err);
	return parse_number(field, text, number, err);
}

int field_check(const struct field *field, const char *text, struct err *err)
{
	uint64_t number;

	return parse(field, text, &number, err);
}

static uint64_t load_number(const struct field *field, const void *record)
{
	const char *at = (const char *)record + field->offset;
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

static void store_number(const struct field *field, uint64_t number, void *record)
{
	char *at = (char *)record + field->offset;
	uint32_t narrow = (uint32_t)number;

	if (field->width == sizeof(bool))
		*(bool *)at = number;
	else if (field->width == sizeof(narrow))
		memcpy(at, &narrow, sizeof(narrow));
	else
		memcpy(at, &number, sizeof(number));
}

static char **text_place(const struct field *field, void *record)
{
	return (char **)((char *)record + field->offset);
}

const char *field_text(const struct field *field, const void *record)
{
	return *(char *const *)((const char *)record + field->offset);
}

static void store_text(const struct field *field, const char *text, void *record)
{
	char *copy = str_dup(text);

	for (char *p = copy; field->lower && *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p += 'a' - 'A';
	*text_place(field, record) = copy;
}

int field_read(const struct field *field, const char *text, void *record, struct err *err)
{
	uint64_t number;
	bool twice = field->kind == FIELD_TEXT ? field_text(field, record) != NULL
					       : load_number(field, record) != 0;

	if (parse(field, text, &number, err) < 0)
		return -1;
	if (twice)
		return refuse(field, text, "is there a second time", err);
	if (field->kind == FIELD_TEXT)
		store_text(field, text, record);
	else
		store_number(field, number, record);
	return 0;
}

char *field_print(const struct field *field, const void *record)
{
	uint64_t number;

	if (field->kind == FIELD_TEXT)
		return str_dup(field_text(field, record));
	number = load_number(field, record);
	if (!number && !field->required)
		return NULL;
	if (field->kind == FIELD_WORD)
		return str_dup(field->words[number]);
	return str_printf(field->kind == FIELD_MODE ? "%04" PRIo64 : "%" PRIu64, number);
}

void field_copy_texts(const struct field *fields, void *record)
{
	for (; fields->name; fields++)
		if (fields->kind == FIELD_TEXT)
			*text_place(fields, record) = str_dup(field_text(fields, record));
}

void field_deinit(const struct field *fields, void *record)
{
	for (; fields->name; fields++) {
		if (fields->kind != FIELD_TEXT)
			continue;
		free(*text_place(fields, record));
		*text_place(fields, record) = NULL;
	}
}
