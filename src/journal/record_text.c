/* Paths and commands are bytes, JSON strings are Unicode. The bytes that are no printable UTF-8
 * are escaped as in URLs, so that a journal stays readable and is always valid JSON; the unit of
 * escaping is the byte, so nothing of a text is lost or changed. */
#include "journal/record_text.h"

#include <string.h>

#include "base/str.h"

static const char digits[] = "0123456789abcdef";

/* What is printable is str_sanitize()'s to say: it leaves alone what may stay. */
char *record_text_escape(const char *text)
{
	_autofree_ char *clean = str_dup(text);
	struct buf out = {0};

	str_sanitize(clean);
	buf_add(&out, "", 0);
	for (size_t i = 0; text[i]; i++) {
		unsigned char byte = (unsigned char)text[i];
		char escaped[3] = {'%', digits[byte >> 4], digits[byte & 15]};

		if (byte == '%' || text[i] != clean[i])
			buf_add(&out, escaped, sizeof(escaped));
		else
			buf_add(&out, text + i, 1);
	}
	return out.data;
}

static int digit(char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

char *record_text_unescape(const char *text)
{
	_autofree_ char *bytes = mem_zalloc(strlen(text) + 1, 1);
	char *out = bytes;

	for (; *text; text++) {
		int high, low;

		*out++ = *text;
		if (*text != '%')
			continue;
		high = digit(text[1]);
		low = high < 0 ? -1 : digit(text[2]);
		if (low < 0 || (!high && !low))
			return NULL;
		out[-1] = (char)(high << 4 | low);
		text += 2;
	}
	return str_take(&bytes);
}

const char *record_text_plain(const char *text)
{
	_autofree_ char *clean = str_dup(text);

	str_sanitize(clean);
	return str_eq(text, clean) ? NULL : "has control characters in it, or is not UTF-8";
}

const char *record_text_path(const char *text)
{
	return *text == '/' ? NULL : "is no absolute path";
}

const char *record_text_id(const char *text)
{
	return strlen(text) == 32 && strspn(text, digits) == 32 ? NULL : "is not 32 hex digits";
}

const char *record_text_process(const char *text)
{
	static const char decimal[] = "0123456789";
	size_t pid = strspn(text, decimal);
	size_t start = text[pid] == ' ' ? strspn(text + pid + 1, decimal) : 0;

	return pid && start && !text[pid + 1 + start] ? NULL : "is not \"PID START\"";
}
