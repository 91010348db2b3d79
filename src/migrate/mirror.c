/* The mirrors: started all at once, waited for, and ended in the one window in which they
 * can be ended with both sides equal. */
#include <stdlib.h>

#include "base/str.h"
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

static int start(struct migration *m, struct disk *disk, struct err *err)
{
	struct qmp_mirror mirror = {
		.job = disk->job,
		.node = disk->src->node,
		.target_node = uses_drive_mirror(m) ? NULL : disk->target,
		.speed = share_of(m),
	};

	target_of(m, disk, &mirror.target);
	disk->has_job = true;
	if (qmp_mirror_start(m->src.qmp, &m->src.caps, &mirror, err) < 0)
		return err_wrap(err, "disk %s", disk->name);
	return 0;
}

int step_mirror(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	for (size_t i = 0; i < m->disks.count; i++)
		if (start(m, &m->disks.list[i], err) < 0)
			return -1;
	return 0;
}

static bool all_ready(struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (!m->disks.list[i].ready)
			return false;
	return true;
}

/* A sample, and the share of a mirror that is through given to the others. */
static int sample_copy(struct migration *m, uint64_t *figure, struct err *err)
{
	uint64_t share = share_of(m);

	if (progress_sample_disks(m, figure, err) < 0)
		return -1;
	for (size_t i = 0; share && i < m->disks.count; i++)
		if (!m->disks.list[i].ready &&
		    qmp_job_set_speed(m->src.qmp, m->disks.list[i].job, share, err) < 0)
			return -1;
	return 0;
}

int step_copy(struct migration *m, int64_t timeout_ms, struct err *err)
{
	uint64_t figure;

	if (progress_await(m, "the steady state of the disks", timeout_ms, all_ready, sample_copy,
			   err) < 0)
		return -1;
	return progress_sample_disks(m, &figure, err);
}

int step_sync(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)m;
	(void)timeout_ms;
	(void)err;
	return 0;
}

static bool all_ended(struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (!m->disks.list[i].ended)
			return false;
	return true;
}

/* The guest is stopped: nothing but the mirrors' ends is waited for here. */
int step_detach(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct qmp_request **requests = mem_zalloc(m->disks.count + 1, sizeof(*requests));
	int ret = 0;

	m->detaching = true;
	for (size_t i = 0; i < m->disks.count; i++)
		requests[i] = qmp_job_cancel_send(m->src.qmp, m->disks.list[i].job, false);
	for (size_t i = 0; i < m->disks.count; i++)
		if (ret < 0)
			qmp_forget(requests[i]);
		else
			ret = qmp_finish(requests[i], err);
	free(requests);
	if (ret < 0)
		return -1;
	return migration_await(m, "the end of the mirrors", timeout_ms, all_ended, err);
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
		disk->concluded = job.concluded;
	}
	return 0;
}

/* Also after a successful move with --keep-source: then all are concluded already. */
int undo_mirror(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (refresh_jobs(m, err) < 0)
		return -1;
	m->detaching = true;
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (disk->has_job && !disk->concluded &&
		    qmp_finish(qmp_job_cancel_send(m->src.qmp, disk->job, true), err) < 0)
			return -1;
	}
	if (side_await(&m->src, "the end of the mirrors", timeout_ms, all_concluded, err) < 0)
		return -1;
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (disk->has_job && qmp_job_dismiss(m->src.qmp, disk->job, err) < 0)
			return -1;
		disk->has_job = false;
	}
	return 0;
}
