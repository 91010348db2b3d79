/* A command line of QEMU's taken apart into its options, to change some of them. What is not
 * changed comes out as it was, byte for byte. */
#ifndef VMFERRY_MIGRATE_CLONE_LINE_H
#define VMFERRY_MIGRATE_CLONE_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "migrate/clone_options.h"

struct clone_item {
	char *option;                     /* as it is written; an image, where it is no option */
	char *argument;                   /* NULL: it has none */
	const struct clone_option *known; /* NULL: the program, an image, or not known */
	bool dropped;
};

struct clone_line {
	struct clone_item *list;
	size_t count;
};

void clone_line_parse(struct clone_line *line, const char *const *argv);
void clone_line_deinit(struct clone_line *line);

/* The arguments that are left, NULL at the end; each and the list are the caller's to free. */
char **clone_line_argv(const struct clone_line *line);

/* Puts an option at the end. Takes over @argument. */
void clone_line_add(struct clone_line *line, const char *option, char *argument);

/* The last @option ("-drive") whose @key is @value; NULL: there is none. */
struct clone_item *clone_line_find(struct clone_line *line, const char *option, const char *key,
				   const char *value);

bool clone_item_is(const struct clone_item *item, const char *option);

/* The value of one of its keys, or NULL. Caller frees. */
char *clone_item_get(const struct clone_item *item, const char *key);

/* Gives @key this value, in its place, or behind all others. False where it is JSON that has it
 * as something else than text. */
bool clone_item_set(struct clone_item *item, const char *key, const char *value);

/* Takes @key away; nothing to do where it is not. False where it is JSON in which it is nested. */
bool clone_item_remove(struct clone_item *item, const char *key);

/* The first key that is not in @allowed, where "cache.*" stands for all that begin so; NULL: there
 * is none. Caller frees. */
char *clone_item_other_key(const struct clone_item *item, const char *const *allowed);

#endif
