#include "migrate/rejoin.h"

#include "migrate/link.h"
#include "migrate/nbd.h"
#include "migrate/tunnel.h"

/* RAM is sent when no more than this is left to be copied, of each disk. Where writes cannot be
 * made to go to both sides at once (before 8.2), what is left then is copied while the guest is
 * stopped. One that writes 20 MB/s leaves some 100 KiB. */
#define BACKLOG_BYTES (1u << 20)

/* A connection stands before its TLS does: so often a mirror may be stopped on one that stands. */
#define VAIN_MAX 10

/* For a port that ought to be open. */
#define PROBE_MS 1000

void rejoin_begin(struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++) {
		m->disks.list[i].rejoined = false;
		m->disks.list[i].vain = 0;
	}
}

static bool has_caught_up(const struct qmp_job *job)
{
	return job->total_bytes - job->done_bytes <= BACKLOG_BYTES;
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

static int look(struct migration *m, struct disk *disk, struct rejoined *now, bool *any_stopped,
		struct err *err)
{
	const char *id = disk->job;
	struct qmp_job job;

	disk->stopped = false; /* an event that comes from here on is of now */
	if (qmp_jobs_query(m->src.qmp, &id, &job, 1, err) < 0)
		return -1;
	now->done_bytes += job.done_bytes;
	now->all = now->all && job.found && disk->rejoined && !job.stopped;
	now->caught_up = now->caught_up && has_caught_up(&job);
	if (!job.stopped)
		return 0;
	*any_stopped = true;
	return resume(m, disk, &job, err);
}

/* Not while a connection is silent: to put a node on another one QEMU waits for what is under way,
 * with the guest standing still. And a QEMU that is to connect to a port which is shut stands
 * still: so that is tried first. */
static int plug_idle(struct migration *m, struct err *err)
{
	struct err why;

	if (!m->retrying && !link_lacks_some(m))
		return 0;
	if (nbd_reach(m, PROBE_MS, &why) < 0) {
		*err = why;
		return why.kind == ERR_INTERRUPTED ? -1 : 0;
	}
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (!disk->rejoined && nbd_plug_anew(m, disk, &disk->rejoined, err) < 0)
			return -1;
	}
	return 0;
}

static bool all_rejoined(const struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (!m->disks.list[i].rejoined)
			return false;
	return true;
}

int rejoin_mirrors(struct migration *m, struct rejoined *now, struct err *err)
{
	bool any_stopped = false;

	*now = (struct rejoined){.all = true, .caught_up = true};
	for (size_t i = 0; i < m->disks.count; i++)
		if (look(m, &m->disks.list[i], now, &any_stopped, err) < 0)
			return -1;
	now->all = now->all && !disks_any_stopped(&m->disks);
	return !any_stopped && !all_rejoined(m) ? plug_idle(m, err) : 0;
}
