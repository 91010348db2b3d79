/* Looking at both sides of a migration that an earlier process has begun. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "migrate/look.h"
#include "migrate/recover.h"
#include "migrate/source_process.h"
#include "migrate/step_functions.h"

static void words(char **to, const char *text)
{
	free(*to);
	*to = str_dup(text);
}

static bool is_other_guest(const struct migration *m, const struct qmp_identity *guest)
{
	return (m->guest.uuid[0] && !str_eq(guest->uuid, m->guest.uuid)) ||
	       (m->guest.name[0] && guest->name[0] && !str_eq(guest->name, m->guest.name));
}

/* --- the source --- */

static bool src_was_rebooted(struct migration *m)
{
	struct file_id id;

	return m->record.src_boot &&
	       host_file_id(m->here, "/", &id, m->opt->timeouts.answer_ms, NULL) == 0 &&
	       !str_eq(id.boot_id, m->record.src_boot);
}

/* Whether the source's process is alive, wherever its monitor is. */
static bool src_process_lives(const struct migration *m)
{
	const char *wanted = m->record.src_process;
	_autofree_ char *now = process_name(wanted ? (pid_t)strtol(wanted, NULL, 10) : 0);

	return wanted && str_eq(now, wanted);
}

static enum seen src_not_there(struct migration *m, struct found *found, const struct err *err)
{
	if (err->kind != ERR_REFUSED || src_process_lives(m)) {
		words(&found->src_words, err->text);
		return SEEN_UNKNOWN;
	}
	words(&found->src_words, "source: its QEMU has ended");
	return SEEN_GONE;
}

/* Somebody has started another QEMU there since: of the same guest, by its user or its host? */
static enum seen see_successor(struct migration *m, struct found *found)
{
	struct qmp_identity guest;
	struct err err;
	int ret = qmp_identity_query(m->src.qmp, &guest, &err);

	qmp_close(m->src.qmp);
	m->src.qmp = NULL;
	if (ret < 0) {
		words(&found->src_words, err.text);
		return SEEN_UNKNOWN;
	}
	if (is_other_guest(m, &guest)) {
		words(&found->src_words, "source: its QEMU has ended, another guest's is there");
		return SEEN_GONE;
	}
	words(&found->src_words, "source: its QEMU has ended, another QEMU of this guest is there");
	return SEEN_OTHER;
}

static enum seen open_src(struct migration *m, struct found *found)
{
	bool rebooted = src_was_rebooted(m);
	_autofree_ char *process = NULL;
	struct err err;

	if (side_open_src(m, &err) < 0 && !(rebooted && err.kind == ERR_REFUSED))
		return src_not_there(m, found, &err);
	if (!m->src.qmp) {
		words(&found->src_words, "source: its QEMU has ended: this host was rebooted");
		return SEEN_GONE;
	}
	process = process_name(m->src_pid);
	if (!rebooted &&
	    (!process || !m->record.src_process || str_eq(process, m->record.src_process)))
		return SEEN_THERE;
	if (rebooted || !src_process_lives(m))
		return see_successor(m, found);
	qmp_close(m->src.qmp);
	m->src.qmp = NULL;
	words(&found->src_words, "source: another QEMU listens where its monitor was");
	return SEEN_UNKNOWN;
}

static const struct qmp_drive *drive_of(const struct migration *m, const struct record_disk *disk)
{
	struct qmp_drive like = {.device = disk->device, .node = disk->node, .qdev = disk->qdev};

	return disk_counterpart(&like, &m->src.drives);
}

static int see_mirror(struct migration *m, struct disk *disk, struct err *err)
{
	const char *id = disk->job;
	struct qmp_job job;

	if (qmp_jobs_query(m->src.qmp, &id, &job, 1, err) < 0)
		return -1;
	disk->has_job = job.found;
	disk->ready = job.found && job.ready;
	disk->ended = disk->concluded = job.found && job.concluded;
	disk->stopped = job.stopped;
	snprintf(disk->error, sizeof(disk->error), "%s", job.stopped ? "" : job.error);
	return 0;
}

static int see_disks(struct migration *m, struct err *err)
{
	if (qmp_drives_query(m->src.qmp, &m->src.drives, err) < 0)
		return -1;
	for (size_t i = 0; i < m->disks.count; i++) {
		const struct qmp_drive *drive = drive_of(m, &m->record.disks[i]);

		if (drive)
			m->disks.list[i].src = drive;
		if (m->disks.list[i].has_job && see_mirror(m, &m->disks.list[i], err) < 0)
			return -1;
	}
	return 0;
}

bool recover_src_written(const struct migration *m)
{
	for (size_t i = 0; i < m->record.disks_count; i++) {
		const char *path = m->record.disks[i].src;
		struct stat st;

		if (!path || stat(path, &st) < 0 || !S_ISREG(st.st_mode) ||
		    st.st_mtime > m->record.since + 1)
			return true;
	}
	return false;
}

static int see_src(struct migration *m, struct found *found, struct err *err)
{
	struct side *side = &m->src;

	if (qmp_caps_query(side->qmp, &side->caps, err) < 0 ||
	    qmp_status_query(side->qmp, &side->status, err) < 0 ||
	    qmp_migration_query(side->qmp, &found->src_migration, err) < 0 || see_disks(m, err) < 0)
		return -1;
	snprintf(side->migration_status, sizeof(side->migration_status), "%s",
		 found->src_migration.status);
	side->stopped = !side->status.running;
	found->src_words =
		str_printf("source: its guest is \"%s\" (%s)", side->status.state, m->opt->source);
	return 0;
}

static void look_at_src(struct migration *m, struct found *found)
{
	struct err err;

	found->src = open_src(m, found);
	if (found->src != SEEN_THERE || see_src(m, found, &err) == 0)
		return;
	found->src = SEEN_UNKNOWN;
	words(&found->src_words, err.text);
}

/* --- the destination --- */

static enum seen open_dst(struct migration *m, struct found *found)
{
	bool rebooted;
	struct err err;

	if (!m->opt->dst.host)
		m->host = host_local(m->loop, m->opt->timeouts.connect_ms);
	else
		m->host = host_ssh(m->loop, &m->opt->ssh, &err);
	if (!m->host) {
		words(&found->dst_words, err.text);
		return SEEN_UNKNOWN;
	}
	if (destination_was_rebooted(m, &rebooted, &err) == 0 && rebooted) {
		found->dst_words =
			str_printf("%s: its QEMU has ended: that host was rebooted", m->dst.name);
		return SEEN_GONE;
	}
	if (open_or_see_it_gone(m, &err) == 0)
		return SEEN_THERE;
	if (err.kind != ERR_REFUSED) {
		words(&found->dst_words, err.text);
		return SEEN_UNKNOWN;
	}
	found->dst_words = str_printf("%s: its QEMU has ended", m->dst.name);
	return SEEN_GONE;
}

/* Ours waits, or has a migration behind it. One that has neither was started by somebody who runs
 * the guest there himself, from a backup, say. */
static bool is_not_from_us(const struct migration *m, const struct found *found)
{
	return !m->switched && !str_eq(m->dst.status.state, "inmigrate") &&
	       !found->dst_migration.status[0];
}

static int see_dst(struct migration *m, struct found *found, struct err *err)
{
	struct side *side = &m->dst;
	struct qmp_identity guest;

	if (qmp_caps_query(side->qmp, &side->caps, err) < 0 ||
	    qmp_identity_query(side->qmp, &guest, err) < 0 ||
	    qmp_status_query(side->qmp, &side->status, err) < 0 ||
	    qmp_migration_query(side->qmp, &found->dst_migration, err) < 0)
		return -1;
	if (is_other_guest(m, &guest) || is_not_from_us(m, found)) {
		found->dst = SEEN_OTHER;
		found->dst_words = str_printf("%s: another QEMU is there now%s (%s)", m->dst.name,
					      is_other_guest(m, &guest) ? ", of another guest" : "",
					      m->opt->dst.socket);
		drop_destination(m);
		return 0;
	}
	snprintf(side->migration_status, sizeof(side->migration_status), "%s",
		 found->dst_migration.status);
	m->incoming = found->dst_migration.listening || found->dst_migration.status[0];
	if (found->dst_migration.port)
		m->listening.ram_port = found->dst_migration.port;
	found->dst_words = str_printf("%s: its guest is \"%s\" (%s)", m->dst.name,
				      side->status.state, m->opt->dst.socket);
	return 0;
}

static void look_at_dst(struct migration *m, struct found *found)
{
	struct err err;

	found->dst = open_dst(m, found);
	if (found->dst != SEEN_THERE || see_dst(m, found, &err) == 0)
		return;
	found->dst = SEEN_UNKNOWN;
	drop_destination(m);
	words(&found->dst_words, err.text);
}

void recover_look(struct migration *m, struct found *found)
{
	*found = (struct found){0};
	look_at_src(m, found);
	look_at_dst(m, found);
}

void found_deinit(struct found *found)
{
	free(found->src_words);
	free(found->dst_words);
	*found = (struct found){0};
}
