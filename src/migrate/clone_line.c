#include "migrate/clone_line.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/clone_words.h"

/* --- the line --- */

static struct clone_item *add(struct clone_line *line)
{
	line->list = mem_grow(line->list, line->count + 1, sizeof(*line->list));
	line->list[line->count] = (struct clone_item){0};
	return &line->list[line->count++];
}

void clone_line_parse(struct clone_line *line, const char *const *argv)
{
	*line = (struct clone_line){0};
	for (size_t i = 0; argv[i]; i++) {
		struct clone_item *item = add(line);

		item->option = str_dup(argv[i]);
		item->known = i && *argv[i] == '-' ? clone_option_find(argv[i]) : NULL;
		if (item->known && item->known->has_argument && argv[i + 1])
			item->argument = str_dup(argv[++i]);
	}
}

void clone_line_deinit(struct clone_line *line)
{
	for (size_t i = 0; i < line->count; i++) {
		free(line->list[i].option);
		free(line->list[i].argument);
	}
	free(line->list);
	*line = (struct clone_line){0};
}

char **clone_line_argv(const struct clone_line *line)
{
	char **argv = mem_zalloc(line->count * 2 + 1, sizeof(*argv));
	size_t n = 0;

	for (size_t i = 0; i < line->count; i++) {
		const struct clone_item *item = &line->list[i];

		if (item->dropped)
			continue;
		argv[n++] = str_dup(item->option);
		if (item->argument)
			argv[n++] = str_dup(item->argument);
	}
	return argv;
}

void clone_line_add(struct clone_line *line, const char *option, char *argument)
{
	struct clone_item *item = add(line);

	item->option = str_dup(option);
	item->argument = argument;
	item->known = clone_option_find(option);
}

bool clone_item_is(const struct clone_item *item, const char *option)
{
	return !item->dropped && item->known && item->argument && str_eq(item->known->name, option);
}

struct clone_item *clone_line_find(struct clone_line *line, const char *option, const char *key,
				   const char *value)
{
	for (size_t i = line->count; value && i-- > 0;) {
		_autofree_ char *found = clone_item_is(&line->list[i], option)
						 ? clone_item_get(&line->list[i], key)
						 : NULL;

		if (str_eq(found, value))
			return &line->list[i];
	}
	return NULL;
}

/* --- one item --- */

char *clone_item_get(const struct clone_item *item, const char *key)
{
	struct clone_words words;
	char *value = NULL;

	if (clone_words_parse(&words, item->argument, item->known->implied))
		value = str_dup(clone_words_get(&words, key));
	clone_words_deinit(&words);
	return value;
}

static struct clone_word *find(struct clone_words *words, const char *key)
{
	for (size_t i = words->count; i-- > 0;)
		if (str_eq(words->list[i].key, key))
			return &words->list[i];
	return NULL;
}

static void replace_argument(struct clone_item *item, char *argument)
{
	if (argument) {
		free(item->argument);
		item->argument = argument;
	}
}

/* Behind all that is there. */
static char *appended(const struct clone_words *words, const char *key, const char *value)
{
	size_t len = strlen(words->text);
	_autofree_ char *name = NULL;
	_autofree_ char *text = NULL;

	if (!words->json) {
		text = clone_words_escape(value);
		return str_printf("%s%s%s=%s", words->text, len ? "," : "", key, text);
	}
	while (len && words->text[len - 1] != '}')
		len--;
	name = clone_json_quote(key);
	text = clone_json_quote(value);
	return len ? str_printf("%.*s%s%s:%s}", (int)len - 1, words->text, words->count ? "," : "",
				name, text)
		   : NULL;
}

bool clone_item_set(struct clone_item *item, const char *key, const char *value)
{
	struct clone_words words;
	struct clone_word *word;
	char *argument = NULL;
	bool good = clone_words_parse(&words, item->argument, item->known->implied);

	word = good ? find(&words, key) : NULL;
	if (word && word->value && word->is_text)
		word->replacement = str_dup(value);
	good = good && (!word || word->replacement);
	if (good)
		argument = word ? clone_words_join(&words) : appended(&words, key, value);
	clone_words_deinit(&words);
	replace_argument(item, argument);
	return good && argument;
}

/* All but @key, each with its name. */
static char *without(const struct clone_words *words, const char *key)
{
	struct buf b = {0};

	buf_add(&b, "", 0);
	for (size_t i = 0; i < words->count; i++) {
		const struct clone_word *word = &words->list[i];
		_autofree_ char *text = word->value ? clone_words_escape(word->value) : NULL;

		if (!str_eq(word->key, key))
			buf_printf(&b, "%s%s%s%s", b.len ? "," : "", word->key, text ? "=" : "",
				   text ? text : "");
	}
	return b.data;
}

static size_t back_over_space(const char *text, size_t at)
{
	while (at && strchr(" \t\r\n", text[at - 1]))
		at--;
	return at;
}

/* The member of the outermost object with its comma. NULL where it is not written plainly. */
static char *json_without(const struct clone_words *words, const struct clone_word *word)
{
	const char *text = words->text;
	size_t end = word->at + word->len, at = back_over_space(text, word->at);
	size_t name = strlen(word->key);

	if (!at || text[at - 1] != ':')
		return NULL;
	at = back_over_space(text, at - 1);
	if (at < name + 2 || strncmp(text + at - 1 - name, word->key, name) != 0)
		return NULL;
	at = back_over_space(text, at - name - 2);
	if (at && text[at - 1] == ',') {
		at--;
	} else {
		end += strspn(text + end, " \t\r\n");
		end += text[end] == ',';
	}
	return str_printf("%.*s%s", (int)at, text, text + end);
}

bool clone_item_remove(struct clone_item *item, const char *key)
{
	struct clone_words words;
	struct clone_word *word;
	char *argument = NULL;
	bool good = clone_words_parse(&words, item->argument, item->known->implied);

	word = good ? find(&words, key) : NULL;
	if (word)
		argument = words.json ? json_without(&words, word) : without(&words, key);
	good = good && (!word || argument);
	clone_words_deinit(&words);
	replace_argument(item, argument);
	return good;
}

static bool is_allowed(const char *key, const char *const *allowed)
{
	for (; *allowed; allowed++) {
		size_t n = strcspn(*allowed, "*");

		if (strncmp(key, *allowed, n) == 0 && ((*allowed)[n] || !key[n]))
			return true;
	}
	return false;
}

char *clone_item_other_key(const struct clone_item *item, const char *const *allowed)
{
	struct clone_words words;
	char *other = NULL;

	clone_words_parse(&words, item->argument, item->known->implied);
	for (size_t i = 0; !other && i < words.count; i++)
		if (!is_allowed(words.list[i].key, allowed) && !str_eq(words.list[i].value, "null"))
			other = str_dup(words.list[i].key);
	clone_words_deinit(&words);
	return other;
}
