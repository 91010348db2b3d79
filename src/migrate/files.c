/* The destination's files that we make, and remove again. Made exclusively: what is there
 * already is never written over by this step, and what we have not made is never removed.
 */
#include <string.h>

#include "base/str.h"
#include "migrate/step_functions.h"

/* qemu-img over there gives the empty file we made its format; the file's mode and its
 * exclusive creation are ours. */
static int format_qcow2(struct migration *m, const struct disk *disk, int64_t timeout_ms,
			struct err *err)
{
	_autofree_ char *path = str_shell_quote(disk->dst_path);
	_autofree_ char *command = str_printf(
		"qemu-img create -q -f qcow2 -o compat=%s,cluster_size=%llu %s %llu",
		disk->src->compat && str_eq(disk->src->compat, "0.10") ? "0.10" : "1.1",
		(unsigned long long)(disk->src->cluster_size ? disk->src->cluster_size : 65536),
		path, (unsigned long long)disk->src->virtual_size);
	struct process_output output = {0};
	int ret = host_command_ok(m->host, command, timeout_ms, &output, err);

	process_output_deinit(&output);
	return ret;
}

static int create(struct migration *m, struct disk *disk, int64_t timeout_ms, struct err *err)
{
	bool qcow2 = str_eq(disk->src->driver, "qcow2");

	if (host_file_create(m->host, disk->dst_path, qcow2 ? 0 : disk->src->virtual_size,
			     disk->mode, err) < 0) {
		if (err->kind == ERR_CLOSED || err->kind == ERR_TIMEOUT)
			problems_add(&m->left_behind,
				     "%s: whether %s was made is not known; nothing is in it",
				     m->dst.name, disk->dst_path);
		return -1;
	}
	disk->created = true;
	return qcow2 ? format_qcow2(m, disk, timeout_ms, err) : 0;
}

int step_create(struct migration *m, int64_t timeout_ms, struct err *err)
{
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (disk->fate == DISK_CREATE && create(m, disk, timeout_ms, err) < 0)
			return err_wrap(err, "disk %s", disk->name);
	}
	return 0;
}

static bool any_created(const struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].created)
			return true;
	return false;
}

/* The connection may be what failed: try it, and make it anew. */
static int ensure_host(struct migration *m, struct err *err)
{
	struct file_info info;

	if (host_file_info(m->host, "/", &info, NULL) == 0)
		return 0;
	return host_reopen(m->host, err);
}

int undo_create(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int ret = 0;

	(void)timeout_ms;
	if (!any_created(m))
		return 0;
	if (m->started_dst)
		return err_set(
			err, ERR_FAILED,
			"%s: the files made there stay, for the QEMU using them could not be "
			"seen gone",
			m->dst.name);
	if (ensure_host(m, err) < 0)
		return err_wrap(err, "the files made on %s stay", m->dst.name);
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (!disk->created)
			continue;
		if (host_file_remove(m->host, disk->dst_path, err) < 0)
			ret = -1;
		else
			disk->created = false;
	}
	return ret;
}
