/* A record with something in every member, and the comparison of two. */
#ifndef VMFERRY_TESTS_RECORD_SAMPLE_H
#define VMFERRY_TESTS_RECORD_SAMPLE_H

#include "journal/record.h"

#define SAMPLE_ID "0123456789abcdef0123456789abcdef"

/* Strings are nobody's to free: not for record_deinit(). */
struct record record_sample(void);  /* everything */
struct record record_minimal(void); /* what has to be there */

/* The name of the first member that differs, or NULL. */
const char *record_difference(const struct record *a, const struct record *b);

#endif
