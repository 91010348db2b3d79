/* The five phases by hand between two fake QEMUs, each phase a migration of its own with
 * nothing but the cookie of the one before: a good run, and one for every command that can be
 * refused or whose answer can be lost. The fakes watch that never both run the guest.
 */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "fake_move.h"
#include "unit.h"

static struct fake_move f;
static struct cookie cookies[PHASE_CONFIRM + 1]; /* by the phase that gave them */
static struct problems left_behind;
static struct err err;
static bool gave;

static struct fake_qemu *side_of(enum phase phase)
{
	return phase == PHASE_PREPARE || phase == PHASE_FINISH ? &f.dst : &f.src;
}

static void note_left_behind(const struct migration *m)
{
	for (size_t i = 0; i < m->left_behind.count; i++)
		problems_add(&left_behind, "%s", m->left_behind.list[i]);
}

/* What came out is read as the next process would read it: as text. */
static void keep(enum phase phase, struct cookie *out)
{
	_autofree_ char *text = cookie_write(out, &err);

	ck_assert_msg(text != NULL, "%s", err.text);
	cookie_deinit(&cookies[phase]);
	ck_assert_ok(cookie_read(&cookies[phase], text, strlen(text), &err), &err);
	cookie_deinit(out);
}

static int run(enum phase phase)
{
	struct options opt = f.opt;
	struct migration *m;
	struct cookie out;
	struct err local = {0};
	int ret;

	opt.data_address = "127.0.0.1";
	if (side_of(phase) == &f.dst)
		opt.source = NULL;
	else
		opt.dst.socket = NULL;
	m = migration_new(f.loop, &opt, &f.report);
	ret = migration_phase(m, phase, phase ? &cookies[phase - 1] : NULL, &out, &gave, &local);
	if (gave)
		keep(phase, &out);
	if (ret < 0 && m->problems.count)
		err_wrap(&local, "%s", m->problems.list[0]);
	note_left_behind(m);
	migration_free(m);
	err = local;
	return ret;
}

static void begin(void)
{
	fake_move_begin(&f);
	memset(&left_behind, 0, sizeof(left_behind));
}

static void end(void)
{
	for (int i = 0; i <= PHASE_CONFIRM; i++)
		cookie_deinit(&cookies[i]);
	problems_deinit(&left_behind);
	fake_move_end(&f);
}

static void run_to(enum phase last)
{
	for (enum phase phase = PHASE_BEGIN; phase <= last; phase++) {
		int ret = run(phase);

		ck_assert_msg(ret == 0, "%s: %s", phase_name(phase), err.text);
		ck_assert(gave == (phase != PHASE_CONFIRM));
	}
}

START_TEST(a_guest_is_moved)
{
	begin();
	run_to(PHASE_PERFORM);
	ck_assert(!fake_qemu_running(&f.src) && !fake_qemu_running(&f.dst));
	ck_assert_int_eq(cookies[PHASE_PERFORM].nbd_port, -1);
	ck_assert_ok(run(PHASE_FINISH), &err);
	ck_assert(fake_qemu_running(&f.dst) && !f.src.gone);
	ck_assert_ok(run(PHASE_CONFIRM), &err);
	ck_assert(fake_qemu_running(&f.dst) && f.src.gone);
	ck_assert_ptr_null(fake_qemu_changed(&f.dst));
	ck_assert_uint_eq(left_behind.count, 0);
	end();
}
END_TEST

START_TEST(begin_changes_nothing)
{
	begin();
	run_to(PHASE_BEGIN);
	ck_assert_ptr_null(fake_qemu_changed(&f.src));
	ck_assert_uint_eq(fake_count(f.dst.fake, NULL), 0);
	end();
}
END_TEST

/* After a failure somewhere every later phase is run all the same, as the manual says. */
static void go_on(enum phase phase)
{
	for (; phase <= PHASE_CONFIRM && gave; phase++)
		run(phase);
}

static void judge(const char *what, bool failed)
{
	bool src = fake_qemu_running(&f.src), dst = fake_qemu_running(&f.dst);

	ck_assert_msg(!(src && dst), "%s: both run", what);
	if (!failed) {
		ck_assert_msg(dst && f.src.gone, "%s: not moved", what);
		return;
	}
	/* Where nobody runs it, or something stays, it is said what to do. */
	if (!src && !dst)
		ck_assert_msg(left_behind.count || err.kind == ERR_HUMAN || err.kind == ERR_REFUSED,
			      "%s: nobody runs, untold: %s", what, err.text);
	if (!src || dst)
		return;
	ck_assert_msg(!fake_qemu_changed(&f.src) || left_behind.count, "%s: on the source %s", what,
		      fake_qemu_changed(&f.src));
	ck_assert_msg(f.dst.gone || !fake_qemu_changed(&f.dst) || left_behind.count,
		      "%s: on the destination %s", what, fake_qemu_changed(&f.dst));
}

static size_t count_commands(enum phase phase)
{
	size_t before;

	begin();
	if (phase)
		run_to(phase - 1);
	before = fake_count(side_of(phase)->fake, NULL);
	ck_assert_ok(run(phase), &err);
	before = fake_count(side_of(phase)->fake, NULL) - before;
	end();
	return before;
}

static void break_each(enum phase phase, enum fake_fault fault)
{
	size_t count = count_commands(phase);

	ck_assert_uint_gt(count, 1);
	for (size_t n = 0; n < count; n++) {
		_autofree_ char *what =
			str_printf("%s, command %zu, fault %d", phase_name(phase), n, fault);
		struct fake *fake;
		int ret;

		begin();
		if (phase)
			run_to(phase - 1);
		fake = side_of(phase)->fake;
		fake_break(fake, n, fault);
		ret = run(phase);
		ck_assert_msg(fake_broke(fake), "%s: no fault", what);
		if (ret == 0 || gave)
			go_on(phase + 1);
		judge(what, ret < 0);
		end();
	}
}

START_TEST(each_command_refused_in_prepare_is_undone)
{
	break_each(PHASE_PREPARE, FAKE_REFUSES);
}
END_TEST

START_TEST(each_command_refused_in_perform_is_undone)
{
	break_each(PHASE_PERFORM, FAKE_REFUSES);
}
END_TEST

START_TEST(each_command_refused_in_finish_is_taken_back)
{
	break_each(PHASE_FINISH, FAKE_REFUSES);
}
END_TEST

START_TEST(each_connection_lost_in_finish_leaves_one_guest)
{
	break_each(PHASE_FINISH, FAKE_HANGS_UP);
}
END_TEST

START_TEST(each_command_refused_in_confirm_leaves_one_guest)
{
	break_each(PHASE_CONFIRM, FAKE_REFUSES);
}
END_TEST

START_TEST(a_finish_that_failed_is_never_run_again)
{
	begin();
	run_to(PHASE_PERFORM);
	fake_error(f.dst.fake, "cont", "Failed to get \"write\" lock");
	ck_assert_int_eq(run(PHASE_FINISH), -1);
	ck_assert(gave);
	ck_assert_int_eq(run(PHASE_CONFIRM), -1);
	ck_assert(fake_qemu_running(&f.src));
	ck_assert_int_eq(run(PHASE_FINISH), -1);
	ck_assert_has(err.text, "a finish has failed here before");
	ck_assert(!fake_qemu_running(&f.dst));
	end();
}
END_TEST

/* What was set in the source's QEMU is put back by confirm, a process that has not set it. */
START_TEST(confirm_puts_the_settings_back)
{
	begin();
	run_to(PHASE_PERFORM);
	ck_assert_ptr_nonnull(fake_qemu_changed(&f.src));
	fake_error(f.dst.fake, "cont", "injected");
	ck_assert_int_eq(run(PHASE_FINISH), -1);
	ck_assert_int_eq(run(PHASE_CONFIRM), -1);
	ck_assert(fake_qemu_running(&f.src));
	ck_assert_msg(!fake_qemu_changed(&f.src), "%s", fake_qemu_changed(&f.src));
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_guest_is_moved,
		begin_changes_nothing,
		each_command_refused_in_prepare_is_undone,
		each_command_refused_in_perform_is_undone,
		each_command_refused_in_finish_is_taken_back,
		each_connection_lost_in_finish_leaves_one_guest,
		each_command_refused_in_confirm_leaves_one_guest,
		a_finish_that_failed_is_never_run_again,
		confirm_puts_the_settings_back,
	};

	return unit_run("phases", tests, COUNT_OF(tests));
}
