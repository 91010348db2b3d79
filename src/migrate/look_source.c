#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "migrate/handover.h"
#include "migrate/look.h"
#include "migrate/record.h"

/* An earlier move of the guest is settled first. What that has left in the two QEMUs is no
 * objection of its own, and whoever acted on one would take from `recover` what it can go on with.
 */
static int refuse_earlier(struct migration *m, struct err *err)
{
	struct err earlier;

	if (!m->opt->journal_directory || record_refuse_another(m, &earlier) == 0)
		return 0;
	problems_add(&m->problems, "%s", earlier.text);
	return err_set(err, ERR_REFUSED, "refused");
}

static void look_at_state(struct migration *m)
{
	struct err err;

	if (qmp_status_query(m->src.qmp, &m->src.status, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
	else if (!m->src.status.running && !str_eq(m->src.status.state, "paused") &&
		 !str_eq(m->src.status.state, "prelaunch"))
		problems_add(&m->problems,
			     "source: the guest is neither running nor paused but \"%s\"%s",
			     m->src.status.state,
			     str_eq(m->src.status.state, "suspended")
				     ? "; wake it first (system_wakeup)"
				     : "");
}

static void look_at_jobs(struct migration *m)
{
	_autofree_ char *job = NULL;
	struct err err;

	if (qmp_any_job(m->src.qmp, &job, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
	else if (job)
		problems_add(&m->problems,
			     "source: block job \"%s\" is active; wait for its end, or end it "
			     "with block-job-cancel",
			     job);
}

static void look_at_migration(struct migration *m)
{
	struct qmp_migration now;
	struct err err;

	if (qmp_migration_query(m->src.qmp, &now, &err) < 0) {
		problems_add(&m->problems, "%s", err.text);
		return;
	}
	if (qmp_migration_active(now.status))
		problems_add(&m->problems,
			     "source: a migration is under way already (\"%s\"); wait for its "
			     "end, or end it with migrate_cancel",
			     now.status);
	if (now.blocked[0])
		problems_add(&m->problems, "source: QEMU cannot migrate this guest: %s",
			     now.blocked);
}

/* A path of the source's QEMU as this process can open it, whatever mount namespace or
 * chroot that QEMU lives in. */
char *source_path(const struct migration *m, const char *path)
{
	_autofree_ char *through = str_printf("/proc/%d/root%s", (int)m->src_pid, path);

	return m->src_pid && access(through, F_OK) == 0 ? str_take(&through) : str_dup(path);
}

/* One that has gone to the background (-daemonize) is in "/" since. Where its relative names
 * began then is what $PWD says, but only if an image of such a name is a file that it has open. */
static void find_cwd_of_daemon(struct migration *m)
{
	_autofree_ char *pwd = source_process_pwd(m->src_pid);

	for (size_t i = 0; pwd && i < m->src.drives.count; i++) {
		const char *file = m->src.drives.list[i].file;
		_autofree_ char *path =
			file && *file != '/' ? str_printf("%s/%s", pwd, file) : NULL;
		_autofree_ char *seen = path ? source_path(m, path) : NULL;

		if (!seen || !source_process_has_open(m->src_pid, seen))
			continue;
		free(m->src_cwd);
		m->src_cwd = str_take(&pwd);
	}
}

/* The directory that relative image names are relative to. */
static void find_cwd(struct migration *m)
{
	_autofree_ char *link = str_printf("/proc/%d/cwd", (int)m->src_pid);
	char path[4096];
	ssize_t n = m->src_pid ? readlink(link, path, sizeof(path) - 1) : -1;

	if (n > 0)
		m->src_cwd = str_printf("%.*s", (int)n, path);
	if (str_eq(m->src_cwd, "/"))
		find_cwd_of_daemon(m);
}

char *look_src_path(const struct migration *m, const char *file)
{
	_autofree_ char *path =
		*file == '/' || !m->src_cwd ? str_dup(file) : str_printf("%s/%s", m->src_cwd, file);

	return source_path(m, path);
}

static void look_at_file(struct migration *m, struct disk *disk)
{
	_autofree_ char *path = disk->src_path ? source_path(m, disk->src_path) : NULL;
	struct file_info info;
	struct err err;

	disk->mode = 0600;
	disk->uid = disk->gid = FILE_OWNER_UNKNOWN;
	if (!path)
		return;
	if (host_file_info(m->here, path, &info, &err) < 0 || info.kind == FILE_ABSENT)
		return; /* seen by QEMU only; it has it open, that is enough */
	if (info.kind != FILE_REGULAR)
		return;
	disk->mode = info.mode;
	disk->uid = info.uid;
	disk->gid = info.gid;
}

static void choose_by_cookie(struct migration *m)
{
	handover_check_guest(m, &m->guest, "source");
	handover_choose_disks(m);
}

/* The destination is not seen from here: what it must know is looked at for the cookie, or it
 * was agreed on. */
static void look_by_hand(struct migration *m)
{
	bool prepared_in_stream = m->in_stream;

	for (size_t i = 0; !m->cookie && i < m->disks.count; i++)
		look_at_storage(m, &m->disks.list[i]);
	choose_method(m);
	if (m->cookie && m->in_stream && !prepared_in_stream)
		problems_add(&m->problems,
			     "the destination was prepared for mirrors, but %s; begin anew",
			     m->method_why);
	migration_tell_method(m);
}

static void choose_disks(struct migration *m)
{
	disks_choose(&m->disks, &m->src.drives, m->opt, m->src_cwd, &m->problems, &m->left_out);
	disks_name_exports(&m->disks, m->id);
}

int look_at_source(struct migration *m, struct err *err)
{
	struct err local;

	if (refuse_earlier(m, err) < 0)
		return -1;
	if (side_open_src(m, &local) < 0) {
		problems_add(&m->problems, "%s", local.text);
		if (local.kind == ERR_INTERRUPTED)
			*err = local;
		return local.kind == ERR_INTERRUPTED ? -1 : 0;
	}
	if (qmp_caps_query(m->src.qmp, &m->src.caps, &local) < 0 ||
	    qmp_identity_query(m->src.qmp, &m->guest, &local) < 0 ||
	    qmp_drives_query(m->src.qmp, &m->src.drives, &local) < 0) {
		problems_add(&m->problems, "%s", local.text);
		return 0;
	}
	if (refuse_earlier(m, err) < 0) /* by its process, that is */
		return -1;
	look_at_state(m);
	look_at_jobs(m);
	look_at_migration(m);
	look_at_migration_settings(m, &m->src);
	find_cwd(m);
	if (m->cookie)
		choose_by_cookie(m);
	else
		choose_disks(m);
	for (size_t i = 0; i < m->disks.count; i++)
		look_at_file(m, &m->disks.list[i]);
	look_at_access(m);
	for (size_t i = 0; m->incremental && i < m->disks.count; i++)
		look_for_backing(m, &m->disks.list[i]);
	if (m->by_hand)
		look_by_hand(m);
	return m->by_hand && !m->cookie ? look_at_backing(m, err) : 0;
}
