#include "migrate/clone_words.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

void clone_words_add(struct clone_words *words, const struct clone_word *word)
{
	words->list = mem_grow(words->list, words->count + 1, sizeof(*words->list));
	words->list[words->count++] = *word;
}

/* The length of a value as written: to the first comma that is not doubled. */
static size_t written_len(const char *s)
{
	const char *p = s;

	while (*p && (*p != ',' || p[1] == ','))
		p += *p == ',' ? 2 : 1;
	return (size_t)(p - s);
}

static char *without_doubled_commas(const char *s, size_t len)
{
	struct buf b = {0};

	buf_add(&b, "", 0);
	for (size_t i = 0; i < len; i++) {
		buf_add(&b, s + i, 1);
		if (s[i] == ',')
			i++;
	}
	return b.data;
}

char *clone_words_escape(const char *s)
{
	struct buf b = {0};

	buf_add(&b, "", 0);
	for (; *s; s++)
		buf_add(&b, *s == ',' ? ",," : s, *s == ',' ? 2 : 1);
	return b.data;
}

/* One "key=value", "key", or first value without a key. What follows it. */
static const char *parse_word(struct clone_words *words, const char *p, const char *implied)
{
	struct clone_word word = {.is_text = true};
	size_t key_len = strcspn(p, "=,");
	const char *value = p[key_len] == '=' ? p + key_len + 1 : p;

	if (p[key_len] != '=' && !(implied && p == words->text)) {
		word.key = str_printf("%.*s", (int)key_len, p);
		clone_words_add(words, &word);
		return p + key_len;
	}
	word.key = p[key_len] == '=' ? str_printf("%.*s", (int)key_len, p) : str_dup(implied);
	word.at = (size_t)(value - words->text);
	word.len = written_len(value);
	word.value = without_doubled_commas(value, word.len);
	clone_words_add(words, &word);
	return value + word.len;
}

bool clone_words_parse(struct clone_words *words, const char *text, const char *implied)
{
	*words = (struct clone_words){.text = text, .json = *text == '{'};
	if (words->json)
		return clone_json_parse(words);
	for (const char *p = text; *p;) {
		p = parse_word(words, p, implied);
		if (*p == ',')
			p++;
	}
	return true;
}

void clone_words_deinit(struct clone_words *words)
{
	for (size_t i = 0; i < words->count; i++) {
		free(words->list[i].key);
		free(words->list[i].value);
		free(words->list[i].replacement);
	}
	free(words->list);
	*words = (struct clone_words){0};
}

const char *clone_words_get(const struct clone_words *words, const char *key)
{
	for (size_t i = words->count; i-- > 0;)
		if (str_eq(words->list[i].key, key))
			return words->list[i].value ? words->list[i].value : "on";
	return NULL;
}

bool clone_words_is_on(const char *value)
{
	static const char *const on[] = {"on", "yes", "true", "y"};

	for (size_t i = 0; value && i < sizeof(on) / sizeof(on[0]); i++)
		if (str_eq(value, on[i]))
			return true;
	return !value;
}

char *clone_words_join(const struct clone_words *words)
{
	struct buf b = {0};
	size_t done = 0;
	bool replaced = false;

	for (size_t i = 0; i < words->count; i++) {
		const struct clone_word *word = &words->list[i];
		_autofree_ char *written = NULL;

		if (!word->replacement)
			continue;
		written = words->json ? clone_json_quote(word->replacement)
				      : clone_words_escape(word->replacement);
		buf_add(&b, words->text + done, word->at - done);
		buf_add(&b, written, strlen(written));
		done = word->at + word->len;
		replaced = true;
	}
	if (replaced)
		buf_add(&b, words->text + done, strlen(words->text + done));
	return b.data;
}
