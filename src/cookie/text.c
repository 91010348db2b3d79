#include "cookie/text.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/str.h"

/* XML 1.0, "Char": neither control characters nor U+FFFE and U+FFFF. */
void text_sanitize(char *text)
{
	str_sanitize(text);
	for (; *text; text++)
		if (strncmp(text, "\xef\xbf\xbe", 3) == 0 || strncmp(text, "\xef\xbf\xbf", 3) == 0)
			memset(text, '?', 3);
}

const char *text_check(const char *text)
{
	_autofree_ char *clean = NULL;

	if (strlen(text) > TEXT_MAX)
		return "is longer than 4095 bytes";
	clean = str_dup(text);
	text_sanitize(clean);
	return str_eq(text, clean) ? NULL : "has control characters in it, or is not UTF-8";
}

const char *text_name(const char *text)
{
	return strlen(text) > TEXT_NAME_MAX ? "is longer than 255 bytes" : NULL;
}

const char *text_path(const char *text)
{
	if (*text != '/')
		return "is no absolute path";
	while (*text) {
		size_t len;

		text++; /* the slash */
		len = strcspn(text, "/");
		if (len == 2 && strncmp(text, "..", 2) == 0)
			return "has a \"..\" in it";
		text += len;
	}
	return NULL;
}

/* @count hex digits; capital letters only where @capital. */
static bool hex_digits(const char *text, size_t count, bool capital)
{
	return strspn(text, capital ? "0123456789abcdefABCDEF" : "0123456789abcdef") == count;
}

const char *text_uuid(const char *text)
{
	static const size_t groups[] = {8, 4, 4, 4, 12};
	static const char wrong[] = "is no UUID";

	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		if (i && *text++ != '-')
			return wrong;
		if (!hex_digits(text, groups[i], true))
			return wrong;
		text += groups[i];
	}
	return *text ? wrong : NULL;
}

const char *text_id(const char *text)
{
	return strlen(text) == 32 && hex_digits(text, 32, false)
		       ? NULL
		       : "is not 32 lower-case hex digits";
}

const char *text_digest(const char *text)
{
	return strlen(text) == 64 && hex_digits(text, 64, false)
		       ? NULL
		       : "is not 64 lower-case hex digits";
}

const char *text_address(const char *text)
{
	struct in6_addr address; /* room for either */

	return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1
		       ? NULL
		       : "is no numeric IPv4 or IPv6 address";
}

const char *text_compat(const char *text)
{
	return str_eq(text, "0.10") || str_eq(text, "1.1") ? NULL : "is not 0.10 or 1.1";
}

bool text_number(const char *text, unsigned base, uint64_t max, uint64_t *number)
{
	uint64_t n = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned digit = (unsigned)*text - '0';

		if (digit >= base || digit > max || n > (max - digit) / base)
			return false;
		n = n * base + digit;
	}
	*number = n;
	return true;
}

/* Past the slashes at @path, and components that are ".". */
static const char *next_component(const char *path)
{
	for (;;) {
		path += strspn(path, "/");
		if (path[0] != '.' || (path[1] && path[1] != '/'))
			return path;
		path++;
	}
}

bool text_same_path(const char *a, const char *b)
{
	for (;;) {
		size_t len;

		a = next_component(a);
		b = next_component(b);
		len = strcspn(a, "/");
		if (len != strcspn(b, "/") || strncmp(a, b, len) != 0)
			return false;
		if (!len)
			return true;
		a += len;
		b += len;
	}
}
