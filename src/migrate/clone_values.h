/* The values of options: what is done with one, by its rule. */
#ifndef VMFERRY_MIGRATE_CLONE_VALUES_H
#define VMFERRY_MIGRATE_CLONE_VALUES_H

#include "migrate/clone_argv.h"
#include "migrate/clone_options.h"
#include "migrate/clone_words.h"

/* A clone in the making. */
struct cloning {
	const struct clone_source *src;
	struct clone *clone;
	struct problems *problems;
	const char *option; /* the one at hand: "-drive" */
	const char *cwd;    /* where relative paths begin; NULL: not known */
	bool read_only;     /* the image at hand is read-only whatever its own words say */
	bool monitor_seen;
	bool machine_pinned;
	bool accelerator_named;
	bool dropped;    /* the option at hand is not to be repeated */
	bool paused;     /* -S was among the arguments */
	bool configured; /* -readconfig was */
	bool lost;       /* at an unknown option: what the next argument is, is not known */
};

/* Objects to the option at hand. @key, or @key and @value, may be NULL. */
void cloning_refuse(struct cloning *cloning, const char *key, const char *value, const char *why);

/* What takes the place of @value, or NULL: it stays (or was objected to). @words: the option
 * it is in, @key: its key there; both NULL: it is the whole argument. Caller frees. */
char *clone_value(struct cloning *cloning, enum clone_rule rule, const struct clone_words *words,
		  const char *key, const char *value);

/* clone_value() for each of @words, by the rules of @group's keys. @type: what the option is
 * about, where no word says it, or NULL. */
void clone_values(struct cloning *cloning, const char *group, const char *type,
		  struct clone_words *words);

/* clone_values() for the whole argument @text: what takes its place, or NULL. */
char *clone_keys(struct cloning *cloning, const struct clone_option *option, const char *type,
		 const char *text);

/* Paths and images; clone_paths.c. Results as of clone_value(). What is listed as it is has the
 * same path, which no --map changes, on both hosts. */
char *clone_path(struct cloning *cloning, const char *path, enum clone_use use);
void clone_file_as_it_is(struct cloning *cloning, const char *path, enum clone_use use);
char *clone_image(struct cloning *cloning, const char *name, enum clone_use use);
char *clone_image_file(struct cloning *cloning, const char *path, enum clone_use use);

/* Whether @path, absolute, is a device's by its name. /dev/shm is a file system. */
bool clone_is_device(const char *path);

#endif
