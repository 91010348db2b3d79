/* Any bytes are a record or are not; one that is can be written, and is then read the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "fuzz.h"
#include "journal/record.h"
#include "record_sample.h"

/* A byte may become three in writing; a longer line might not be short enough again. */
#define INPUT_MAX (RECORD_LINE_MAX / 4)

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	abort();
}

static void check_required(const struct record *record)
{
	if (!record->id || !record->source || !record->dst_socket || !record->step ||
	    !record->mirror)
		fail("read", "without what is always there");
	for (size_t i = 0; i < record->disks_count; i++)
		if (!record->disks[i].name)
			fail("read", "a disk without a name");
}

static void write_and_read(const struct record *record)
{
	struct err err = {0};
	struct record back;
	_autofree_ char *line = record_write(record, &err);
	const char *difference;

	if (!line)
		fail("read, but not written", err.text);
	if (strchr(line, '\n') != line + strlen(line) - 1)
		fail("written", "is not one line");
	if (record_read(&back, line, strlen(line) - 1, &err) < 0)
		fail("written, but not read", err.text);
	difference = record_difference(record, &back);
	if (difference)
		fail("read differently", difference);
	record_deinit(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = {0};
	struct record record;

	if (size > INPUT_MAX)
		return 0;
	if (record_read(&record, (const char *)data, size, &err) < 0) {
		if (err.kind != ERR_FAILED || !str_starts(err.text, "record: "))
			fail("refused without a word", err.text);
		return 0;
	}
	check_required(&record);
	write_and_read(&record);
	record_deinit(&record);
	return 0;
}
