/* The table is the migration: read it from top to bottom. The order is that of a safe
 * storage migration (measured on QEMU 5.2, 7.2, 10.0 and 11.1):
 *
 *  - The mirrors run until the CPUs have stopped and the disks are still active
 *    (pre-switchover), the only moment at which they can be ended with both sides equal.
 *  - The NBD server is gone before the destination may run: a writable export and a
 *    running guest on one image would be two writers.
 *  - migrate-incoming comes last before `migrate`: a QEMU can wait only once, so until
 *    then a failure leaves a destination that was there before as it was.
 *  - Where the source's QEMU knows no pre-switchover (before 2.11), the guest is stopped and
 *    the mirrors are ended before `migrate`.
 *  - Where no NBD server can be, the disks go in the stream of `ram` (the old way), and the
 *    rows of the mirrors do not apply.
 *  - Nothing runs over there before `run`, the point of no return: destination QEMUs are
 *    made to wait for `cont` (step `hold`).
 */
#include "migrate/steps.h"

#include <string.h>

#include "base/str.h"
#include "migrate/keys.h"
#include "migrate/look.h"
#include "migrate/step_functions.h"
#include "migrate/tunnel.h"

/* One of these two stands in every row; an empty reason does not compile. */
#define UNDO(function) .undo = (function)
#define NO_UNDO(why) .no_undo = &(why)[0 * sizeof(char[sizeof(why) > 1 ? 1 : -1])]

#define DEADLINE(field) offsetof(struct timeouts, field)

#define STEP(row_name, row_phase, row_applies, row_run, row_undo, row_deadline, row_waits,         \
	     row_cancel, row_again, words)                                                         \
	{                                                                                          \
		.name = (row_name), .phase = (row_phase), .applies = (row_applies),                \
		.run = (row_run), row_undo, .deadline = DEADLINE(row_deadline),                    \
		.waits = (row_waits), .cancellable = (row_cancel), .again = (row_again),           \
		.meaning = (words),                                                                \
	}

static bool with_start(const struct migration *m)
{
	return m->opt->start || m->record.starts;
}

static bool with_clone(const struct migration *m)
{
	return m->opt->clone;
}

/* A later process has none: it is gone, or was told to let go. */
static bool with_guard(const struct migration *m)
{
	return m->opt->clone && !m->resumed;
}

static bool with_files_to_create(const struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].fate == DISK_CREATE)
			return true;
	return false;
}

static bool with_extras(const struct migration *m)
{
	return m->extras.count;
}

static bool with_mirrors(const struct migration *m)
{
	return m->disks.count && !m->in_stream;
}

static bool with_smaller_disks(const struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].dst_node &&
		    m->disks.list[i].dst_size < m->disks.list[i].src->virtual_size)
			return true;
	return false;
}

static bool with_retry(const struct migration *m)
{
	return m->retrying;
}

static bool with_later_sync(const struct migration *m)
{
	return with_mirrors(m) && qmp_can(&m->src.caps, QMP_BLOCK_JOB_CHANGE);
}

static bool with_mirrors_and_pause(const struct migration *m)
{
	return with_mirrors(m) && !stops_first(m);
}

static bool with_encryption(const struct migration *m)
{
	return keys_are_used(m);
}

static bool with_keep_source(const struct migration *m)
{
	return m->opt->keep_source;
}

static bool without_keep_source(const struct migration *m)
{
	return !m->opt->keep_source;
}

/* In one process the destination's one chance to wait is kept until the disks are copied, and
 * the NBD server ends while the rest of the guest is sent; by hand each phase does all of its
 * own side at once. */
static bool in_one_go(const struct migration *m)
{
	return !m->by_hand;
}

static bool with_two_ports(const struct migration *m)
{
	return in_one_go(m) && with_mirrors(m) && !tunnel_is_used(m);
}

static bool by_hand(const struct migration *m)
{
	return m->by_hand;
}

static bool by_hand_with_mirrors(const struct migration *m)
{
	return m->by_hand && with_mirrors(m);
}

#define ALWAYS NULL
#define WAITS true
#define ACTS false
#define CANCELLABLE true
#define FINAL false
#define AGAIN true
#define ONCE false

/* clang-format off */
const struct step steps[] = {
	STEP("look", PHASE_BEGIN, ALWAYS, step_look, NO_UNDO("nothing is changed"),
	     connect_ms, WAITS, CANCELLABLE, ONCE,
	     "look at both sides, choose the disks, object"),

	STEP("guard", PHASE_PREPARE, with_clone, step_guard, UNDO(undo_guard),
	     answer_ms, ACTS, CANCELLABLE, ONCE,
	     "have a shell over there that takes all back if we die"),
	STEP("create", PHASE_PREPARE, with_files_to_create, step_create, UNDO(undo_create),
	     answer_ms, ACTS, CANCELLABLE, ONCE,
	     "create the files that the destination lacks"),
	STEP("extra", PHASE_PREPARE, with_extras, step_extra, UNDO(undo_create),
	     answer_ms, WAITS, CANCELLABLE, ONCE,
	     "make files for RAM; copy what does not move and is not over there (--copy-extra)"),
	STEP("start", PHASE_PREPARE, with_start, step_start, UNDO(undo_start),
	     start_ms, WAITS, CANCELLABLE, AGAIN,
	     "start the waiting QEMU over there (--start)"),
	STEP("clone", PHASE_PREPARE, with_clone, step_clone, UNDO(undo_start),
	     start_ms, WAITS, CANCELLABLE, AGAIN,
	     "start a waiting QEMU over there, like the source's (--clone)"),
	STEP("accept", PHASE_PREPARE, starts_destination, step_accept, NO_UNDO("nothing is changed"),
	     answer_ms, WAITS, CANCELLABLE, AGAIN,
	     "look at the QEMU that was started"),
	STEP("hold", PHASE_PREPARE, ALWAYS, step_hold, UNDO(undo_hold),
	     answer_ms, ACTS, CANCELLABLE, AGAIN,
	     "let the destination wait for us before it runs the guest"),
	STEP("keys", PHASE_PREPARE, with_encryption, step_keys, UNDO(undo_keys),
	     answer_ms, ACTS, CANCELLABLE, AGAIN,
	     "give both QEMUs what they encrypt disks and memory with"),
	STEP("probe", PHASE_PREPARE, with_two_ports, step_probe, UNDO(undo_serve),
	     answer_ms, ACTS, CANCELLABLE, ONCE,
	     "see that the ports of disks and RAM can be reached"),
	STEP("tunnel", PHASE_PREPARE, tunnel_is_used, step_tunnel, UNDO(undo_tunnel),
	     connect_ms, WAITS, CANCELLABLE, ONCE,
	     "open the SSH session that disks and memory go through"),
	STEP("serve", PHASE_PREPARE, with_mirrors, step_serve, UNDO(undo_serve),
	     answer_ms, ACTS, CANCELLABLE, AGAIN,
	     "start the NBD server on the destination"),
	STEP("grow", PHASE_PREPARE, with_smaller_disks, step_grow,
	     NO_UNDO("the file is the user's; what it held is replaced anyway, and larger does no harm"),
	     answer_ms, ACTS, CANCELLABLE, ONCE,
	     "grow the disks that are smaller over there"),
	STEP("export", PHASE_PREPARE, with_mirrors, step_export, NO_UNDO("the exports go with the NBD server"),
	     answer_ms, ACTS, CANCELLABLE, AGAIN,
	     "export each disk, writable"),

	STEP("expect", PHASE_PREPARE, by_hand, step_listen,
	     NO_UNDO("that QEMU is ended by the undo of hold"),
	     answer_ms, ACTS, CANCELLABLE, ONCE,
	     "let the destination listen for RAM"),

	STEP("settings", PHASE_PERFORM, ALWAYS, step_settings, UNDO(undo_settings),
	     answer_ms, ACTS, CANCELLABLE, ONCE,
	     "set the source's migration capabilities and limits"),
	STEP("target", PHASE_PERFORM, with_mirrors, step_target, UNDO(undo_target),
	     connect_ms, ACTS, CANCELLABLE, ONCE,
	     "connect the source to each export"),
	STEP("mirror", PHASE_PERFORM, with_mirrors, step_mirror, UNDO(undo_mirror),
	     answer_ms, ACTS, CANCELLABLE, ONCE,
	     "start to mirror every disk"),
	STEP("copy", PHASE_PERFORM, with_mirrors, step_copy, NO_UNDO("the mirrors are ended by the undo of their start"),
	     stall_ms, WAITS, CANCELLABLE, ONCE,
	     "wait for the steady state of all disks"),
	STEP("rejoin", PHASE_PERFORM, with_retry, step_rejoin, NO_UNDO("the mirrors are ended by the undo of their start"),
	     stall_ms, WAITS, CANCELLABLE, AGAIN,
	     "let the mirrors go on into the QEMU that was started again (--retries)"),
	STEP("sync", PHASE_PERFORM, with_later_sync, step_sync, NO_UNDO("the mirrors are ended by the undo of their start"),
	     stall_ms, WAITS, CANCELLABLE, ONCE,
	     "let every further write go to both sides at once"),
	STEP("stop", PHASE_PERFORM, stops_first, step_stop, UNDO(undo_stop),
	     switchover_ms, ACTS, CANCELLABLE, ONCE,
	     "stop the guest: its QEMU has no pause-before-switchover"),
	STEP("part", PHASE_PERFORM, stops_first, step_detach, NO_UNDO("the source's disks were complete all the time"),
	     switchover_ms, ACTS, CANCELLABLE, ONCE,
	     "end the mirrors: both sides of every disk are equal now"),
	STEP("listen", PHASE_PERFORM, in_one_go, step_listen,
	     NO_UNDO("that QEMU is ended by the undo of hold, after the mirrors into it"),
	     answer_ms, ACTS, CANCELLABLE, ONCE,
	     "let the destination listen for RAM"),
	STEP("ram", PHASE_PERFORM, ALWAYS, step_ram, UNDO(undo_ram),
	     stall_ms, WAITS, CANCELLABLE, ONCE,
	     "send RAM, until the guest's CPUs are stopped for the switchover"),
	STEP("detach", PHASE_PERFORM, with_mirrors_and_pause, step_detach, NO_UNDO("the source's disks were complete all the time"),
	     switchover_ms, ACTS, CANCELLABLE, ONCE,
	     "end the mirrors: both sides of every disk are equal now"),
	STEP("switchover", PHASE_PERFORM, ALWAYS, step_switchover,
	     NO_UNDO("the undo of ram lets the guest run here again, that of hold ends the QEMU over there"),
	     switchover_ms, ACTS, CANCELLABLE, ONCE,
	     "send the rest of the guest's state; the NBD server ends meanwhile"),

	STEP("unserve", PHASE_FINISH, by_hand_with_mirrors, step_unserve, NO_UNDO("nobody needs the NBD server any more"),
	     switchover_ms, ACTS, CANCELLABLE, ONCE,
	     "stop the NBD server"),
	STEP("free", PHASE_FINISH, with_guard, step_free, NO_UNDO("the guard can still be told to end all, by its own undo"),
	     switchover_ms, ACTS, CANCELLABLE, ONCE,
	     "let the QEMU over there live whatever becomes of us"),
	STEP("run", PHASE_FINISH, ALWAYS, step_run, NO_UNDO("the point of no return: the guest may run over there"),
	     switchover_ms, ACTS, FINAL, ONCE,
	     "run the guest on the destination"),
	STEP("release", PHASE_FINISH, ALWAYS, step_release, NO_UNDO("it takes back what hold has set"),
	     answer_ms, ACTS, FINAL, ONCE,
	     "take back the settings on the destination"),
	STEP("tidy", PHASE_CONFIRM, with_keep_source, step_tidy, NO_UNDO("it takes back what the other steps have set"),
	     answer_ms, ACTS, FINAL, ONCE,
	     "take back what was set and made in the source's QEMU, which is kept"),
	STEP("end", PHASE_CONFIRM, without_keep_source, step_end, NO_UNDO("the guest runs on the destination"),
	     answer_ms, ACTS, FINAL, ONCE,
	     "end the source's QEMU"),
};
/* clang-format on */

const size_t steps_count = sizeof(steps) / sizeof(steps[0]);
_Static_assert(sizeof(steps) / sizeof(steps[0]) <= STEPS_MAX, "struct migration marks each step");

size_t step_row(const char *name)
{
	size_t i = 0;

	while (i + 1 < steps_count && !str_eq(steps[i].name, name))
		i++;
	return i;
}

const char *phase_name(enum phase phase)
{
	static const char *const names[] = {"begin", "prepare", "perform", "finish", "confirm"};

	return names[phase];
}

bool step_applies(const struct step *step, const struct migration *m)
{
	return !step->applies || step->applies(m);
}
