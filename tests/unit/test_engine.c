/* Whole moves between two fake QEMUs: a good one, and then one for every command that can
 * fail, be lost, or be the last of its QEMU. What is looked at is the state of both QEMUs
 * afterwards; the fakes themselves watch that never both run the guest.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "fake_move.h"
#include "unit.h"

static struct fake_move f;

/* --- what must hold --- */

/* The place of the first such command among all, or SIZE_MAX. */
static size_t place(const struct fake *fake, const char *command)
{
	for (size_t i = 0; i < fake_calls_count; i++)
		if (fake_calls[i].fake == fake && str_eq(fake_calls[i].command, command))
			return i;
	return SIZE_MAX;
}

static size_t last_place(const struct fake *fake, const char *command)
{
	size_t i = fake_calls_count;

	while (i > 0 &&
	       !(fake_calls[i - 1].fake == fake && str_eq(fake_calls[i - 1].command, command)))
		i--;
	return i ? i - 1 : SIZE_MAX;
}

static void ck_cont_came_last(void)
{
	size_t cont = place(f.dst.fake, "cont");

	if (cont == SIZE_MAX)
		return;
	ck_assert_str_eq(f.src.migration, "completed");
	if (json_object_get(f.src.capabilities, "pause-before-switchover"))
		ck_assert_uint_gt(cont, place(f.src.fake, "migrate-continue"));
	ck_assert_uint_gt(cont, place(f.src.fake, "migrate"));
	if (fake_count(f.dst.fake, "nbd-server-start"))
		ck_assert_uint_gt(cont, last_place(f.dst.fake, "nbd-server-stop"));
}

static void ck_clean(const struct fake_qemu *q, const char *what)
{
	ck_assert_msg(!fake_qemu_changed(q), "%s: on the %s %s", what, fake_name(q->fake),
		      fake_qemu_changed(q));
}

static void ck_moved(const char *what)
{
	ck_assert_msg(f.ret == 0, "%s: %s", what, f.err.text);
	ck_assert_msg(fake_qemu_running(&f.dst), "%s: the destination does not run", what);
	ck_assert_msg(!fake_qemu_running(&f.src), "%s: the source runs", what);
	ck_cont_came_last();
	ck_assert_uint_eq(f.m->left_behind.count, 0);
}

/* The guest runs on the source, and nothing is left on either side. */
static void ck_undone(const char *what)
{
	ck_assert_msg(f.m->left_behind.count == 0, "%s: %s", what,
		      f.m->left_behind.count ? f.m->left_behind.list[0] : "");
	ck_assert_msg(fake_qemu_running(&f.src), "%s: the source does not run", what);
	ck_clean(&f.src, what);
	ck_clean(&f.dst, what);
	ck_assert_msg(f.dst.gone || str_eq(f.dst.state, "inmigrate"), "%s: %s", what, f.dst.state);
	ck_assert_msg(!str_eq(f.src.migration, "active") &&
			      !str_eq(f.src.migration, "pre-switchover"),
		      "%s: the migration is under way", what);
	if (f.starts) {
		ck_assert_msg(f.dst.gone, "%s: the QEMU that was started is there", what);
		for (int i = 0; i < 2; i++)
			ck_assert_msg(access(f.files[i], F_OK) < 0, "%s: %s stays", what,
				      f.files[i]);
	}
}

/* The error's text begins with the step that failed; what fails between two says what it was. */
static void ck_names_step(const char *what)
{
	_autofree_ char *begin = str_printf("%s: ", f.failed);

	ck_assert_msg(f.failed[0]
			      ? str_starts(f.err.text, begin)
			      : strstr(f.err.text, "the connection to its QEMU was lost") != NULL,
		      "%s: \"%s\" does not name %s", what, f.err.text, f.failed);
}

/* --- good runs --- */

START_TEST(a_guest_is_moved)
{
	fake_move_begin(&f);
	fake_move_run(&f);
	ck_moved("good");
	ck_assert(f.src.gone);
	ck_clean(&f.dst, "good");
	ck_assert_str_eq(
		f.steps,
		"look hold keys probe serve export settings target mirror copy sync listen "
		"ram detach switchover run release end ");
	ck_assert_uint_eq(fake_count(f.src.fake, "blockdev-mirror"), 2);
	ck_assert_uint_eq(fake_count(f.src.fake, "drive-mirror"), 0);
	ck_assert_uint_eq(fake_count(f.src.fake, "cont"), 0);
	ck_assert_uint_eq(fake_count(f.dst.fake, "cont"), 1);
	ck_assert_uint_eq(fake_count(f.dst.fake, "quit"), 0);
	ck_assert_uint_eq(fake_count(f.src.fake, "migrate_cancel"), 0);
	fake_move_end(&f);
}
END_TEST

START_TEST(the_mirrors_end_while_the_cpus_are_stopped)
{
	json_t *args;

	fake_move_begin(&f);
	fake_move_run(&f);
	ck_moved("order");
	ck_assert_uint_gt(place(f.src.fake, "block-job-cancel"), place(f.src.fake, "migrate"));
	ck_assert_uint_lt(place(f.src.fake, "block-job-cancel"),
			  place(f.src.fake, "migrate-continue"));
	ck_assert_uint_gt(last_place(f.dst.fake, "nbd-server-stop"),
			  place(f.src.fake, "block-job-cancel"));
	ck_assert_uint_gt(place(f.dst.fake, "migrate-incoming"),
			  place(f.src.fake, "blockdev-mirror"));
	args = fake_last(f.src.fake, "block-job-cancel");
	ck_assert(json_is_false(json_object_get(args, "force")));
	fake_move_end(&f);
}
END_TEST

START_TEST(a_paused_guest_stays_paused)
{
	fake_move_begin(&f);
	f.src.state = "paused";
	fake_move_run(&f);
	ck_assert_ok(f.ret, &f.err);
	ck_assert_uint_eq(fake_count(f.dst.fake, "cont"), 0);
	ck_assert_str_eq(f.dst.state, "paused");
	ck_assert(f.src.gone);
	ck_assert_has(f.notes, "stays paused");
	fake_move_end(&f);
}
END_TEST

START_TEST(a_paused_guest_is_not_handed_over_without_its_disks)
{
	fake_move_begin(&f);
	f.src.state = "paused";
	fake_error(f.dst.fake, "blockdev-set-active", "Failed to get \"write\" lock");
	fake_move_run(&f);
	ck_assert_int_eq(f.ret, -1);
	ck_assert_has(f.err.text, "lock");
	ck_assert(f.dst.gone && !f.src.gone);
	ck_clean(&f.src, "locked");
	fake_move_end(&f);
}
END_TEST

/* As QEMU before 2.11. */
static void begin_stop_first(void)
{
	fake_move_begin(&f);
	fake_qemu_cannot(&f.src, "pause-before-switchover");
	fake_qemu_cannot(&f.src, "migrate-continue");
}

START_TEST(without_pause_the_guest_is_stopped_first)
{
	begin_stop_first();
	fake_move_run(&f);
	ck_moved("stop first");
	ck_assert_str_eq(
		f.steps,
		"look hold keys probe serve export settings target mirror copy sync stop part "
		"listen ram switchover run release end ");
	ck_assert_has(f.notes, "stopped while all of its RAM is sent");
	ck_assert_uint_lt(place(f.src.fake, "stop"), place(f.src.fake, "block-job-cancel"));
	ck_assert_uint_lt(place(f.src.fake, "block-job-cancel"), place(f.src.fake, "migrate"));
	fake_move_end(&f);
}
END_TEST

START_TEST(without_pause_a_paused_guest_stays_paused)
{
	begin_stop_first();
	f.src.state = "paused";
	fake_move_run(&f);
	ck_assert_ok(f.ret, &f.err);
	ck_assert_uint_eq(fake_count(f.dst.fake, "cont"), 0);
	fake_move_end(&f);
}
END_TEST

START_TEST(without_pause_a_failure_lets_the_guest_run_again)
{
	static const char *const commands[] = {"block-job-cancel", "migrate"};

	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		begin_stop_first();
		fake_error(f.src.fake, commands[i], "injected");
		fake_move_run(&f);
		ck_assert_int_eq(f.ret, -1);
		ck_assert(fake_qemu_running(&f.src));
		fake_move_end(&f);
	}
	begin_stop_first();
	fake_error(f.dst.fake, "migrate-incoming", "injected");
	fake_move_run(&f);
	ck_assert_int_eq(f.ret, -1);
	ck_undone("stopped");
	fake_move_end(&f);
}
END_TEST

START_TEST(a_destination_started_without_s_is_held)
{
	fake_move_begin(&f);
	f.dst.hold = false;
	fake_move_run(&f);
	ck_moved("without -S");
	fake_move_end(&f);
}
END_TEST

START_TEST(the_source_may_be_kept)
{
	fake_move_begin(&f);
	f.opt.keep_source = true;
	fake_move_run(&f);
	ck_moved("kept");
	ck_assert(!f.src.gone);
	ck_assert_str_eq(f.src.state, "postmigrate");
	ck_clean(&f.src, "kept");
	ck_assert_has(f.notes, "never `cont` it");
	fake_move_end(&f);
}
END_TEST

START_TEST(a_qemu_may_be_started)
{
	fake_move_begin_start(&f);
	fake_move_run(&f);
	ck_moved("start");
	ck_assert(str_starts(f.steps, "look create start accept hold keys probe serve"));
	ck_assert_int_eq(access(f.files[0], F_OK), 0);
	fake_move_end(&f);
	unlink(f.files[0]);
	unlink(f.files[1]);
}
END_TEST

START_TEST(drive_mirror_does_where_blockdev_mirror_is_not)
{
	fake_move_begin(&f);
	fake_qemu_cannot(&f.src, "blockdev-mirror");
	fake_move_run(&f);
	ck_moved("drive-mirror");
	ck_assert_uint_eq(fake_count(f.src.fake, "drive-mirror"), 2);
	ck_assert_uint_eq(fake_count(f.src.fake, "blockdev-add"), 0);
	fake_move_end(&f);
}
END_TEST

START_TEST(a_smaller_disk_is_grown_before_it_is_exported)
{
	fake_move_begin(&f);
	f.dst.drives[1].size = 1 << 20;
	f.dst.drives[1].type = "virtio-blk-device";
	fake_move_run(&f);
	ck_moved("grown");
	ck_assert_int_eq(f.dst.drives[1].size, 2 << 20);
	ck_assert_has(f.steps, "serve grow export");
	fake_move_end(&f);
}
END_TEST

START_TEST(a_larger_disk_is_limited)
{
	json_t *args;

	fake_move_begin(&f);
	f.dst.drives[1].size = 5 << 20;
	fake_move_run(&f);
	ck_moved("larger");
	args = fake_last(f.src.fake, "blockdev-add"); /* the second disk's */
	ck_assert_str_eq(json_string_value(json_object_get(args, "driver")), "raw");
	ck_assert_int_eq(json_integer_value(json_object_get(args, "size")), 2 << 20);
	fake_move_end(&f);
}
END_TEST

START_TEST(a_guest_without_disks_needs_no_nbd)
{
	fake_move_begin(&f);
	f.src.drives[0].device = f.dst.drives[0].device = NULL;
	fake_move_run(&f);
	ck_moved("no disks");
	ck_assert_uint_eq(fake_count(f.dst.fake, "nbd-server-start"), 0);
	ck_assert_uint_eq(fake_count(f.dst.fake, "nbd-server-stop"), 0);
	fake_move_end(&f);
}
END_TEST

START_TEST(what_was_on_stays_on)
{
	fake_move_begin(&f);
	json_object_set_new(f.dst.capabilities, "events", json_true());
	json_object_set_new(json_object_get(f.dst.at_start, "capabilities"), "events", json_true());
	fake_move_run(&f);
	ck_moved("events on");
	ck_clean(&f.dst, "events on");
	fake_move_end(&f);
}
END_TEST

/* --- one fault --- */

static void begin(bool start)
{
	if (start)
		fake_move_begin_start(&f);
	else
		fake_move_begin(&f);
}

static void end(void)
{
	fake_move_end(&f);
	unlink(f.files[0]);
	unlink(f.files[1]);
}

static struct fake_qemu *side(bool dst)
{
	return dst ? &f.dst : &f.src;
}

/* How many commands a side is sent in a good run. */
static size_t count_commands(bool start, bool dst)
{
	size_t n;

	begin(start);
	fake_move_run(&f);
	ck_moved("good");
	n = fake_count(side(dst)->fake, NULL);
	end();
	return n;
}

/* "hold: stop (3 of destination)": the fault's place, for messages. */
static char *words(bool dst, size_t n)
{
	const char *command = "?";
	size_t seen = 0;

	for (size_t i = 0; i < fake_calls_count; i++)
		if (fake_calls[i].fake == side(dst)->fake && seen++ == n)
			command = fake_calls[i].command;
	return str_printf("%s, command %zu of the %s, in %s", command, n,
			  fake_name(side(dst)->fake), f.failed);
}

static void judge_refusal(const char *what)
{
	if (f.ret == 0) {
		ck_moved(what);
		return;
	}
	ck_assert_msg(f.err.kind != ERR_NONE, "%s", what);
	if (f.err.kind == ERR_HUMAN) { /* the source would not quit */
		ck_assert_msg(str_starts(f.err.text, "end: "), "%s: %s", what, f.err.text);
		ck_assert(fake_qemu_running(&f.dst) && !fake_qemu_running(&f.src));
		return;
	}
	ck_undone(what);
	ck_cont_came_last();
	if (f.err.kind == ERR_REFUSED) {
		ck_assert_str_eq(f.failed, "look");
		ck_assert_listed(&f.m->problems, "injected");
	} else {
		ck_names_step(what);
		ck_assert_has(f.err.text, "injected");
	}
}

static void refuse_each(bool start, bool dst)
{
	size_t count = count_commands(start, dst), moved = 0;

	for (size_t n = 0; n < count; n++) {
		_autofree_ char *what = NULL;

		begin(start);
		fake_break(side(dst)->fake, n, FAKE_REFUSES);
		fake_move_run(&f);
		ck_assert(fake_broke(side(dst)->fake));
		what = words(dst, n);
		judge_refusal(what);
		moved += f.ret == 0;
		end();
	}
	/* Only where it does not matter: qom-get of a drive, the three questions about the
	 * machine, the four about its devices, the two ends of the NBD server of `probe`, which the
	 * fake takes for done, what `tidy` and `release` take back. */
	ck_assert_uint_le(moved, 18);
}

START_TEST(each_command_refused_by_the_source_is_undone)
{
	refuse_each(false, false);
}
END_TEST

START_TEST(each_command_refused_by_the_destination_is_undone)
{
	refuse_each(false, true);
}
END_TEST

START_TEST(each_command_refused_by_a_started_destination_is_undone)
{
	refuse_each(true, true);
}
END_TEST

START_TEST(each_command_refused_by_the_source_ends_a_started_destination)
{
	refuse_each(true, false);
}
END_TEST

/* The destination lives on and can be connected to again: all is undone, or done. */
static void lose_destination(bool start, enum fake_fault fault)
{
	size_t count = count_commands(start, true);

	for (size_t n = 0; n < count; n++) {
		_autofree_ char *what = NULL;

		begin(start);
		fake_break(f.dst.fake, n, fault);
		fake_move_run(&f);
		what = words(true, n);
		if (f.ret == 0) {
			ck_moved(what);
		} else {
			ck_assert_msg(f.err.kind != ERR_HUMAN, "%s: %s", what, f.err.text);
			ck_undone(what);
			ck_names_step(what);
		}
		end();
	}
}

START_TEST(each_connection_lost_to_the_destination_is_undone)
{
	lose_destination(false, FAKE_HANGS_UP);
	lose_destination(true, FAKE_HANGS_UP);
}
END_TEST

START_TEST(each_answer_lost_from_the_destination_is_undone)
{
	lose_destination(false, FAKE_LOSES_ANSWER);
	lose_destination(true, FAKE_LOSES_ANSWER);
}
END_TEST

static void die(void *arg)
{
	fake_qemu_die(arg);
}

START_TEST(a_destination_that_dies_gives_the_guest_back)
{
	size_t count = count_commands(false, true);
	bool sent_cont = false;

	for (size_t n = 0; n < count; n++) {
		_autofree_ char *what = NULL;

		begin(false);
		fake_on_fault(f.dst.fake, die, &f.dst);
		fake_break(f.dst.fake, n, FAKE_CALLS);
		fake_move_run(&f);
		what = words(true, n);
		sent_cont = fake_count(f.dst.fake, "cont") > 0;
		if (sent_cont) { /* it may have run: nobody may run it here by himself */
			ck_assert_msg(f.ret == 0 || f.err.kind == ERR_HUMAN, "%s: %s", what,
				      f.err.text);
			ck_assert(!fake_qemu_running(&f.src));
			ck_assert_uint_eq(fake_count(f.src.fake, "cont"), 0);
		} else {
			ck_assert_int_eq(f.ret, -1);
			ck_undone(what);
		}
		end();
	}
	ck_assert(sent_cont);
}
END_TEST

static void (*told)(void *arg, const struct step *step, enum step_state state);

static void refuse_in_switchover(void *arg, const struct step *step, enum step_state state)
{
	told(arg, step, state);
	if (state == STEP_BEGUN && str_eq(step->name, "switchover"))
		fake_error(f.dst.fake, "nbd-server-stop", "injected");
}

/* The guest stands still: what can be far away and slow comes after it runs again. */
START_TEST(the_guest_runs_here_again_before_the_destination_is_ended)
{
	fake_move_begin(&f);
	told = f.report.step;
	f.report.step = refuse_in_switchover;
	fake_move_run(&f);
	ck_assert_int_eq(f.ret, -1);
	ck_assert(fake_qemu_running(&f.src));
	ck_assert_uint_lt(place(f.src.fake, "cont"), place(f.dst.fake, "quit"));
	fake_move_end(&f);
}
END_TEST

START_TEST(a_destination_that_has_all_is_not_ended_while_nobody_runs_here)
{
	fake_move_begin(&f);
	fake_error(f.dst.fake, "cont", "injected");
	fake_error(f.src.fake, "cont", "Failed to get \"write\" lock");
	fake_move_run(&f);
	ck_assert_int_eq(f.ret, -1);
	ck_assert_uint_eq(fake_count(f.dst.fake, "quit"), 0);
	ck_assert_listed(&f.m->left_behind, "holds the guest");
	ck_assert_listed(&f.m->seen, "source: its guest is \"postmigrate\"");
	ck_assert_listed(&f.m->seen, "destination: its guest is \"paused\"");
	ck_assert_listed(&f.m->left_behind, "lock");
	fake_move_end(&f);
}
END_TEST

/* A command that the source's QEMU refused has made nothing that is ours to take back. */
START_TEST(a_job_of_somebody_else_stays)
{
	fake_move_begin(&f);
	json_object_set_new(f.src.jobs, "vmferry-1", json_string("concluded"));
	fake_reply(f.src.fake, "query-block-jobs", "[]");
	fake_move_run(&f);
	ck_assert_int_eq(f.ret, -1);
	ck_assert_has(f.err.text, "already in use");
	ck_assert(json_object_get(f.src.jobs, "vmferry-1") != NULL);
	fake_move_end(&f);
}
END_TEST

/* The source cannot be connected to again: what is left there is told. */
static void lose_source(enum fake_fault fault)
{
	size_t count = count_commands(false, false);

	for (size_t n = 0; n < count; n++) {
		_autofree_ char *what = NULL;

		begin(false);
		fake_break(f.src.fake, n, fault);
		fake_move_run(&f);
		what = words(false, n);
		if (f.ret < 0 && f.err.kind != ERR_HUMAN) {
			ck_assert_msg(!fake_qemu_running(&f.dst), "%s: the destination runs", what);
			if (!str_eq(f.dst.migration, "completed"))
				ck_clean(&f.dst, what); /* else it may be the only copy: it stays */
			else
				ck_assert_msg(f.m->left_behind.count, "%s: untold", what);
			if (!fake_qemu_running(&f.src) || fake_qemu_changed(&f.src))
				ck_assert_msg(f.m->left_behind.count, "%s: left behind, untold",
					      what);
		} else {
			ck_assert_msg(fake_qemu_running(&f.dst), "%s: nobody runs", what);
		}
		end();
	}
}

START_TEST(a_connection_lost_to_the_source_is_told)
{
	lose_source(FAKE_HANGS_UP);
	lose_source(FAKE_LOSES_ANSWER);
}
END_TEST

/* --- two faults: what holds is that it is told, and that never both run --- */

static void two_faults(bool dst, enum fake_fault first, enum fake_fault second)
{
	size_t count = count_commands(false, dst);

	for (size_t n = 0; n < count; n++)
		for (size_t k = 0; k < 4; k++) {
			_autofree_ char *what = NULL;

			begin(false);
			fake_break(side(dst)->fake, n, first);
			fake_break_again(side(dst)->fake, k, second);
			fake_move_run(&f);
			what = words(dst, n);
			ck_cont_came_last();
			if (f.ret < 0 && f.err.kind != ERR_HUMAN && !f.m->left_behind.count)
				ck_undone(what);
			if (f.ret == 0)
				ck_moved(what);
			end();
		}
}

START_TEST(an_undo_that_is_refused_is_told)
{
	two_faults(false, FAKE_REFUSES, FAKE_REFUSES);
	two_faults(true, FAKE_REFUSES, FAKE_REFUSES);
}
END_TEST

START_TEST(an_undo_that_loses_its_connection_is_told)
{
	two_faults(true, FAKE_LOSES_ANSWER, FAKE_HANGS_UP);
	two_faults(true, FAKE_HANGS_UP, FAKE_LOSES_ANSWER);
	two_faults(false, FAKE_REFUSES, FAKE_HANGS_UP);
}
END_TEST

/* --- other faults --- */

static void fail_mirror(struct fake *fake, json_t *args, void *arg)
{
	const char *id = json_string_value(json_object_get(args, "job-id"));

	(void)arg;
	json_object_set_new(f.src.jobs, id, json_string("concluded"));
	fake_answer(fake, NULL);
	fake_event(fake, "BLOCK_JOB_COMPLETED",
		   json_pack("{s:s, s:s}", "device", id, "error", "No space left on device"));
	fake_event(fake, "JOB_STATUS_CHANGE",
		   json_pack("{s:s, s:s}", "id", id, "status", "concluded"));
}

START_TEST(a_mirror_that_fails_is_told_in_qemus_words)
{
	fake_move_begin(&f);
	fake_call_fn(f.src.fake, "blockdev-mirror", fail_mirror, NULL);
	fake_move_run(&f);
	ck_assert_int_eq(f.ret, -1);
	ck_assert_has(f.err.text,
		      "disk virtio0: its mirror to destination failed: No space left on device");
	ck_undone("mirror");
	fake_move_end(&f);
}
END_TEST

static void stop_mirror(struct fake *fake, json_t *args, void *arg)
{
	(void)args;
	(void)arg;
	json_object_set_new(f.src.jobs, "vmferry-0", json_string("standby"));
	fake_event(f.src.fake, "BLOCK_JOB_ERROR",
		   json_pack("{s:s, s:s, s:s}", "device", "vmferry-0", "operation", "write",
			     "action", "stop"));
	fake_refuse(fake, "no");
}

START_TEST(a_stopped_mirror_ends_while_the_guest_is_stopped)
{
	fake_move_begin(&f);
	fake_call_fn(f.dst.fake, "migrate-incoming", stop_mirror, NULL);
	fake_move_run(&f);
	ck_assert_int_eq(f.ret, -1);
	ck_undone("stopped by an error");
	ck_assert_uint_lt(place(f.src.fake, "stop"), place(f.src.fake, "block-job-cancel"));
	ck_assert_uint_gt(place(f.src.fake, "cont"), last_place(f.src.fake, "block-job-cancel"));
	fake_move_end(&f);
}
END_TEST

START_TEST(mirrors_that_are_well_end_in_step_with_a_guest_that_runs)
{
	fake_move_begin(&f);
	fake_error(f.dst.fake, "migrate-incoming", "no");
	fake_move_run(&f);
	ck_assert_int_eq(f.ret, -1);
	ck_undone("in step");
	ck_assert_uint_eq(fake_count(f.src.fake, "stop"), 0);
	ck_assert_uint_eq(fake_count(f.src.fake, "block-job-cancel"), 2);
	fake_move_end(&f);
}
END_TEST

static void somebody_cancels(struct fake *fake, json_t *args, void *arg)
{
	(void)args;
	(void)arg;
	fake_answer(fake, NULL);
	json_object_set_new(f.src.jobs, "vmferry-0", json_string("concluded"));
	json_object_set_new(f.src.nodes, "vmferry-target-0", json_string(""));
	fake_event(fake, "BLOCK_JOB_COMPLETED", json_pack("{s:s}", "device", "vmferry-0"));
	fake_event(fake, "JOB_STATUS_CHANGE",
		   json_pack("{s:s, s:s}", "id", "vmferry-0", "status", "concluded"));
}

START_TEST(a_mirror_somebody_ended_is_no_mirror)
{
	fake_move_begin(&f);
	fake_call_fn(f.src.fake, "migrate", somebody_cancels, NULL);
	fake_move_run(&f);
	ck_assert_int_eq(f.ret, -1);
	ck_assert_has(f.err.text,
		      "disk virtio0: its mirror to destination failed: somebody ended its job");
	ck_undone("cancelled");
	fake_move_end(&f);
}
END_TEST

START_TEST(ram_that_never_converges_is_a_stall)
{
	fake_move_begin(&f);
	f.src.pause_in_copy = true;
	f.opt.timeouts.stall_ms = 600;
	fake_move_run(&f);
	ck_assert_int_eq(f.ret, -1);
	ck_assert_int_eq(f.err.kind, ERR_TIMEOUT);
	ck_assert_has(f.err.text, "nothing has moved for 0.6 s while waiting for the guest's RAM");
	ck_undone("stall");
	ck_assert_has(f.notes, "it can wait only once");
	fake_move_end(&f);
}
END_TEST

START_TEST(a_destination_that_must_end_on_error_will_do)
{
	fake_move_begin(&f);
	f.dst.old = true;
	fake_move_run(&f);
	ck_moved("before 9.1");
	ck_assert(!f.dst.keep);
	fake_move_end(&f);

	fake_move_begin(&f);
	fake_move_run(&f);
	ck_moved("from 9.1 on");
	ck_assert(f.dst.keep);
	fake_move_end(&f);
}
END_TEST

START_TEST(ports_in_use_are_passed_over)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	fake_move_begin(&f);
	f.opt.port_low = ntohs(addr.sin_port);
	f.opt.port_high = f.opt.port_low + 50;
	fake_move_run(&f);
	ck_moved("ports");
	ck_assert_int_gt(f.m->listening.nbd_port, f.opt.port_low);
	ck_assert_int_ne(f.m->listening.nbd_port, f.m->listening.ram_port);
	fake_move_end(&f);

	/* One of two: the destination is as it was. */
	fake_move_begin(&f);
	f.opt.port_low = ntohs(addr.sin_port);
	f.opt.port_high = f.opt.port_low + 1;
	fake_move_run(&f);
	ck_assert_str_eq(f.failed, "probe");
	ck_assert_has(f.err.text, "disks and RAM need one each; name others with --ports LOW-HIGH");
	ck_undone("one port");
	ck_assert(!f.dst.gone);
	fake_move_end(&f);
	close(fd);
}
END_TEST

START_TEST(no_port_is_free)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fds[2];

	fake_move_begin(&f);
	for (int i = 0; i < 2; i++) {
		addr.sin_port = htons((uint16_t)(f.opt.port_low + i));
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(bind(fds[i], (struct sockaddr *)&addr, sizeof(addr)), 0);
		ck_assert_int_eq(listen(fds[i], 1), 0);
	}
	f.opt.port_high = f.opt.port_low + 1;
	fake_move_run(&f);
	ck_assert_str_eq(f.failed, "probe");
	ck_assert_has(f.err.text, "is free there; name others with --ports LOW-HIGH");
	ck_undone("no port");
	fake_move_end(&f);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

static int taken = -1;

static void take_second_port(void *arg, const struct step *step, enum step_state state)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				   .sin_port = htons((uint16_t)f.opt.port_high)};

	told(arg, step, state);
	if (state != STEP_BEGUN || !str_eq(step->name, "listen"))
		return;
	taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(taken, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(taken, 1), 0);
}

/* The QEMU that found none is of no more use. */
START_TEST(the_second_port_is_taken_meanwhile)
{
	fake_move_begin(&f);
	f.opt.port_high = f.opt.port_low + 1;
	told = f.report.step;
	f.report.step = take_second_port;
	fake_move_run(&f);
	ck_assert_has(f.err.text, "is free there for RAM; name others with --ports LOW-HIGH");
	ck_undone("no port for RAM");
	ck_assert_has(f.notes, "it can wait only once");
	fake_move_end(&f);
	close(taken);
}
END_TEST

START_TEST(an_nbd_server_that_is_not_ours_stays)
{
	fake_move_begin(&f);
	f.dst.nbd_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fake_move_run(&f);
	ck_assert_str_eq(f.failed, "probe");
	ck_assert_has(f.err.text, "has an NBD server already");
	ck_assert_int_ge(f.dst.nbd_fd, 0);
	ck_assert_uint_eq(fake_count(f.dst.fake, "nbd-server-stop"), 0);
	ck_assert(fake_qemu_running(&f.src));
	fake_move_end(&f);
}
END_TEST

START_TEST(a_source_that_has_not_read_quit_is_told_again)
{
	size_t count = count_commands(false, false);

	fake_move_begin(&f);
	fake_break(f.src.fake, count - 1, FAKE_HANGS_UP);
	fake_move_run(&f);
	ck_moved("quit lost");
	ck_assert(f.src.gone);
	ck_assert_uint_eq(fake_count(f.src.fake, "quit"), 2);
	fake_move_end(&f);
}
END_TEST

START_TEST(a_signal_at_any_step_is_undone_or_too_late)
{
	for (size_t i = 0; i < steps_count; i++) {
		bool start = str_eq(steps[i].name, "create") || str_eq(steps[i].name, "start") ||
			     str_eq(steps[i].name, "accept");

		begin(start);
		f.signal_at = steps[i].name;
		fake_move_run(&f);
		if (f.ret == 0) {
			ck_moved(steps[i].name);
			ck_assert_msg(steps[i].phase >= PHASE_FINISH ||
					      str_eq(steps[i].name, "switchover") ||
					      !strstr(f.steps, steps[i].name),
				      "%s", steps[i].name);
		} else {
			ck_assert_msg(f.err.kind == ERR_INTERRUPTED, "%s: %s", steps[i].name,
				      f.err.text);
			ck_undone(steps[i].name);
		}
		end();
	}
}
END_TEST

/* --- the table itself --- */

START_TEST(each_row_of_the_table_is_whole)
{
	enum phase last = PHASE_BEGIN;
	bool final = false;

	for (size_t i = 0; i < steps_count; i++) {
		const struct step *s = &steps[i];

		ck_assert_msg(s->name && *s->name && s->meaning && *s->meaning && s->run, "row %zu",
			      i);
		ck_assert_msg(!s->undo != !(s->no_undo && *s->no_undo),
			      "%s has both an undo and a reason for none, or neither", s->name);
		ck_assert_msg(s->phase >= last && s->phase <= PHASE_CONFIRM, "%s", s->name);
		ck_assert_msg(s->deadline < sizeof(struct timeouts), "%s", s->name);
		ck_assert_msg(!final || !s->cancellable, "%s comes after the point of no return",
			      s->name);
		for (size_t k = 0; k < i; k++)
			ck_assert_str_ne(s->name, steps[k].name);
		last = s->phase;
		final = !s->cancellable;
	}
	ck_assert(final);
	ck_assert_str_eq(phase_name(PHASE_BEGIN), "begin");
	ck_assert_str_eq(phase_name(PHASE_CONFIRM), "confirm");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_guest_is_moved,
		the_mirrors_end_while_the_cpus_are_stopped,
		a_paused_guest_stays_paused,
		a_paused_guest_is_not_handed_over_without_its_disks,
		without_pause_the_guest_is_stopped_first,
		without_pause_a_paused_guest_stays_paused,
		without_pause_a_failure_lets_the_guest_run_again,
		a_destination_started_without_s_is_held,
		the_source_may_be_kept,
		a_qemu_may_be_started,
		drive_mirror_does_where_blockdev_mirror_is_not,
		a_smaller_disk_is_grown_before_it_is_exported,
		a_larger_disk_is_limited,
		a_guest_without_disks_needs_no_nbd,
		what_was_on_stays_on,
		each_command_refused_by_the_source_is_undone,
		each_command_refused_by_the_destination_is_undone,
		each_command_refused_by_a_started_destination_is_undone,
		each_command_refused_by_the_source_ends_a_started_destination,
		each_connection_lost_to_the_destination_is_undone,
		each_answer_lost_from_the_destination_is_undone,
		a_destination_that_dies_gives_the_guest_back,
		the_guest_runs_here_again_before_the_destination_is_ended,
		a_destination_that_has_all_is_not_ended_while_nobody_runs_here,
		a_job_of_somebody_else_stays,
		a_connection_lost_to_the_source_is_told,
		an_undo_that_is_refused_is_told,
		an_undo_that_loses_its_connection_is_told,
		a_mirror_that_fails_is_told_in_qemus_words,
		a_stopped_mirror_ends_while_the_guest_is_stopped,
		mirrors_that_are_well_end_in_step_with_a_guest_that_runs,
		a_mirror_somebody_ended_is_no_mirror,
		ram_that_never_converges_is_a_stall,
		a_destination_that_must_end_on_error_will_do,
		ports_in_use_are_passed_over,
		no_port_is_free,
		the_second_port_is_taken_meanwhile,
		an_nbd_server_that_is_not_ours_stays,
		a_source_that_has_not_read_quit_is_told_again,
		a_signal_at_any_step_is_undone_or_too_late,
		each_row_of_the_table_is_whole,
	};

	return unit_run("engine", tests, COUNT_OF(tests));
}
