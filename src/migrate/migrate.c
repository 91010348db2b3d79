#include "migrate/migrate.h"

#include <stdlib.h>

#include "base/str.h"
#include "migrate/handover.h"
#include "migrate/keys.h"
#include "migrate/link.h"
#include "migrate/look.h"
#include "migrate/record.h"
#include "migrate/step_functions.h"

struct migration *migration_new(struct loop *loop, const struct options *opt,
				const struct report *report)
{
	struct migration *m = mem_zalloc(1, sizeof(*m));

	m->loop = loop;
	m->opt = opt;
	m->report = report;
	m->here = host_local(loop, opt->timeouts.connect_ms);
	m->src.m = m->dst.m = m;
	m->src.name = "source";
	m->ram_fd = -1;
	handover_new_id(m);
	m->incremental = opt->incremental;
	m->dst.name = opt->dst.host ? opt->dst.host : "destination";
	return m;
}

void migration_free(struct migration *m)
{
	if (!m)
		return;
	qmp_forget(m->stop_status);
	guard_close(m->guard);
	extras_deinit(&m->extras);
	free(m->scope_unit);
	free(m->scope_slice);
	clone_deinit(&m->clone);
	clone_user_deinit(&m->clone_user);
	source_process_deinit(&m->process);
	link_close(m);
	free(m->link.path);
	disconnect_ram(m);
	ssh_forward_stop(m->forward);
	journal_close(m->journal);
	record_deinit(&m->record);
	qmp_close(m->src.qmp);
	qmp_close(m->dst.qmp);
	host_close(m->host);
	host_close(m->here);
	disks_deinit(&m->disks);
	qmp_drives_deinit(&m->src.drives);
	qmp_drives_deinit(&m->dst.drives);
	problems_deinit(&m->problems);
	problems_deinit(&m->repairs);
	problems_deinit(&m->left_out);
	problems_deinit(&m->left_behind);
	problems_deinit(&m->seen);
	problems_deinit(&m->choices);
	free(m->src_cwd);
	free(m->dst_cwd);
	free(m->method_why);
	free(m->keys.src_directory);
	free(m->keys.dst_directory);
	free(m->address);
	free(m);
}

void migration_tell_left_out(struct migration *m)
{
	for (size_t i = 0; i < m->left_out.count; i++)
		migration_note(m, "not moved: %s", m->left_out.list[i]);
	for (size_t i = 0; i < m->repairs.count; i++)
		migration_note(m, "since the source's start: %s", m->repairs.list[i]);
}

void migration_tell_method(struct migration *m)
{
	if (m->in_stream && !m->problems.count)
		migration_note(m, "the disks go the old way, in the migration's own stream: %s",
			       m->method_why);
	if (m->src.qmp && stops_first(m) && !m->problems.count)
		migration_note(m, "the source's QEMU has no pause-before-switchover (it came with "
				  "2.11): the guest will be stopped while all of its RAM is sent");
	if (!m->problems.count)
		keys_tell(m);
}

int migration_check(struct migration *m, struct err *err)
{
	return steps_run(m, PHASE_BEGIN, PHASE_BEGIN, err);
}

int migration_run(struct migration *m, struct err *err)
{
	if (steps_run(m, PHASE_BEGIN, PHASE_BEGIN, err) < 0)
		return -1;
	migration_tell_left_out(m);
	if (record_open(m, err) < 0)
		return -1;
	return steps_run(m, PHASE_PREPARE, PHASE_CONFIRM, err);
}
