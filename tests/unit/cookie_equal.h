/* Two cookies compared member by member, apart from the tables that reader and writer share. */
#ifndef VMFERRY_TESTS_COOKIE_EQUAL_H
#define VMFERRY_TESTS_COOKIE_EQUAL_H

#include "cookie/cookie.h"

/* The name of a member in which they differ, or NULL. */
const char *cookie_difference(const struct cookie *a, const struct cookie *b);

#endif
