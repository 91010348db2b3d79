/* What a text in a cookie may be. Each check gives NULL for a good one, or what is wrong with
 * it, as words that go behind it: "is no absolute path". */
#ifndef VMFERRY_COOKIE_TEXT_H
#define VMFERRY_COOKIE_TEXT_H

#include <stdbool.h>
#include <stdint.h>

/* The longest text and the longest name of a guest or a host, in bytes (PATH_MAX - 1 and
 * what a host name and a file name may be). */
#define TEXT_MAX 4095
#define TEXT_NAME_MAX 255

/* Not longer than TEXT_MAX, UTF-8, no control characters and nothing that XML cannot carry.
 * The others look only at what is theirs and come after this one. */
const char *text_check(const char *text);

/* Replaces, in place, whatever the above finds fault with but the length. */
void text_sanitize(char *text);

const char *text_name(const char *text);
const char *text_path(const char *text);    /* absolute, no ".." in it */
const char *text_uuid(const char *text);    /* RFC 4122: 8-4-4-4-12 hex digits */
const char *text_id(const char *text);      /* 32 hex digits, lower-case */
const char *text_digest(const char *text);  /* 64 of those */
const char *text_address(const char *text); /* numeric IPv4 or IPv6, as inet_pton(3) has it */
const char *text_compat(const char *text);  /* of a qcow2: "0.10" or "1.1" */

/* Digits of @base (8 or 10) and nothing else, up to @max. */
bool text_number(const char *text, unsigned base, uint64_t max, uint64_t *number);

/* The same file by their names: "/a/b" and "/a//./b" are. */
bool text_same_path(const char *a, const char *b);

#endif
