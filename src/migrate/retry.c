#include "migrate/retry.h"

#include <stdlib.h>

#include "base/str.h"
#include "migrate/link.h"
#include "migrate/rejoin.h"
#include "migrate/step_functions.h"

/* --- whether --- */

/* Raw over another format, or a part of a file, has no plain name. */
static bool is_plain_file(const struct qmp_drive *drive)
{
	return drive && drive->file && str_eq(drive->driver, "raw") &&
	       !(drive->url && str_starts(drive->url, "json:"));
}

static const struct disk *disk_not_raw(const struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (!is_plain_file(m->disks.list[i].dst))
			return &m->disks.list[i];
	return NULL;
}

static char *why_not(const struct migration *m)
{
	const struct disk *other = disk_not_raw(m);

	if (!m->disks.count || m->in_stream)
		return str_dup("there are no mirrors that could go on");
	if (other)
		return str_printf("disk %s is no plain raw file there, and a part of what was "
				  "copied would die with its QEMU",
				  other->name);
	if (!m->link.returns)
		return str_dup("the disks' connections cannot be made anew");
	return m->record.dst_boot ? NULL
				  : str_printf("whether %s is rebooted meanwhile could not be seen",
					       m->dst.name);
}

void retry_choose(struct migration *m)
{
	_autofree_ char *why = m->opt->retries ? why_not(m) : NULL;

	m->may_retry = m->opt->retries && !why;
	if (why)
		migration_note(m,
			       "a QEMU over there that dies will not be started again "
			       "(--retries): %s",
			       why);
}

/* A row that needs the destination's QEMU, with the mirrors through and the guest on the source. */
static bool is_of_ram(const struct migration *m, const struct step *step)
{
	size_t row = (size_t)(step - steps);

	if (!m->retried && row <= step_row("copy"))
		return false;
	return row > step_row("accept") && row <= step_row("ram");
}

static bool mirrors_are_there(const struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].ended || !m->disks.list[i].has_job)
			return false;
	return true;
}

static bool program_ended(void *arg)
{
	return guard_program_ended(((struct migration *)arg)->guard);
}

/* Its host answers, and it is gone. The guard has to be there still, and to have seen it end. A
 * connection that its end has not come through yet seems alive: so it is asked something. */
static bool destination_has_died(struct migration *m)
{
	struct qmp_status status;
	bool rebooted;
	struct err ignored;

	if (qmp_alive(m->dst.qmp) && qmp_status_query(m->dst.qmp, &status, &ignored) == 0)
		return false;
	if (reach_destination(m, &ignored) < 0 || !m->dst_quit)
		return false;
	m->dst_quit = false;
	if (destination_was_rebooted(m, &rebooted, &ignored) < 0 || rebooted)
		return false;
	return !m->guard || (loop_await(m->loop, "the end of QEMU", m->opt->timeouts.answer_ms,
					program_ended, m, &ignored) == 0 &&
			     guard_is_there(m->guard));
}

static bool may_help(struct migration *m, const struct step *step, const struct err *err)
{
	return m->may_retry && m->retried < m->opt->retries && is_of_ram(m, step) &&
	       err->kind != ERR_INTERRUPTED && !loop_signal(m->loop) && qmp_alive(m->src.qmp) &&
	       mirrors_are_there(m) && destination_has_died(m);
}

/* --- how --- */

/* Of the next one nothing is known yet, and nothing of it is ours. */
static void forget_destination(struct migration *m)
{
	drop_destination(m);
	qmp_drives_deinit(&m->dst.drives);
	m->dst.migration_status[0] = '\0';
	m->dst.stopped = m->dst.resumed = false;
	m->dst_obeyed = false;
	m->started_dst = m->nbd_started = m->incoming = m->keys.dst_added = false;
	m->listening.ram_port = 0;
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		disk->dst = NULL;
		free(disk->dst_node);
		disk->dst_node = NULL;
	}
}

/* The next QEMU has written nothing to an image yet, and takes a flush for done without a look at
 * what the one before had left to its kernel (write_gen in bdrv_co_flush() of its block/io.c). So
 * that is flushed here. How each is left then is kept for retry_accept(). */
static int flush_images(struct migration *m, struct err *err)
{
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (host_file_sync(m->host, disk->dst_path, m->opt->timeouts.stall_ms, err) < 0)
			return -1;
		free(disk->dst_left);
		disk->dst_left =
			host_file_state(m->host, disk->dst_path, m->opt->timeouts.answer_ms, err);
		if (!disk->dst_left)
			return -1;
	}
	return 0;
}

int retry_accept(struct migration *m, struct err *err)
{
	for (size_t i = 0; i < m->disks.count; i++) {
		const struct disk *disk = &m->disks.list[i];
		_autofree_ char *now =
			host_file_state(m->host, disk->dst_path, m->opt->timeouts.answer_ms, err);

		if (!now)
			return -1;
		if (!str_eq(now, disk->dst_left))
			return err_set(err, ERR_FAILED,
				       "disk %s: %s on %s was made anew or written to when its "
				       "QEMU was started again, and what was copied may be gone; "
				       "--start must only start it",
				       disk->name, disk->dst_path, m->dst.name);
	}
	return 0;
}

static int begin(struct migration *m, struct err *err)
{
	m->retrying = true;
	m->retried++;
	if (ram_take_back(m, m->opt->timeouts.answer_ms, err) < 0)
		return -1;
	link_close(m);
	rejoin_begin(m);
	forget_destination(m);
	if (flush_images(m, err) < 0)
		return -1;
	return migration_record(m, err);
}

int retry_after(struct migration *m, const struct step *step, struct err *err)
{
	if (!may_help(m, step, err))
		return -1;
	migration_note(m, "%s: its QEMU has died (%s); it is started again, %d of %d (--retries)",
		       m->dst.name, err->text, m->retried + 1, m->opt->retries);
	return begin(m, err);
}

/* --- the mirrors --- */

#define LOOK_MS 50

/* The deadline counts from the last progress, for what the guest has written meanwhile may be
 * much. */
int step_rejoin(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int64_t until_ms = loop_now_ms() + timeout_ms;
	uint64_t most_bytes = 0;
	struct rejoined now = {0};

	link_expect(m);
	while (!now.all || !now.caught_up) {
		if (loop_now_ms() >= until_ms)
			return err_set(err, ERR_TIMEOUT,
				       "timed out after %.3g s waiting for the mirrors to go on",
				       (double)timeout_ms / 1000);
		if (migration_rest(m, LOOK_MS, err) < 0 || rejoin_mirrors(m, &now, err) < 0)
			return -1;
		if (now.done_bytes > most_bytes) {
			most_bytes = now.done_bytes;
			until_ms = loop_now_ms() + timeout_ms;
		}
	}
	link_watch(m);
	m->retrying = false;
	return 0;
}
