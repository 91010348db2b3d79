#include "migrate/progress.h"

#include <stdlib.h>

#include "base/str.h"
#include "migrate/link.h"

#define SAMPLE_MS 500

int progress_await(struct migration *m, const char *what, int64_t stall_ms,
		   bool (*done)(struct migration *m),
		   int (*sample)(struct migration *m, uint64_t *figure, struct err *err),
		   struct err *err)
{
	int64_t moved_ms = loop_now_ms();
	uint64_t figure = 0, last = 0;

	for (;;) {
		if (migration_await(m, what, SAMPLE_MS, done, err) == 0)
			return 0;
		if (err->kind != ERR_TIMEOUT)
			return -1;
		if (sample(m, &figure, err) < 0)
			return -1;
		if (figure != last || link_is_lost(m))
			moved_ms = loop_now_ms();
		else if (loop_now_ms() - moved_ms > stall_ms)
			return err_set(err, ERR_TIMEOUT,
				       "nothing has moved for %.3g s while waiting for %s",
				       (double)stall_ms / 1000, what);
		last = figure;
	}
}

int progress_sample_disks(struct migration *m, uint64_t *figure, struct err *err)
{
	size_t n = m->disks.count;
	const char **ids = mem_zalloc(n + 1, sizeof(*ids));
	struct qmp_job *jobs = mem_zalloc(n + 1, sizeof(*jobs));
	struct progress *items = mem_zalloc(n + 1, sizeof(*items));
	int ret;

	for (size_t i = 0; i < n; i++)
		ids[i] = m->disks.list[i].job;
	ret = qmp_jobs_query(m->src.qmp, ids, jobs, n, err);
	*figure = 0;
	for (size_t i = 0; ret == 0 && i < n; i++) {
		items[i] = (struct progress){.name = m->disks.list[i].name,
					     .done_bytes = jobs[i].done_bytes,
					     .total_bytes = jobs[i].total_bytes,
					     .finished = m->disks.list[i].ready};
		*figure += jobs[i].done_bytes + jobs[i].total_bytes;
	}
	if (ret == 0)
		m->report->progress(m->report->arg, items, n);
	free(ids);
	free(jobs);
	free(items);
	return ret;
}

int progress_sample_ram(struct migration *m, uint64_t *figure, struct err *err)
{
	struct qmp_migration now;
	struct progress items[] = {{.name = "ram"}, {.name = "disks"}};

	if (qmp_migration_query(m->src.qmp, &now, err) < 0)
		return -1;
	items[0].total_bytes = now.total_bytes;
	items[0].done_bytes = now.total_bytes - now.remaining_bytes;
	items[1].total_bytes = now.disk_total_bytes;
	items[1].done_bytes = now.disk_transferred_bytes;
	*figure = now.transferred_bytes + now.remaining_bytes + now.disk_transferred_bytes;
	m->report->progress(m->report->arg, items, m->in_stream ? 2 : 1);
	return 0;
}
