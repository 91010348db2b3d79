/* Which abandoned migration cannot wait: by its record, at every step. */
#include <string.h>

#include "base/str.h"
#include "migrate/steps.h"
#include "migrate/urgency.h"
#include "unit.h"

#define STANDS URGENCY_STANDS
#define SHORT URGENCY_SHORT
#define COPY URGENCY_COPY

/* A row each of the table of steps, of one process with mirrors. */
static const struct {
	const char *step;
	enum urgency begun, done, undoing;
} expected[] = {
	{"look", SHORT, SHORT, SHORT},
	{"guard", SHORT, SHORT, SHORT},
	{"create", SHORT, SHORT, SHORT},
	{"extra", SHORT, SHORT, SHORT},
	{"start", SHORT, SHORT, SHORT},
	{"clone", SHORT, SHORT, SHORT},
	{"accept", SHORT, SHORT, SHORT},
	{"hold", SHORT, SHORT, SHORT},
	{"keys", SHORT, SHORT, SHORT},
	{"probe", SHORT, SHORT, SHORT},
	{"tunnel", SHORT, SHORT, SHORT},
	{"serve", SHORT, SHORT, SHORT},
	{"grow", SHORT, SHORT, SHORT},
	{"export", SHORT, SHORT, SHORT},
	{"expect", SHORT, SHORT, SHORT},
	{"settings", SHORT, SHORT, SHORT},
	{"target", SHORT, SHORT, SHORT},
	{"mirror", COPY, COPY, SHORT},
	{"copy", COPY, COPY, SHORT},
	{"rejoin", COPY, COPY, SHORT},
	{"sync", COPY, COPY, SHORT},
	{"stop", STANDS, STANDS, STANDS},
	{"part", STANDS, STANDS, STANDS},
	{"listen", COPY, COPY, SHORT},
	{"ram", STANDS, STANDS, STANDS},
	{"detach", STANDS, STANDS, STANDS},
	{"switchover", STANDS, STANDS, STANDS},
	{"unserve", STANDS, STANDS, STANDS},
	{"free", STANDS, STANDS, STANDS},
	{"run", STANDS, SHORT, STANDS},
	{"release", SHORT, SHORT, SHORT},
	{"tidy", SHORT, SHORT, SHORT},
	{"end", SHORT, SHORT, SHORT},
};

static enum urgency of(const char *step, enum record_state state, struct record like)
{
	_autofree_ char *name = str_dup(step);

	like.step = name;
	like.state = state;
	return urgency_of(&like);
}

START_TEST(each_step_has_its_urgency)
{
	ck_assert_uint_eq(steps_count, COUNT_OF(expected));
	for (size_t i = 0; i < steps_count; i++) {
		const char *step = steps[i].name;

		ck_assert_str_eq(step, expected[i].step);
		ck_assert_msg(
			of(step, RECORD_BEGUN, (struct record){0}) == expected[i].begun &&
				of(step, RECORD_DONE, (struct record){0}) == expected[i].done &&
				of(step, RECORD_UNDOING, (struct record){0}) == expected[i].undoing,
			"%s", step);
	}
}
END_TEST

/* With a source that has no pause-before-switchover, while the destination is told to listen. */
START_TEST(a_guest_that_was_halted_stands)
{
	ck_assert_int_eq(of("listen", RECORD_BEGUN, (struct record){.halted = true}), STANDS);
	ck_assert_int_eq(of("listen", RECORD_UNDOING, (struct record){.halted = true}), STANDS);
}
END_TEST

START_TEST(what_ended_with_its_vmferry_is_not_copied_on)
{
	char ssh[] = "ssh", psk[] = "psk";

	ck_assert_int_eq(of("copy", RECORD_BEGUN, (struct record){.clone = true}), SHORT);
	ck_assert_int_eq(of("copy", RECORD_BEGUN, (struct record){.encrypt = ssh}), SHORT);
	ck_assert_int_eq(of("copy", RECORD_BEGUN, (struct record){.encrypt = psk}), COPY);
}
END_TEST

START_TEST(a_stream_of_disks_may_take_long)
{
	ck_assert_int_eq(of("ram", RECORD_BEGUN, (struct record){.in_stream = true}),
			 URGENCY_STREAM);
	ck_assert_int_eq(of("ram", RECORD_DONE, (struct record){.in_stream = true}), STANDS);
	ck_assert_int_eq(of("ram", RECORD_UNDOING, (struct record){.in_stream = true}), STANDS);
}
END_TEST

START_TEST(steps_of_another_version_wait_for_nobody)
{
	ck_assert_int_eq(of("fly", RECORD_BEGUN, (struct record){0}), SHORT);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		each_step_has_its_urgency,
		a_guest_that_was_halted_stands,
		what_ended_with_its_vmferry_is_not_copied_on,
		a_stream_of_disks_may_take_long,
		steps_of_another_version_wait_for_nobody,
	};

	return unit_run("urgency", tests, COUNT_OF(tests));
}
