/* What a record holds, as data: one row for each member, with its name in the JSON, which is the
 * struct's, its place there and what it may be. Reader and writer both walk these tables, so a
 * new member is a row here and a line in record.h.
 */
#ifndef VMFERRY_JOURNAL_RECORD_FIELD_H
#define VMFERRY_JOURNAL_RECORD_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum record_kind {
	RECORD_TEXT,   /* char *; a string */
	RECORD_NUMBER, /* 4 or 8 bytes; an integer */
	RECORD_WIDE,   /* 8 bytes, all of them (JSON readers have 63 bits): a string of digits */
	RECORD_FLAG,   /* bool; true or false */
	RECORD_WORD,   /* an enum; one of `words`, by its index */
};

struct record_field {
	const char *name;
	size_t offset; /* in struct record or struct record_disk */
	size_t width;  /* bytes there */
	enum record_kind kind;
	bool required; /* is there, and no empty text; else absent is 0 or NULL */
	bool any;      /* of a text: any bytes, control characters too */
	uint64_t min, max;
	const char *(*check)(const char *text); /* of a text; see record_text.h */
	const char *const *words;               /* what it may be; NULL at the end */
};

/* The tables; a row without a name ends each. */
const struct record_field *record_field_record(void); /* of struct record, but its disks */
const struct record_field *record_field_disk(void);   /* of struct record_disk */

/* The words for enum record_state. */
const char *const *record_field_states(void);

/* The member of @from. */
char *record_field_text(const struct record_field *field, const void *from);
uint64_t record_field_number(const struct record_field *field, const void *from);

/* Puts it there, unchecked; a text is handed over. */
void record_field_set_text(const struct record_field *field, char *text, void *to);
void record_field_set_number(const struct record_field *field, uint64_t number, void *to);

/* Whether the member of @from is what it may be; if not, the error (ERR_FAILED) names it. */
int record_field_check(const struct record_field *field, const void *from, struct err *err);

/* Frees the texts. */
void record_field_deinit(const struct record_field *fields, void *from);

#endif
