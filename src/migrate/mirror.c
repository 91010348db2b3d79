/* The mirrors: started all at once, waited for, and ended in the one window in which they
 * can be ended with both sides equal. */
#include <stdlib.h>

#include "base/str.h"
#include "migrate/link.h"
#include "migrate/nbd.h"
#include "migrate/progress.h"
#include "migrate/step_functions.h"

/* The user's bandwidth, shared among the mirrors that still copy. */
static uint64_t share_of(const struct migration *m)
{
	size_t copying = 0;

	for (size_t i = 0; i < m->disks.count; i++)
		if (!m->disks.list[i].ready)
			copying++;
	return copying ? m->opt->bandwidth / copying : m->opt->bandwidth;
}

/* A mirror's buf-size is also how much it has in flight, so it is the knob between the copy
 * and the guest, whose writes queue behind it. Measured: 2 GiB, one disk, a guest that
 * writes 20 MB/s one request at a time; seconds until READY and the share of its rate that
 * the guest kept, medians of 4; dd took 2.8 s:
 *
 *           4 MiB       16 MiB      64 MiB      256 MiB
 *   7.2     4.4, 96 %   3.7, 93 %   3.5, 43 %   2.9, 15 %     (with tcp_quickack)
 *   10.0    3.3, 100 %  3.3, 97 %   3.1, 47 %   3.1, 14 %
 *
 * Four disks, 1 GiB in all, 7.2: 4 MiB each 1.5 s, 50 %; 1 MiB each 1.5 s, 101 %. So it is
 * the sum that counts; less than 1 MiB QEMU does not copy at a time.
 *
 * Against dd from one file to another, of 1 MiB at a time, O_DIRECT, without holes or flush
 * (a flush adds 0.05). 7.2, 852 MiB, with tcp_quickack, all in turn on two cores that others
 * kept busy (load 10 to 17); the disk free, or held at a rate each way by blkio.throttle;
 * seconds until READY as a ratio to dd's, medians of 3 to 6 (bench.py has both references):
 *
 *                              4 MiB   16 MiB   64 MiB   256 MiB   qemu-img convert -W -m 16
 *   200 MiB/s, guest idle      1.01    1.01     1.03     1.02      1.04
 *   400 MiB/s, guest idle      1.11    1.22     1.35     1.26      1.34
 *   300 MiB/s, guest writing   1.45    1.21     1.12     1.18      1.18
 *   free, guest idle           -       1.43     1.61     1.84      1.78
 *
 * And where nobody else wanted the cores (load 0.5 to 3; bench.py --runs 3 --data 1024, not
 * encrypted): 256 MiB 1.02 with the guest idle, 0.89 with it writing, of which it kept 61 %;
 * 4 MiB 1.08 and 1.11, 93 %; pauses of 43 and 62 ms against 16 and 21.
 *
 * So where the disk is the limit the copy is dd's equal; else the cores are: per GiB the two
 * QEMUs take 1.6 s of CPU, whatever the buffers, and TCP 0.35 s. There the largest buffers are
 * no help. Neither a granularity of 1 MiB nor a send buffer of 4 MiB made a difference. On
 * cores that were idle 256 MiB were the fastest (above), so --fast has them. But the pause
 * grows with them, it seems because QEMU frees them before it tells of the mirror's end: an
 * idle guest's was 185 ms (76 to 247) with 256 MiB, 87 (86 to 101) with 64, 31 (22 to 43) with
 * 16 and 49 (34 to 99) with 4, in turn, 3 each, load 14. */
#define BUFFERS_MIB 4
#define FAST_BUFFERS_MIB 256
#define LEAST_MIB 1

static uint64_t buffer_size(const struct migration *m)
{
	uint64_t mib = (m->opt->fast ? FAST_BUFFERS_MIB : BUFFERS_MIB) / m->disks.count;

	return (mib < LEAST_MIB ? LEAST_MIB : mib) << 20;
}

/* To start a mirror QEMU waits, with the guest standing still, until all requests of the
 * mirrors before it have ended: 68 ms for the fourth of four on 10.0. So none gets going
 * before all have been started. */
#define WAITING_SPEED 4096

/* With --incremental (sync=top) QEMU copies what the source's top image itself holds; over an
 * export of an overlay with an identical backing image both sides are equal then. Seen on 5.2,
 * 7.2, 10.0 and 11.1, through the raw node over NBD, the target a qcow2 of compat 1.1 or 0.10:
 *
 *  - What the source has zeroed or discarded over data of its backing image, before the mirror
 *    or under it, in background or write-blocking mode, is zeroes over there, too: a cluster
 *    marked as zeroes (in compat 0.10 zeroes that are written), never a hole that the backing
 *    image shows through, for all discard=unmap. So it is where the destination's drive has
 *    discard=ignore.
 *  - Less than a cluster of the target: it fills the rest from its own backing image.
 *  - drive-mirror and blockdev-mirror do the same. `migrate` inc, too (7.2): it sends each MiB
 *    of which the top image holds anything.
 *
 * And without it (sync=full, `migrate` blk), onto an overlay whose backing image holds something
 * else: all of the source's data and holes are there afterwards, and nothing of that image. The
 * mirror writes zeroes over the whole target first (7.2), or copies holes as zeroes. */
static int start(struct migration *m, struct disk *disk, struct err *err)
{
	struct qmp_mirror mirror = {
		.job = disk->job,
		.node = disk->src->node,
		.target_node = uses_drive_mirror(m) ? NULL : disk->target,
		.file_node = disk->target,
		.speed = WAITING_SPEED,
		.buf_size = buffer_size(m),
		.top = m->incremental,
	};

	target_of(m, disk, &mirror.target);
	disk->has_job = true; /* also when its answer is lost */
	if (qmp_mirror_start(m->src.qmp, &m->src.caps, &mirror, err) == 0)
		return 0;
	if (err->kind == ERR_QMP)
		disk->has_job = false; /* one of that name is not ours */
	return err_wrap(err, "disk %s", disk->name);
}

int step_mirror(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	for (size_t i = 0; i < m->disks.count; i++)
		if (start(m, &m->disks.list[i], err) < 0)
			return -1;
	for (size_t i = 0; i < m->disks.count; i++)
		if (qmp_job_set_speed(m->src.qmp, m->disks.list[i].job, share_of(m), err) < 0)
			return -1;
	return 0;
}

static bool all_ready(struct migration *m)
{
	if (!link_is_well(m)) /* with the guest's latest writes yet to be sent */
		return false;
	for (size_t i = 0; i < m->disks.count; i++)
		if (!m->disks.list[i].ready)
			return false;
	return true;
}

/* A sample, and the share of a mirror that is through given to the others. */
static int sample_copy(struct migration *m, uint64_t *figure, struct err *err)
{
	uint64_t share = share_of(m);

	if (progress_sample_disks(m, figure, err) < 0 || link_mend(m, err) < 0)
		return -1;
	for (size_t i = 0; share && i < m->disks.count; i++)
		if (!m->disks.list[i].ready &&
		    qmp_job_set_speed(m->src.qmp, m->disks.list[i].job, share, err) < 0)
			return -1;
	return 0;
}

static int await_ready(struct migration *m, int64_t timeout_ms, struct err *err)
{
	return progress_await(m, "the steady state of the disks", timeout_ms, all_ready,
			      sample_copy, err);
}

int step_copy(struct migration *m, int64_t timeout_ms, struct err *err)
{
	uint64_t figure;

	link_watch(m);
	if (await_ready(m, timeout_ms, err) < 0)
		return -1;
	if (m->link.returns && (nbd_await_port(m, m->opt->timeouts.connect_ms, err) < 0 ||
				await_ready(m, timeout_ms, err) < 0))
		return -1;
	link_settle(m);
	return progress_sample_disks(m, &figure, err);
}

/* No event tells that a mirror is in sync: look this often. */
#define SYNC_LOOK_MS 10

static int all_in_sync(struct migration *m, bool *in_sync, struct err *err)
{
	*in_sync = true;
	for (size_t i = 0; i < m->disks.count; i++) {
		const char *id = m->disks.list[i].job;
		struct qmp_job job;

		if (qmp_jobs_query(m->src.qmp, &id, &job, 1, err) < 0)
			return -1;
		*in_sync = *in_sync && job.in_sync;
	}
	return 0;
}

/* From here on a write of the guest is on both sides before it is acknowledged: whatever
 * the guest does while RAM is sent, nothing of it has to be copied while it is stopped. */
int step_sync(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int64_t until_ms = loop_now_ms() + timeout_ms;
	bool in_sync = false;

	for (size_t i = 0; i < m->disks.count; i++)
		if (qmp_job_write_blocking(m->src.qmp, m->disks.list[i].job, err) < 0)
			return -1;
	while (!in_sync) {
		if (loop_now_ms() >= until_ms)
			return err_set(err, ERR_TIMEOUT, "timed out waiting for mirrors in sync");
		if (all_in_sync(m, &in_sync, err) < 0)
			return -1;
		if (!in_sync && migration_rest(m, SYNC_LOOK_MS, err) < 0)
			return -1;
	}
	return 0;
}

static bool all_ended(struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (!m->disks.list[i].ended)
			return false;
	return true;
}

/* A QEMU that has connected by itself does so again when it loses the connection, and an NBD server
 * that is ended in the middle of a handshake can take its QEMU with it: 5.2 to 5.2, through TLS,
 * the destination has died of SIGSEGV in each of 3 moves, with the guest over there. So what
 * could connect goes first. */
static int forget_targets(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (undo_mirror(m, timeout_ms, err) < 0)
		return -1;
	return undo_target(m, timeout_ms, err);
}

/* The guest is stopped: nothing but the mirrors' ends is waited for here. */
int step_detach(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct qmp_request **requests = mem_zalloc(m->disks.count + 1, sizeof(*requests));
	int ret = 0;

	m->detaching = true;
	for (size_t i = 0; i < m->disks.count; i++)
		if (!m->disks.list[i].ended) /* by an earlier process */
			requests[i] = qmp_job_cancel_send(m->src.qmp, m->disks.list[i].job, false);
	for (size_t i = 0; i < m->disks.count; i++)
		if (ret < 0 || !requests[i])
			qmp_forget(requests[i]);
		else
			ret = qmp_finish(requests[i], err);
	free(requests);
	if (ret < 0 || migration_await(m, "the end of the mirrors", timeout_ms, all_ended, err) < 0)
		return -1;
	return source_connects(m) ? forget_targets(m, timeout_ms, err) : 0;
}

static bool all_concluded(struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].has_job && !m->disks.list[i].concluded)
			return false;
	return true;
}

/* What QEMU has of our jobs is the truth, whatever events we have seen. */
static int refresh_jobs(struct migration *m, struct err *err)
{
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];
		const char *id = disk->job;
		struct qmp_job job;

		if (!disk->has_job)
			continue;
		if (qmp_jobs_query(m->src.qmp, &id, &job, 1, err) < 0)
			return -1;
		disk->has_job = job.found;
		/* Its event may have come right behind this answer, and been taken in before. */
		disk->concluded = disk->concluded || job.concluded;
		disk->stopped = job.stopped;
	}
	return 0;
}

/* A job that has ended by itself meanwhile refuses, which is as good. All are told in one go: from
 * 10.0 on the end of one drains the disks of the others, too, with the guest standing still. */
static int cancel_all(struct migration *m, bool force, struct err *err)
{
	struct qmp_request **requests = mem_zalloc(m->disks.count + 1, sizeof(*requests));
	int ret = 0;

	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (disk->has_job && !disk->concluded)
			requests[i] = qmp_job_cancel_send(m->src.qmp, disk->job, force);
	}
	for (size_t i = 0; i < m->disks.count; i++)
		if (ret < 0 || !requests[i])
			qmp_forget(requests[i]);
		else if (qmp_finish(requests[i], err) < 0 && err->kind != ERR_QMP)
			ret = -1;
	free(requests);
	return ret;
}

#define CANCEL_PATIENCE_MS 3000

/* A mirror whose connection has died silently waits for an answer that never comes, also
 * when it is cancelled by force (seen on 7.2): its connection has to be shut down. */
static int await_concluded(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (side_await(&m->src, "the end of the mirrors", CANCEL_PATIENCE_MS, all_concluded, err) ==
	    0)
		return 0;
	if (err->kind != ERR_TIMEOUT)
		return -1;
	link_hang_up(m);
	return side_await(&m->src, "the end of the mirrors", timeout_ms, all_concluded, err);
}

static int dismiss(struct migration *m, struct disk *disk, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	if (disk->has_job && qmp_job_dismiss(m->src.qmp, disk->job, err) < 0)
		return -1;
	disk->has_job = false;
	return 0;
}

static int cancel_by_force(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (cancel_all(m, true, err) < 0)
		return -1;
	return await_concluded(m, timeout_ms, err);
}

static bool concluded_or_stopped(struct migration *m)
{
	return all_concluded(m) || disks_any_stopped(&m->disks);
}

/* As at the switchover, with both sides equal. One that was stopped by an error does not. */
static int cancel_in_step(struct migration *m, struct err *err)
{
	if (!disks_any_stopped(&m->disks) &&
	    (cancel_all(m, false, err) < 0 ||
	     side_await(&m->src, "the end of the mirrors", CANCEL_PATIENCE_MS, concluded_or_stopped,
			err) < 0))
		return -1;
	return all_concluded(m) ? 0 : err_set(err, ERR_FAILED, "an error has stopped a mirror");
}

/* On record before it is: whoever comes after us lets it run on. Without a record it is stopped all
 * the same: that we die in this moment is less likely than that QEMU does without. */
static int halt_guest(struct migration *m, struct err *err)
{
	int ret;

	m->halted = true;
	if (migration_record(m, err) < 0)
		migration_note(m, "%s", err->text);
	m->src.resumed = false; /* whoever lets it run from here on */
	ret = qmp_stop(m->src.qmp, err);
	qmp_forget(m->stop_status); /* it was us */
	m->stop_status = NULL;
	return ret;
}

static bool src_runs(struct migration *m)
{
	return m->src.resumed;
}

static int see_guest_run(struct migration *m, struct err *err)
{
	struct qmp_status status;

	if (qmp_status_query(m->src.qmp, &status, err) < 0)
		return -1;
	return status.running ? 0 : err_set(err, ERR_FAILED, "it is \"%s\"", status.state);
}

/* A QEMU that is slow to stop has `cont` in its queue, and would forget it with our end: so it is
 * waited for. One whose guest runs already tells of no RESUME. */
static int let_guest_go_on(struct migration *m, struct err *err)
{
	struct err other;
	int ret;

	if (!m->halted)
		return 0;
	ret = qmp_finish(qmp_cont_send(m->src.qmp), err);
	if (ret < 0 && err->kind == ERR_TIMEOUT)
		ret = side_await(&m->src, "the guest to run on", m->opt->timeouts.stall_ms,
				 src_runs, err);
	if (ret < 0 || see_guest_run(m, err) < 0)
		return err_wrap(err, "the guest may stand still on the source (`cont` on %s)",
				m->opt->source);
	m->halted = false;
	if (migration_record(m, &other) < 0)
		migration_note(m, "%s", other.text);
	return 0;
}

/* A mirror that makes the guest's writes on both sides itself must not be ended while it makes
 * one, unless it ends in step: mirror_run() frees what the write still uses, and only then waits
 * for it (8.2 to 11.1). With the destination's QEMU killed just before `ram`, the source's 11.1.3
 * died of that in 4 of 70 moves ("corrupted double-linked list"), with its guest. So it does not
 * end by itself (on-target-error=stop), and when it cannot end in step, the guest is stopped for
 * that moment. Its connections are shut down first: QEMU would wait for what is under way there,
 * to stop the guest. */
static int end_write_blocking(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct err other = {0};
	int halted, ret;

	if (m->undone_for != ERR_TIMEOUT && cancel_in_step(m, err) == 0)
		return 0;
	link_hang_up(m);
	halted = halt_guest(m, &other);
	ret = cancel_by_force(m, timeout_ms, err);
	if (ret == 0 && halted < 0)
		*err = other;
	return ret < 0 ? ret : halted;
}

/* An earlier process may have come further than what is on record, when it has gone back to the
 * copy. */
static bool may_write_both(const struct migration *m)
{
	return m->begun[step_row("sync")] ||
	       (m->resumed && qmp_can(&m->src.caps, QMP_BLOCK_JOB_CHANGE));
}

/* Whether a mirror makes writes of the guest now. */
static int makes_writes(struct migration *m, bool *makes, struct err *err)
{
	struct qmp_status status;

	*makes = false;
	if (!may_write_both(m) || all_concluded(m))
		return 0;
	if (qmp_status_query(m->src.qmp, &status, err) < 0)
		return -1;
	*makes = status.running;
	return 0;
}

static int end_mirrors(struct migration *m, int64_t timeout_ms, struct err *err)
{
	bool makes;

	if (m->undone_for == ERR_TIMEOUT)
		link_hang_up(m); /* it may be what QEMU waits for */
	if (refresh_jobs(m, err) < 0 || makes_writes(m, &makes, err) < 0)
		return -1;
	return makes ? end_write_blocking(m, timeout_ms, err) : cancel_by_force(m, timeout_ms, err);
}

/* Also after a successful move with --keep-source: then all are concluded already. */
int undo_mirror(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct err other;
	int ret;

	m->detaching = true;
	ret = end_mirrors(m, timeout_ms, err);
	if (let_guest_go_on(m, &other) < 0) {
		if (ret < 0)
			problems_add(&m->left_behind, "%s", err->text);
		*err = other;
		return -1;
	}
	return ret < 0 ? -1 : undo_each_disk(m, dismiss, timeout_ms, err);
}
