/* The strings of a JSON object, found where they are written.
 *
 * Not a JSON library's work: that reads a text and writes another one, while here all but
 * the replaced strings has to stay as it is, and QEMU takes what no library does (strings in
 * single quotes; its json-lexer.c and json-parser.c). So this only walks: it knows where
 * strings and the other values begin and end and under which keys they are, and does not
 * care whether a number is a good one; the QEMU that runs with the text has read it. */
#include <stdint.h>
#include <string.h>

#include "base/str.h"
#include "migrate/clone_words.h"

/* No node of QEMU's is nested as deep. */
#define DEPTH_MAX 64

struct scan {
	const char *p;
	struct clone_words *words;
	unsigned depth;
};

static bool scan_value(struct scan *scan, const char *key);

static void skip_space(struct scan *scan)
{
	scan->p += strspn(scan->p, " \t\r\n");
}

/* Whether @c comes next, and goes past it. */
static bool take(struct scan *scan, char c)
{
	skip_space(scan);
	if (*scan->p != c)
		return false;
	scan->p++;
	return true;
}

static void add_utf8(struct buf *b, uint32_t c)
{
	char s[4] = {(char)c};
	size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (size_t i = len; len > 1 && i-- > 1; c >>= 6)
		s[i] = (char)(0x80 | (c & 0x3f));
	if (len > 1)
		s[0] = (char)(((0xf00 >> len) & 0xff) | c);
	buf_add(b, s, len);
}

static bool scan_hex4(struct scan *scan, uint32_t *c)
{
	*c = 0;
	for (int i = 0; i < 4; i++, scan->p++) {
		static const char digits[] = "0123456789abcdef";
		char digit =
			(char)(*scan->p >= 'A' && *scan->p <= 'F' ? *scan->p | 0x20 : *scan->p);
		const char *found = digit ? strchr(digits, digit) : NULL;

		if (!found)
			return false;
		*c = *c << 4 | (uint32_t)(found - digits);
	}
	return true;
}

/* Behind "\u". NUL is refused: no C string has it. */
static bool scan_unicode(struct scan *scan, struct buf *b)
{
	uint32_t c, low;

	if (!scan_hex4(scan, &c) || !c)
		return false;
	if (c >= 0xd800 && c < 0xdc00) {
		if (strncmp(scan->p, "\\u", 2) != 0)
			return false;
		scan->p += 2;
		if (!scan_hex4(scan, &low) || low < 0xdc00 || low > 0xdfff)
			return false;
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	} else if (c >= 0xdc00 && c < 0xe000) {
		return false;
	}
	add_utf8(b, c);
	return true;
}

/* Behind a backslash. */
static bool scan_escape(struct scan *scan, struct buf *b)
{
	static const char written[] = "\"'\\/bfnrt", meant[] = "\"'\\/\b\f\n\r\t";
	char c = *scan->p;
	const char *found = c ? strchr(written, c) : NULL;

	if (c)
		scan->p++;
	if (c == 'u')
		return scan_unicode(scan, b);
	if (found)
		buf_add(b, meant + (found - written), 1);
	return found != NULL;
}

static bool scan_string(struct scan *scan, struct buf *b)
{
	char quote = *scan->p;

	buf_add(b, "", 0);
	if (quote != '"' && quote != '\'')
		return false;
	for (scan->p++; *scan->p && *scan->p != quote;) {
		if (*scan->p != '\\') {
			buf_add(b, scan->p++, 1);
			continue;
		}
		scan->p++;
		if (!scan_escape(scan, b))
			return false;
	}
	return take(scan, quote);
}

static char *child_key(const char *key, const char *name)
{
	return *key ? str_printf("%s.%s", key, name) : str_dup(name);
}

static bool scan_object(struct scan *scan, const char *key)
{
	if (take(scan, '}'))
		return true;
	do {
		_cleanup_buf_ struct buf name = {0};
		_autofree_ char *child = NULL;

		skip_space(scan);
		if (!scan_string(scan, &name) || !take(scan, ':'))
			return false;
		child = child_key(key, name.data);
		if (!scan_value(scan, child))
			return false;
	} while (take(scan, ','));
	return take(scan, '}');
}

static bool scan_array(struct scan *scan, const char *key)
{
	size_t n = 0;

	if (take(scan, ']'))
		return true;
	do {
		_autofree_ char *index = str_printf("%zu", n++);
		_autofree_ char *child = child_key(key, index);

		if (!scan_value(scan, child))
			return false;
	} while (take(scan, ','));
	return take(scan, ']');
}

/* A string, a number, true, false, null. */
static bool scan_leaf(struct scan *scan, const char *key)
{
	struct buf b = {0};
	const char *begin = scan->p;
	struct clone_word word = {.is_text = *begin == '"' || *begin == '\''};
	bool good = true;

	if (word.is_text) {
		good = scan_string(scan, &b);
	} else {
		scan->p += strcspn(begin, ",:]}[{\"' \t\r\n");
		buf_add(&b, begin, (size_t)(scan->p - begin));
		good = b.len > 0;
	}
	word.key = str_dup(key);
	word.value = b.data;
	word.at = (size_t)(begin - scan->words->text);
	word.len = (size_t)(scan->p - begin);
	clone_words_add(scan->words, &word);
	return good;
}

static bool scan_value(struct scan *scan, const char *key)
{
	bool good;

	if (scan->depth == DEPTH_MAX)
		return false;
	scan->depth++;
	if (take(scan, '{'))
		good = scan_object(scan, key);
	else if (take(scan, '['))
		good = scan_array(scan, key);
	else
		good = scan_leaf(scan, key);
	scan->depth--;
	return good;
}

bool clone_json_parse(struct clone_words *words)
{
	struct scan scan = {.p = words->text, .words = words};

	if (!scan_value(&scan, ""))
		return false;
	skip_space(&scan);
	return !*scan.p;
}

char *clone_json_quote(const char *s)
{
	struct buf b = {0};

	buf_add(&b, "\"", 1);
	for (; *s; s++) {
		if ((unsigned char)*s < 0x20) {
			buf_printf(&b, "\\u%04x", (unsigned)*s);
			continue;
		}
		if (*s == '"' || *s == '\\')
			buf_add(&b, "\\", 1);
		buf_add(&b, s, 1);
	}
	buf_add(&b, "\"", 1);
	return b.data;
}
