/* Walks the source's arguments as QEMU does (lookup_opt() of its vl.c): one or two dashes,
 * the table says what it is and whether an argument follows; no dash: an image.
 *
 * What is done is the table's business (clone_options.c), which says for each option, and for
 * each key of those that have keys, by which rule its value goes; the rules are in
 * clone_values.c and clone_paths.c. Only the few options that are about the clone itself
 * (its machine and accelerator, its pid file, its monitor, how it begins) are here.
 *
 * Not read is what other files say, -readconfig's among them: they are listed, and what paths
 * are in them has to be right over there as it is. */
#include "migrate/clone_argv.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/clone_options.h"
#include "migrate/clone_values.h"
#include "migrate/disk.h"

/* Takes over @arg. */
static void add(struct clone *clone, char *arg, bool changed)
{
	size_t n = clone->count++;

	clone->argv = mem_grow(clone->argv, n + 2, sizeof(*clone->argv));
	clone->changed = mem_grow(clone->changed, n + 1, sizeof(*clone->changed));
	clone->argv[n] = arg;
	clone->argv[n + 1] = NULL;
	clone->changed[n] = changed;
}

/* @changed, taken over, in the place of @arg; @arg itself when it is NULL. */
static void add_or_keep(struct clone *clone, const char *arg, char *changed)
{
	add(clone, changed ? changed : str_dup(arg), changed != NULL);
}

/* What an option does, and what takes its argument's place: NULL: nothing does. */
static char *as_is(struct cloning *cloning, const struct clone_option *option, const char *arg)
{
	(void)cloning;
	(void)option;
	(void)arg;
	return NULL;
}

static char *refuse(struct cloning *cloning, const struct clone_option *option, const char *arg)
{
	(void)arg;
	cloning_refuse(cloning, NULL, NULL, option->why);
	return NULL;
}

static char *pause_it(struct cloning *cloning, const struct clone_option *option, const char *arg)
{
	cloning->paused = true;
	return as_is(cloning, option, arg);
}

static char *write_pid(struct cloning *cloning, const struct clone_option *option, const char *arg)
{
	char *path = clone_path(cloning, arg, CLONE_FILE_CREATED);

	(void)option;
	free(cloning->clone->pidfile);
	cloning->clone->pidfile = str_dup(path ? path : arg);
	return path;
}

static bool has_key(const char *arg, const char *key)
{
	struct clone_words words;
	bool has = clone_words_parse(&words, arg, NULL) && clone_words_get(&words, key);

	clone_words_deinit(&words);
	return has;
}

static char *drop_user(struct cloning *cloning, const struct clone_option *option, const char *arg)
{
	cloning->clone->drops_user = true;
	return as_is(cloning, option, arg);
}

/* What a configuration file says is not said again: QEMU ends of an accelerator that is both in
 * -accel and in its [machine]. */
static void look_into_config(struct cloning *cloning, const char *arg)
{
	const struct clone_source *src = cloning->src;
	_autofree_ char *path = disk_absolute_path(arg, cloning->cwd);

	cloning->configured = true;
	cloning->accelerator_named |=
		src->names_accelerator && src->names_accelerator(src->arg, path);
}

static char *argument(struct cloning *cloning, const struct clone_option *option, const char *arg)
{
	if (str_eq(option->name, "-readconfig"))
		look_into_config(cloning, arg);
	return clone_value(cloning, option->rule, NULL, NULL, arg);
}

static char *name_kvm(struct cloning *cloning, const struct clone_option *option, const char *arg)
{
	cloning->accelerator_named = true;
	return as_is(cloning, option, arg);
}

/* Of several -accel QEMU takes the first that works, and KVM may work on one host alone. */
static char *accelerator(struct cloning *cloning, const struct clone_option *option,
			 const char *arg)
{
	const char *real = cloning->src->accelerator, *name;
	struct clone_words words;

	cloning->accelerator_named = true;
	clone_words_parse(&words, arg, option->implied);
	name = clone_words_get(&words, "accel");
	cloning->dropped = (str_eq(name, "kvm") && str_eq(real, "tcg")) ||
			   (str_eq(name, "tcg") && str_eq(real, "kvm"));
	clone_words_deinit(&words);
	return cloning->dropped ? NULL : clone_keys(cloning, option, NULL, arg);
}

static char *with_keys(struct cloning *cloning, const struct clone_option *option, const char *arg)
{
	if (str_eq(option->name, "-run-with"))
		cloning->clone->drops_user |= has_key(arg, "user");
	return clone_keys(cloning, option, NULL, arg);
}

/* "pc", "q35" and no type at all are another machine with each version of QEMU. Several
 * -machine are one to QEMU, of which the last type counts: all get the real one. */
static void pin_machine(struct cloning *cloning, struct clone_words *words)
{
	const char *machine = cloning->src->machine;

	for (size_t i = 0; machine && *machine && i < words->count; i++) {
		struct clone_word *word = &words->list[i];

		if (!str_eq(word->key, "type") || !word->value)
			continue;
		cloning->machine_pinned = true;
		if (!str_eq(word->value, machine))
			word->replacement = str_dup(machine);
	}
}

/* As of -accel: the first of "kvm:tcg" that works. */
static void pin_accelerator(struct cloning *cloning, struct clone_words *words)
{
	const char *real = cloning->src->accelerator;

	for (size_t i = 0; i < words->count; i++) {
		struct clone_word *word = &words->list[i];

		if (!str_eq(word->key, "accel") || !word->value)
			continue;
		cloning->accelerator_named = true;
		if (real && *real &&
		    (str_eq(word->value, "kvm:tcg") || str_eq(word->value, "tcg:kvm")))
			word->replacement = str_dup(real);
	}
}

static char *machine(struct cloning *cloning, const struct clone_option *option, const char *arg)
{
	struct clone_words words;
	char *changed;

	clone_words_parse(&words, arg, option->implied);
	pin_machine(cloning, &words);
	pin_accelerator(cloning, &words);
	clone_values(cloning, option->group, NULL, &words);
	changed = clone_words_join(&words);
	clone_words_deinit(&words);
	return changed;
}

/* @value at the end of @arg by @group's rule for @key, where commas mean nothing. */
static char *assigned(struct cloning *cloning, const char *group, const char *key, const char *arg,
		      const char *value)
{
	const struct clone_key *rule = clone_key_find(group, NULL, key, value);
	_autofree_ char *changed = NULL;

	if (rule->rule == CLONE_REFUSE)
		cloning_refuse(cloning, NULL, arg, rule->why);
	else
		changed = clone_value(cloning, rule->rule, NULL, NULL, value);
	return changed ? str_printf("%.*s%s", (int)(value - arg), arg, changed) : NULL;
}

/* The rest of -set's and -global's argument behind its @n dots and its "=". @name: what is
 * between the last dot and the "=", to be freed. NULL when it is not of that form. */
static const char *assignment(const char *arg, int n, char **name)
{
	const char *equals = strchr(arg, '=');
	const char *p = arg;

	for (; equals && n > 0; n--) {
		p = strchr(p, '.');
		if (!p || p > equals)
			return NULL;
		p++;
	}
	if (!equals)
		return NULL;
	*name = str_printf("%.*s", (int)(equals - p), p);
	return equals + 1;
}

/* -set group.id.key=value: as if it were written in -group. */
static char *setting(struct cloning *cloning, const struct clone_option *option, const char *arg)
{
	_autofree_ char *name = NULL;
	_autofree_ char *group = str_printf("-%.*s", (int)strcspn(arg, "."), arg);
	const struct clone_option *of = clone_option_find(group);
	const char *value = assignment(arg, 2, &name);

	(void)option;
	if (value && of && (str_eq(of->group, "device") || str_eq(of->group, "drive")))
		return assigned(cloning, of->group, name, arg, value);
	cloning_refuse(cloning, NULL, arg, "not known what it sets; write it where it belongs");
	return NULL;
}

/* -global driver.property=value, or driver=...,property=...,value=... */
static char *device_default(struct cloning *cloning, const struct clone_option *option,
			    const char *arg)
{
	_autofree_ char *name = NULL;
	const char *value = assignment(arg, 1, &name);
	struct clone_words words;
	char *changed;

	(void)option;
	if (value)
		return assigned(cloning, "device", name, arg, value);
	clone_words_parse(&words, arg, NULL);
	for (size_t i = 0; i < words.count; i++)
		if (str_eq(words.list[i].key, "value") &&
		    str_eq(clone_words_get(&words, "property"), "romfile"))
			words.list[i].replacement = clone_value(cloning, CLONE_FIRMWARE, NULL, NULL,
								words.list[i].value);
	changed = clone_words_join(&words);
	clone_words_deinit(&words);
	return changed;
}

/* One option, at *@argv; moves *@argv to its last argument. */
static void clone_option(struct cloning *cloning, const struct clone_option *option,
			 const char *const **argv)
{
	static char *(*const hows[CLONE_HOWS])(struct cloning *, const struct clone_option *,
					       const char *) = {
		[CLONE_AS_IS] = as_is,       [CLONE_DROPPED] = as_is,
		[CLONE_REFUSED] = refuse,    [CLONE_PAUSED] = pause_it,
		[CLONE_DAEMON] = as_is,      [CLONE_USER] = drop_user,
		[CLONE_PIDFILE] = write_pid, [CLONE_ARGUMENT] = argument,
		[CLONE_KEYS] = with_keys,    [CLONE_MACHINE] = machine,
		[CLONE_SETTING] = setting,   [CLONE_DEFAULT] = device_default,
		[CLONE_KVM] = name_kvm,      [CLONE_ACCEL] = accelerator,
	};
	const char *name = **argv;
	char *changed;

	cloning->option = option->name;
	cloning->dropped = option->how == CLONE_DROPPED || option->how == CLONE_DAEMON;
	if (option->has_argument)
		(*argv)++;
	changed = hows[option->how](cloning, option, **argv);
	if (cloning->dropped)
		return;
	add(cloning->clone, str_dup(name), false);
	if (option->has_argument)
		add_or_keep(cloning->clone, **argv, changed);
}

/* QEMU takes what has no dash for -hda's image. */
static void clone_image_argument(struct cloning *cloning, const char *arg)
{
	cloning->option = "the disk image";
	add_or_keep(cloning->clone, arg, clone_value(cloning, CLONE_IMAGE, NULL, NULL, arg));
}

/* A name without a slash would be looked up in $PATH, and there that may lead to another one. */
static void clone_program(struct cloning *cloning, const char *arg)
{
	const char *program = cloning->src->program ? cloning->src->program : arg;
	char *path;

	cloning->option = CLONE_PROGRAM;
	path = strchr(program, '/') ? clone_path(cloning, program, CLONE_FILE_READ) : NULL;
	add_or_keep(cloning->clone, arg, path || str_eq(program, arg) ? path : str_dup(program));
}

static void clone_options(struct cloning *cloning, const char *const *argv)
{
	for (; *argv; argv++) {
		const struct clone_option *option = clone_option_find(*argv);

		if (**argv != '-') {
			clone_image_argument(cloning, *argv);
		} else if (option && (argv[1] || !option->has_argument)) {
			clone_option(cloning, option, &argv);
		} else {
			cloning->option = *argv;
			cloning_refuse(cloning, NULL, NULL,
				       option ? "has no argument" : "no option that is known here");
			cloning->lost |= !option;
			if (cloning->lost)
				return;
		}
	}
}

/* Ahead of the rest, because it says what relative paths mean. */
static bool has_daemonize(const char *const *argv)
{
	for (; *argv; argv++) {
		const struct clone_option *option = clone_option_find(*argv);

		if (option && option->how == CLONE_DAEMON)
			return true;
		if (option && option->has_argument && argv[1])
			argv++;
	}
	return false;
}

static void add_own_options(struct cloning *cloning)
{
	const struct clone_source *src = cloning->src;
	struct clone *clone = cloning->clone;

	if (!cloning->machine_pinned && src->machine && *src->machine) {
		add(clone, str_dup("-machine"), true);
		add(clone, str_dup(src->machine), true);
	}
	if (!cloning->accelerator_named && src->accelerator && *src->accelerator) {
		add(clone, str_dup("-accel"), true);
		add(clone, str_dup(src->accelerator), true);
	}
	add(clone, str_dup("-incoming"), true);
	add(clone, str_dup("defer"), true);
	if (!cloning->paused)
		add(clone, str_dup("-S"), true);
}

/* A monitor that a configuration file makes is where it is here. */
static void object_to_lost_monitor(const struct cloning *cloning)
{
	const struct clone_source *src = cloning->src;

	if (src->monitor && !cloning->monitor_seen && !cloning->lost &&
	    !(cloning->configured && str_eq(src->monitor, src->dst_monitor)))
		problems_add(cloning->problems,
			     "the monitor %s is not on the source's command line under that name: "
			     "give its socket as it is written there, or start the QEMU over there "
			     "yourself, with --start",
			     src->monitor);
}

void clone_make(const struct clone_source *src, struct clone *clone, struct problems *problems)
{
	struct cloning cloning = {
		.src = src, .clone = clone, .problems = problems, .cwd = src->cwd};

	*clone = (struct clone){.daemonize = has_daemonize(src->argv)};
	if (clone->daemonize && str_eq(src->cwd, "/"))
		cloning.cwd = NULL;
	if (src->argv[0]) {
		clone_program(&cloning, src->argv[0]);
		clone_options(&cloning, src->argv + 1);
	}
	add_own_options(&cloning);
	object_to_lost_monitor(&cloning);
}

void clone_deinit(struct clone *clone)
{
	for (size_t i = 0; i < clone->count; i++)
		free(clone->argv[i]);
	for (size_t i = 0; i < clone->files_count; i++) {
		free(clone->files[i].path);
		free(clone->files[i].src_path);
	}
	free(clone->argv);
	free(clone->changed);
	free(clone->files);
	free(clone->pidfile);
	*clone = (struct clone){0};
}
