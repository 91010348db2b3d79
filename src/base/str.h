/* Strings: ownership by cleanup attribute, a growing buffer, and the few
 * transformations that more than one layer needs. Running out of memory ends
 * the process (a move that cannot allocate 100 bytes cannot be undone either;
 * `str_oom` says so); no function here returns NULL.
 */
#ifndef VMFERRY_BASE_STR_H
#define VMFERRY_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

static inline void str_freep(char **p)
{
	free(*p);
}

/* `_autofree_ char *s = ...`: freed when it goes out of scope. */
#define _autofree_ __attribute__((cleanup(str_freep)))

/* Hands the string over and leaves NULL behind: `return str_take(&s);` */
static inline char *str_take(char **p)
{
	char *s = *p;

	*p = NULL;
	return s;
}

void *mem_zalloc(size_t count, size_t size);        /* calloc that does not fail */
void *mem_grow(void *p, size_t count, size_t size); /* reallocarray that does not fail */
char *str_dup(const char *s);                       /* NULL gives NULL */
char *str_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static inline bool str_eq(const char *a, const char *b)
{
	return a && b && __builtin_strcmp(a, b) == 0;
}

bool str_starts(const char *s, const char *prefix);

/* The directory of a path, as dirname(3): "/a/b" gives "/a". Caller frees. */
char *str_directory(const char *path);

/* Replaces control characters (terminal escapes from a hostile peer among them)
 * by '?', in place; valid UTF-8 stays. */
void str_sanitize(char *s);

/* @s as one word of a POSIX shell, in single quotes. Caller frees. The only
 * function that quotes for a remote shell. */
char *str_shell_quote(const char *s);

/* "17.2 GiB", for people. @buf is returned. */
char *str_size(char *buf, size_t len, uint64_t bytes);

/* A number with a unit k, M, G, T (1024-based, optional "iB" or "B" behind) as
 * bytes. False when @s is no such number, is negative or does not fit. */
bool str_parse_size(const char *s, uint64_t *bytes);

/* A growing byte buffer. {0} is an empty one; `data` is NUL-terminated once
 * anything was added. */
struct buf {
	char *data;
	size_t len; /* without the NUL */
	size_t cap;
};

void buf_add(struct buf *b, const void *data, size_t len);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_json_string(struct buf *b, const char *s); /* quoted; NULL gives null */
void buf_drop(struct buf *b, size_t len);           /* the first @len bytes */
void buf_deinit(struct buf *b);

#define _cleanup_buf_ __attribute__((cleanup(buf_deinit)))

#endif
