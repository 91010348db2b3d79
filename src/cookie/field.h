/* What a cookie holds, as data: one row for each text, number or word, with its name in the
 * XML, its place in the struct and what it may be. Reader and writer both walk these tables,
 * so a new field is a row here and a member in cookie.h.
 */
#ifndef VMFERRY_COOKIE_FIELD_H
#define VMFERRY_COOKIE_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum field_kind {
	FIELD_TEXT,   /* char * */
	FIELD_NUMBER, /* decimal */
	FIELD_MODE,   /* octal, as chmod(1) has it */
	FIELD_WORD,   /* one of `words`, by its index: enum or bool */
};

struct field {
	const char *name; /* of the attribute, or element */
	size_t offset;    /* in the record: struct cookie or struct cookie_disk */
	size_t width;     /* bytes there */
	enum field_kind kind;
	bool required; /* has to be there, and is written even if 0; else absent is 0 or NULL */
	bool unique;   /* no two disks have the same */
	bool lower;    /* kept in lower case */
	uint64_t min, max;
	const char *(*check)(const char *text); /* see text.h; behind text_check */
	const char *const *words;               /* NULL at the end */
};

/* The tables; a row without a name ends each. */
const struct field *field_guest(void);   /* elements below the root, of struct cookie */
const struct field *field_vmferry(void); /* attributes of <vmferry>, of struct cookie */
const struct field *field_disk(void);    /* attributes of its <disk>, of struct cookie_disk */
const struct field *field_plain(void);   /* attributes of <nbd>'s <disk>, of the same */

/* The words for enum cookie_phase. */
const char *const *field_phases(void);

/* Whether @text may be this field; if not, the error names both. */
int field_check(const struct field *field, const char *text, struct err *err);

/* Checks @text and puts it into @record, which had nothing there: a second one is an error. */
int field_read(const struct field *field, const char *text, void *record, struct err *err);

/* The reverse; caller frees. NULL where it is absent. */
char *field_print(const struct field *field, const void *record);

/* The text of a FIELD_TEXT; may be NULL. */
const char *field_text(const struct field *field, const void *record);

/* Gives @record, a copy of another, texts of its own. */
void field_copy_texts(const struct field *fields, void *record);

/* Frees the texts of @fields in @record. */
void field_deinit(const struct field *fields, void *record);

#endif
