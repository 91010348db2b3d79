/* QEMU's option strings, taken apart and put together again: "a,b=c,,d" (QemuOpts, keyval)
 * and JSON objects. What is not replaced comes out as it was written, byte for byte. */
#ifndef VMFERRY_MIGRATE_CLONE_WORDS_H
#define VMFERRY_MIGRATE_CLONE_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/* One key and its value. In JSON every value that is neither object nor array is one. */
struct clone_word {
	char *key;         /* from the top, "file.filename", "children.0.node-name" */
	char *value;       /* as it is meant: "a,b" for "a,,b"; NULL: the key stands alone */
	char *replacement; /* what is to be there instead, as it is meant; NULL: nothing */
	bool is_text;      /* it can be replaced; false for JSON's numbers, true, false, null */
	size_t at, len;    /* bytes: where the value is written in the text */
};

struct clone_words {
	const char *text; /* borrowed */
	bool json;
	struct clone_word *list;
	size_t count;
};

/* Takes @text apart; it has to outlive @words. @implied: the key of a first value that has
 * none ("driver" of -device). False when it is JSON that cannot be read. Call deinit in
 * either case. */
bool clone_words_parse(struct clone_words *words, const char *text, const char *implied);
void clone_words_deinit(struct clone_words *words);

/* The last value of @key, "on" where it stands alone; NULL: there is none. Borrowed. */
const char *clone_words_get(const struct clone_words *words, const char *key);

/* The text with the replacements. NULL when there are none. Caller frees. */
char *clone_words_join(const struct clone_words *words);

/* @value as it is written between commas. Caller frees. */
char *clone_words_escape(const char *value);

/* Whether QEMU takes @value for true. NULL is a key that stands alone, which is. */
bool clone_words_is_on(const char *value);

/* For the parsers. Takes over @key and @value. */
void clone_words_add(struct clone_words *words, const struct clone_word *word);

/* The JSON object @words->text, see clone_json.c. False when it cannot be read. */
bool clone_json_parse(struct clone_words *words);
char *clone_json_quote(const char *s); /* as a JSON string; caller frees */

#endif
