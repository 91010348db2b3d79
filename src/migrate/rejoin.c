#include "migrate/rejoin.h"

#include <stdio.h>

#include "migrate/link.h"
#include "migrate/nbd.h"
#include "migrate/tunnel.h"

/* RAM is sent when no more than this is left to be copied, of each disk. Where writes cannot be
 * made to go to both sides at once (before 8.2), what is left then is copied while the guest is
 * stopped. One that writes 20 MB/s leaves some 100 KiB. */
#define BACKLOG_BYTES (1u << 20)

/* A guest that writes more than the network takes is never caught up with: it is waited for this
 * long since that was last nearer. */
#define NO_NEARER_MS 5000

/* A connection stands before its TLS does: so often a mirror may be stopped on one that stands. */
#define VAIN_MAX 10

/* For a port that ought to be open. */
#define PROBE_MS 3000

void rejoin_begin(struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++) {
		m->disks.list[i].rejoined = false;
		m->disks.list[i].vain = 0;
		m->disks.list[i].done_bytes = UINT64_MAX;
	}
	m->link.least_left_ms = 0;
}

static uint64_t left_bytes(const struct qmp_job *job)
{
	return job->total_bytes - job->done_bytes;
}

static bool comes_no_nearer(struct migration *m, uint64_t left)
{
	int64_t now_ms = loop_now_ms();

	if (!m->link.least_left_ms || left < m->link.least_left_bytes) {
		m->link.least_left_bytes = left;
		m->link.least_left_ms = now_ms;
	}
	return now_ms - m->link.least_left_ms > NO_NEARER_MS;
}

/* Of the connections to a QEMU that was started again nothing is known; of what goes through an SSH
 * session, that they have come back since it has. */
static bool in_vain(struct migration *m, struct disk *disk)
{
	bool stands = tunnel_is_used(m) ? tunnel_stands(m) && !link_is_lost(m) : link_stands(m);

	disk->vain = m->link.look && stands ? disk->vain + 1 : 0;
	return disk->vain > VAIN_MAX;
}

static int resume(struct migration *m, struct disk *disk, const struct qmp_job *job,
		  struct err *err)
{
	if (in_vain(m, disk))
		return mirror_failed(m, disk,
				     job->error[0] ? job->error : "an error has stopped it", err);
	disk->rejoined = true;
	return qmp_job_resume(m->src.qmp, disk->job, err);
}

/* What is done is done on a connection that stands. */
static void see_progress(struct disk *disk, const struct qmp_job *job)
{
	if (job->done_bytes > disk->done_bytes)
		disk->rejoined = true;
	disk->done_bytes = job->done_bytes;
	disk->idle = left_bytes(job) == 0;
}

static int look(struct migration *m, struct disk *disk, struct rejoined *now, struct err *err)
{
	const char *id = disk->job;
	struct qmp_job job;

	disk->stopped = false; /* an event that comes from here on is of now */
	if (qmp_jobs_query(m->src.qmp, &id, &job, 1, err) < 0)
		return -1;
	see_progress(disk, &job);
	now->done_bytes += job.done_bytes;
	now->all = now->all && job.found && disk->rejoined && !job.stopped;
	now->caught_up = now->caught_up && left_bytes(&job) <= BACKLOG_BYTES;
	now->left_bytes += left_bytes(&job);
	if (!job.stopped)
		return 0;
	now->any_stopped = true;
	return resume(m, disk, &job, err);
}

static bool waits_idly(const struct disk *disk)
{
	return !disk->rejoined && disk->idle;
}

/* Those that have something to copy learn of the loss by it. Not while a connection is silent: to
 * put a node on another one QEMU waits for what is under way, with the guest standing still. And a
 * QEMU that is to connect to a port which is shut stands still: so that is tried first. */
static int plug_idle(struct migration *m, struct err *err)
{
	struct err why;
	int ret = 0;

	if (!m->retrying && !link_lacks_some(m))
		return 0;
	if (nbd_reach(m, PROBE_MS, &why) < 0) {
		snprintf(m->link.why, sizeof(m->link.why), "%.255s", why.text);
		*err = why;
		return why.kind == ERR_INTERRUPTED ? -1 : 0;
	}
	m->link.plugging = true;
	for (size_t i = 0; ret == 0 && i < m->disks.count; i++)
		if (waits_idly(&m->disks.list[i]))
			ret = nbd_plug_anew(m, &m->disks.list[i], &m->disks.list[i].rejoined, err);
	m->link.plugging = false;
	return ret;
}

static bool any_waits_idly(const struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (waits_idly(&m->disks.list[i]))
			return true;
	return false;
}

int rejoin_mirrors(struct migration *m, struct rejoined *now, struct err *err)
{
	*now = (struct rejoined){.all = true, .caught_up = true};
	for (size_t i = 0; i < m->disks.count; i++)
		if (look(m, &m->disks.list[i], now, err) < 0)
			return -1;
	now->all = now->all && !disks_any_stopped(&m->disks);
	if (now->any_stopped || link_is_lost(m))
		m->link.least_left_ms = 0; /* nothing can come nearer */
	now->caught_up = now->caught_up || comes_no_nearer(m, now->left_bytes);
	return !now->any_stopped && any_waits_idly(m) ? plug_idle(m, err) : 0;
}
