/* Any bytes are a cookie or are not; one that is can be written, and is then read the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cookie/cookie.h"
#include "cookie_equal.h"
#include "fuzz.h"

/* Quotes grow sixfold in writing; a longer text might not fit into a cookie again. */
#define INPUT_MAX (COOKIE_TEXT_MAX / 16)

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	abort();
}

static void write_and_read(const struct cookie *cookie)
{
	struct err err = {0};
	struct cookie back;
	_autofree_ char *text = cookie_write(cookie, &err);
	const char *difference;

	if (!text)
		fail("read, but not written", err.text);
	if (cookie_read(&back, text, strlen(text), &err) < 0)
		fail("written, but not read", err.text);
	difference = cookie_difference(cookie, &back);
	if (difference)
		fail("read differently", difference);
	cookie_deinit(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = {0};
	struct cookie cookie;

	if (size > INPUT_MAX)
		return 0;
	if (cookie_read(&cookie, (const char *)data, size, &err) < 0) {
		if (err.kind != ERR_REFUSED || !str_starts(err.text, "cookie: "))
			fail("refused without a word", err.text);
		return 0;
	}
	write_and_read(&cookie);
	cookie_deinit(&cookie);
	return 0;
}
