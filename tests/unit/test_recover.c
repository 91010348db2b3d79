/* A move that was abandoned, between two fake QEMUs: what is on record of it, and what is done by
 * what both sides are like. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "fake_move.h"
#include "migrate/record.h"
#include "migrate/recover.h"
#include "unit.h"

static struct fake_move f;
static char directory[] = "/tmp/test-recover-XXXXXX";

static void begin(void)
{
	ck_assert_ptr_nonnull(mkdtemp(directory));
	fake_move_begin(&f);
	f.opt.journal_directory = directory;
}

/* A move that has looked, and is on record. */
static void put_on_record(void)
{
	fake_move_check(&f);
	ck_assert_ok(f.ret, &f.err);
	ck_assert_ok(record_open(f.m, &f.err), &f.err);
}

static void end(void)
{
	_autofree_ char *command = str_printf("rm -r %s", directory);

	fake_move_end(&f);
	ck_assert_int_eq(system(command), 0);
}

/* --- what is on record --- */

START_TEST(only_timeouts_that_were_asked_for_are_on_record)
{
	struct options later = {0};

	begin();
	f.opt.asked = (struct timeouts){.answer_ms = 5000, .reconnect_ms = -1};
	put_on_record();
	record_options(&f.m->record, &later);
	ck_assert_int_eq(later.timeouts.answer_ms, 5000);
	ck_assert_int_eq(later.timeouts.connect_ms, 0);
	ck_assert_int_eq(later.timeouts.switchover_ms, 0);
	ck_assert_int_eq(later.timeouts.reconnect_ms, -1);
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		only_timeouts_that_were_asked_for_are_on_record,
	};

	return unit_run("recover", tests, COUNT_OF(tests));
}
