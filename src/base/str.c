#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void str_oom(void)
{
	static const char words[] = "vmferry: out of memory\n";

	if (write(STDERR_FILENO, words, sizeof(words) - 1) < 0)
		abort();
	abort();
}

void *mem_zalloc(size_t count, size_t size)
{
	void *p = calloc(count, size);

	if (!p)
		str_oom();
	return p;
}

void *mem_grow(void *p, size_t count, size_t size)
{
	void *q = reallocarray(p, count, size);

	if (!q)
		str_oom();
	return q;
}

char *str_dup(const char *s)
{
	char *copy;

	if (!s)
		return NULL;
	copy = strdup(s);
	if (!copy)
		str_oom();
	return copy;
}

char *str_printf(const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		str_oom();
	return s;
}

bool str_starts(const char *s, const char *prefix)
{
	return s && strncmp(s, prefix, strlen(prefix)) == 0;
}

char *str_directory(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return str_dup(".");
	return slash == path ? str_dup("/") : str_printf("%.*s", (int)(slash - path), path);
}

/* The length of the valid UTF-8 sequence of a printable character at @s, or 0.
 * C1 controls (U+0080 to U+009F) count as control characters. */
static size_t printable_len(const unsigned char *s)
{
	size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90))
		return 0; /* longer than need be: how an escape could hide */
	if ((s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0; /* a surrogate; beyond U+10FFFF */
	return s[0] == 0xc2 && s[1] < 0xa0 ? 0 : n;
}

void str_sanitize(char *s)
{
	while (*s) {
		size_t n = printable_len((unsigned char *)s);

		if (!n) {
			*s = *s == '\n' || *s == '\t' ? ' ' : '?';
			n = 1;
		}
		s += n;
	}
}

char *str_shell_quote(const char *s)
{
	struct buf b = {0};

	buf_add(&b, "'", 1);
	for (; *s; s++) {
		if (*s == '\'')
			buf_add(&b, "'\\''", 4);
		else
			buf_add(&b, s, 1);
	}
	buf_add(&b, "'", 1);
	return b.data;
}

char *str_size(char *buf, size_t len, uint64_t bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	snprintf(buf, len, unit && value < 100 ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return buf;
}

/* 1 for no unit, 0 for a unit that is none. */
static uint64_t unit_factor(const char *unit)
{
	static const char letters[] = "kmgt";
	const char *p;
	uint64_t factor = 1;

	if (!*unit || strcmp(unit, "B") == 0)
		return 1;
	p = strchr(letters, *unit | 0x20);
	if (!p || (unit[1] && strcmp(unit + 1, "B") != 0 && strcmp(unit + 1, "iB") != 0))
		return 0;
	for (const char *q = letters; q <= p; q++)
		factor *= 1024;
	return factor;
}

bool str_parse_size(const char *s, uint64_t *bytes)
{
	char *end;
	uint64_t factor;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	*bytes = strtoull(s, &end, 10);
	factor = unit_factor(end);
	return errno == 0 && factor && !__builtin_mul_overflow(*bytes, factor, bytes);
}

static void buf_reserve(struct buf *b, size_t more)
{
	size_t need = b->len + more + 1;

	if (need <= b->cap)
		return;
	b->cap = need < 256 ? 256 : need + need / 2;
	b->data = mem_grow(b->data, b->cap, 1);
}

void buf_add(struct buf *b, const void *data, size_t len)
{
	buf_reserve(b, len);
	memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		str_oom();
	buf_reserve(b, (size_t)n);
	va_start(ap, fmt);
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

/* Sanitized first, so that what is left to escape are quotes and backslashes (RFC 8259). */
void buf_json_string(struct buf *b, const char *s)
{
	_autofree_ char *clean = str_dup(s);

	if (!clean) {
		buf_printf(b, "null");
		return;
	}
	str_sanitize(clean);
	buf_add(b, "\"", 1);
	for (const char *p = clean; *p; p++) {
		if (*p == '"' || *p == '\\')
			buf_add(b, "\\", 1);
		buf_add(b, p, 1);
	}
	buf_add(b, "\"", 1);
}

void buf_drop(struct buf *b, size_t len)
{
	if (!len)
		return;
	memmove(b->data, b->data + len, b->len - len + 1);
	b->len -= len;
}

void buf_deinit(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}
