#include "migrate/clone_values.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/disk.h"

void cloning_refuse(struct cloning *cloning, const char *key, const char *value, const char *why)
{
	problems_add(cloning->problems,
		     "%s%s%s%s%s: %s; this cannot be repeated over there: start that QEMU "
		     "yourself, with --start",
		     cloning->option, key || value ? " " : "", key ? key : "",
		     key && value ? "=" : "", value ? value : "", why);
}

/* A value and where it is. */
struct value {
	const struct clone_words *words; /* NULL: it is the whole argument */
	const char *key;
	const char *text;
};

static bool is_on(const struct value *value, const char *key)
{
	const char *found = value->words ? clone_words_get(value->words, key) : NULL;

	return found && clone_words_is_on(found);
}

static char *keep(struct cloning *cloning, const struct value *value)
{
	(void)cloning;
	(void)value;
	return NULL;
}

static char *read_path(struct cloning *cloning, const struct value *value)
{
	return clone_path(cloning, value->text, CLONE_FILE_READ);
}

static char *create_path(struct cloning *cloning, const struct value *value)
{
	return clone_path(cloning, value->text, CLONE_FILE_CREATED);
}

static char *connect_path(struct cloning *cloning, const struct value *value)
{
	return clone_path(cloning, value->text, CLONE_FILE_CONNECTED);
}

/* An abstract socket's name is no path. */
static char *socket_path(struct cloning *cloning, const struct value *value)
{
	if (is_on(value, "abstract") || is_on(value, "addr.abstract"))
		return NULL;
	return clone_path(cloning, value->text,
			  is_on(value, "server") ? CLONE_FILE_CREATED : CLONE_FILE_CONNECTED);
}

static char *spice_address(struct cloning *cloning, const struct value *value)
{
	return is_on(value, "unix") ? create_path(cloning, value) : NULL;
}

static char *with_prefix(const char *prefix, char *rest)
{
	_autofree_ char *owned = rest;

	return owned ? str_printf("%s%s", prefix, owned) : NULL;
}

static char *vnc_display(struct cloning *cloning, const struct value *value)
{
	static const char prefix[] = "unix:";

	if (!str_starts(value->text, prefix))
		return NULL;
	return with_prefix(prefix,
			   clone_path(cloning, value->text + strlen(prefix), CLONE_FILE_CREATED));
}

static char *ram_path(struct cloning *cloning, const struct value *value)
{
	return clone_path(cloning, value->text,
			  is_on(value, "readonly") ? CLONE_FILE_READ : CLONE_FILE_RAM);
}

/* qemu_find_file(): as it is first, then in the directories of QEMU's installation and of -L,
 * which the QEMU over there has too. */
static char *firmware(struct cloning *cloning, const struct value *value)
{
	const struct clone_source *src = cloning->src;
	_autofree_ char *path = disk_absolute_path(value->text, cloning->cwd);

	if (*path != '/' ? !strchr(path, '/')
			 : *value->text != '/' && !(src->exists && src->exists(src->arg, path)))
		return NULL;
	return read_path(cloning, value);
}

static char *script(struct cloning *cloning, const struct value *value)
{
	return str_eq(value->text, "no") ? NULL : read_path(cloning, value);
}

static bool is_no_script(const char *script)
{
	return script && (!*script || str_eq(script, "no"));
}

/* QEMU opens the interface of that name, or makes it, and then nothing but a script puts it
 * anywhere (net_tap_init() of its net/tap.c). In a name with a "%" the kernel puts a number. */
static char *interface(struct cloning *cloning, const struct value *value)
{
	const char *script = value->words ? clone_words_get(value->words, "script") : NULL;
	_autofree_ char *path = str_printf("/sys/class/net/%s", value->text);

	if (is_no_script(script) && !strpbrk(value->text, "%/"))
		clone_file_as_it_is(cloning, path, CLONE_FILE_INTERFACE);
	return NULL;
}

/* What QEMU runs for a tap where nothing is said of it; without it, it ends. Its directory is
 * chosen when QEMU is built: where there is none here, it is in another. */
static void implied_script(struct cloning *cloning, const struct clone_words *words)
{
	static const char *const instead[] = {"script", "helper", "fd", "fds"};
	static const char path[] = "/etc/qemu-ifup";
	const struct clone_source *src = cloning->src;

	for (size_t i = 0; i < sizeof(instead) / sizeof(instead[0]); i++)
		if (clone_words_get(words, instead[i]))
			return;
	if (src->exists && src->exists(src->arg, path))
		clone_file_as_it_is(cloning, path, CLONE_FILE_READ);
}

/* acpi_table_add() splits at colons and knows no way to escape one. */
static char *path_list(struct cloning *cloning, const struct value *value)
{
	struct buf b = {0};
	bool changed = false;

	for (const char *p = value->text; *p;) {
		size_t len = strcspn(p, ":");
		_autofree_ char *path = str_printf("%.*s", (int)len, p);
		_autofree_ char *dst = clone_path(cloning, path, CLONE_FILE_READ);

		changed |= dst != NULL;
		buf_printf(&b, "%s%s", dst ? dst : path, p[len] ? ":" : "");
		p += len + (p[len] == ':');
	}
	if (!changed)
		buf_deinit(&b);
	return b.data;
}

/* Whether @key is of a node that is read-only, or is inside one: "file.read-only" says it of
 * "file.filename". */
static bool in_read_only_node(const struct value *value)
{
	for (size_t i = 0; value->words && i < value->words->count; i++) {
		const struct clone_word *word = &value->words->list[i];
		const char *dot = strrchr(word->key, '.');
		const char *name = dot ? dot + 1 : word->key;

		if ((str_eq(name, "read-only") || str_eq(name, "readonly")) &&
		    strncmp(word->key, value->key, (size_t)(name - word->key)) == 0 &&
		    clone_words_is_on(word->value))
			return true;
	}
	return false;
}

static enum clone_use image_use(const struct cloning *cloning, const struct value *value)
{
	bool backing = value->key &&
		       (str_starts(value->key, "backing.") || strstr(value->key, ".backing."));
	const char *media = value->words ? clone_words_get(value->words, "media") : NULL;

	return backing || cloning->read_only || str_eq(media, "cdrom") ||
			       str_eq(cloning->option, "-cdrom") || in_read_only_node(value)
		       ? CLONE_FILE_READ
		       : CLONE_FILE_WRITTEN;
}

static char *image(struct cloning *cloning, const struct value *value)
{
	return clone_image(cloning, value->text, image_use(cloning, value));
}

static char *image_file(struct cloning *cloning, const struct value *value)
{
	return clone_image_file(cloning, value->text, image_use(cloning, value));
}

/* A socket's address and its options, behind @prefix of @text. */
static char *chardev_socket(struct cloning *cloning, const char *prefix, const char *implied,
			    const char *text)
{
	const struct clone_option socket = {.group = "chardev", .implied = implied};

	return with_prefix(prefix, clone_keys(cloning, &socket, "socket", text + strlen(prefix)));
}

/* As qemu_chr_parse_compat() takes them apart: only sockets have options. */
static char *chardev(struct cloning *cloning, const struct value *value)
{
	static const char *const paths[] = {"file:", "pipe:", "pty:"};
	static const char *const addresses[] = {"tcp:", "telnet:", "tn3270:", "websocket:"};
	const char *text = value->text;
	struct value rest = {0};

	if (str_starts(text, "unix:"))
		return chardev_socket(cloning, "unix:", "path", text);
	if (str_starts(text, "mon:")) {
		rest.text = text + 4;
		return with_prefix("mon:", chardev(cloning, &rest));
	}
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (str_starts(text, paths[i]))
			return with_prefix(paths[i], clone_path(cloning, text + strlen(paths[i]),
								CLONE_FILE_CREATED));
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		if (str_starts(text, addresses[i]))
			return chardev_socket(cloning, addresses[i], "host", text);
	if (str_starts(text, "/dev/") && !str_eq(text, "/dev/null"))
		cloning_refuse(cloning, NULL, text, "a device of this host, which does not move");
	return NULL;
}

char *clone_value(struct cloning *cloning, enum clone_rule rule, const struct clone_words *words,
		  const char *key, const char *text)
{
	static char *(*const rules[CLONE_RULES])(struct cloning *, const struct value *) = {
		[CLONE_KEEP] = keep,
		[CLONE_REFUSE] = keep,
		[CLONE_READ] = read_path,
		[CLONE_CREATE] = create_path,
		[CLONE_CONNECT] = connect_path,
		[CLONE_SOCKET] = socket_path,
		[CLONE_SPICE] = spice_address,
		[CLONE_VNC] = vnc_display,
		[CLONE_RAM] = ram_path,
		[CLONE_FIRMWARE] = firmware,
		[CLONE_SCRIPT] = script,
		[CLONE_INTERFACE] = interface,
		[CLONE_LIST] = path_list,
		[CLONE_IMAGE] = image,
		[CLONE_IMAGE_FILE] = image_file,
		[CLONE_CHARDEV] = chardev,
	};
	struct value value = {words, key, text};

	return text && *text ? rules[rule](cloning, &value) : NULL;
}

/* What the option is about: the value that most rules of its keys go by. */
static const char *type_of(const char *group, const struct clone_words *words)
{
	static const struct {
		const char *group, *key;
	} keys[] = {
		{"audiodev", "driver"}, {"chardev", "backend"}, {"device", "driver"},
		{"netdev", "type"},     {"object", "qom-type"}, {"tpmdev", "type"},
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (str_eq(keys[i].group, group))
			return clone_words_get(words, keys[i].key);
	return NULL;
}

static struct clone_word *word_of(struct clone_words *words, const char *key)
{
	for (size_t i = words->count; i-- > 0;)
		if (str_eq(words->list[i].key, key))
			return &words->list[i];
	return NULL;
}

/* QEMU's driver "file" opens no devices, and "host_device" nothing else: where an image is one
 * here and not over there, the driver beside its "filename" changes too. */
static void adapt_driver(struct clone_words *words, const struct clone_word *file)
{
	const char *dot = strrchr(file->key, '.');
	size_t len = dot ? (size_t)(dot + 1 - file->key) : 0;
	_autofree_ char *key = str_printf("%.*sdriver", (int)len, file->key);
	struct clone_word *driver = word_of(words, key);
	bool was_device = clone_is_device(file->value);
	const char *was = was_device ? "host_device" : "file";

	if (str_eq(file->key + len, "filename") && driver && str_eq(driver->value, was) &&
	    was_device != clone_is_device(file->replacement))
		driver->replacement = str_dup(was_device ? "file" : "host_device");
}

void clone_values(struct cloning *cloning, const char *group, const char *type,
		  struct clone_words *words)
{
	if (!type)
		type = type_of(group, words);
	for (size_t i = 0; i < words->count; i++) {
		struct clone_word *word = &words->list[i];
		const struct clone_key *key = clone_key_find(group, type, word->key, word->value);

		if (key->rule == CLONE_REFUSE)
			cloning_refuse(cloning, word->key, word->value, key->why);
		else if (word->is_text && word->value && !word->replacement)
			word->replacement =
				clone_value(cloning, key->rule, words, word->key, word->value);
	}
	if (str_eq(group, "netdev") && str_eq(type, "tap"))
		implied_script(cloning, words);
	for (size_t i = 0; i < words->count; i++)
		if (words->list[i].replacement)
			adapt_driver(words, &words->list[i]);
}

/* QEMU does not go on before somebody has connected to a socket on which it listens, unless it is
 * told not to wait; and to one over there nobody does before the guest is there. The last word for
 * a key counts ("nowait" is another for this one, until 6.0). */
static bool waits(const struct clone_words *words)
{
	const char *server = clone_words_get(words, "server");
	const struct clone_word *wait = NULL;

	for (size_t i = 0; i < words->count; i++)
		if (str_eq(words->list[i].key, "wait") || str_eq(words->list[i].key, "nowait"))
			wait = &words->list[i];
	if (!server || !clone_words_is_on(server))
		return false;
	return !wait || str_eq(wait->key, "wait") == clone_words_is_on(wait->value);
}

/* Takes over @changed: @text as it is to be by now, NULL: as it was. */
static char *without_waiting(const char *text, char *changed)
{
	_autofree_ char *now = changed;
	const char *before = now ? now : text;

	return str_printf("%s%swait=off", before, before[strlen(before) - 1] == ',' ? "" : ",");
}

char *clone_keys(struct cloning *cloning, const struct clone_option *option, const char *type,
		 const char *text)
{
	struct clone_words words;
	char *changed = NULL;

	if (clone_words_parse(&words, text, option->implied)) {
		clone_values(cloning, option->group, type, &words);
		changed = clone_words_join(&words);
		if (str_eq(option->group, "chardev") && !words.json && waits(&words))
			changed = without_waiting(text, changed);
	} else {
		cloning_refuse(cloning, NULL, NULL, "its JSON cannot be read");
	}
	clone_words_deinit(&words);
	return changed;
}
