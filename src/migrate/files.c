/* The destination's files that we make, and remove again. Made exclusively: what is there
 * already is never written over by this step, and what we have not made is never removed.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/mark.h"
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
		disk->maybe_made = err->kind == ERR_CLOSED || err->kind == ERR_TIMEOUT;
		return -1;
	}
	disk->made_path = str_dup(disk->dst_path);
	if (m->guard && guard_made(m->guard, (size_t)(disk - m->disks.list), err) < 0)
		return -1;
	if (m->by_hand && mark_file(disk->made_path, m->id, err) < 0)
		migration_note(m, "%s; should the move fail, that file will stay", err->text);
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
		if (m->disks.list[i].made_path || m->disks.list[i].maybe_made)
			return true;
	for (size_t i = 0; i < m->extras.count; i++)
		if (m->extras.list[i].made_path || m->extras.list[i].maybe_made)
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

/* A guard that has lost us is about to remove it: it gets some time.
 *
 * Does any process over there have the file open? Asked where that QEMU has not obeyed a
 * `quit` of ours: it may have its monitor elsewhere than where we look for it. Only root sees
 * all processes, so what cannot be looked at counts. */
#define IN_USE 10
#define NOT_KNOWN 11

static int see_unused(struct migration *m, const char *path, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *word = str_shell_quote(path);
	_autofree_ char *command = str_printf(
		"for n in %s; do [ ! -e %s ] || sleep 1; done; "
		"for d in /proc/[0-9]*/fd; do if [ -d \"$d\" ] && [ ! -r \"$d\" ]; then exit %d; "
		"fi; "
		"for f in \"$d\"/*; do if [ \"$f\" -ef %s ]; then exit %d; fi; done; done; exit 0",
		m->guard ? "1 2 3 4 5" : "", word, NOT_KNOWN, word, IN_USE);
	struct process_output output = {0};
	int ret = host_command(m->host, command, timeout_ms, &output, err);

	process_output_deinit(&output);
	if (ret < 0)
		return -1;
	if (output.status == 0)
		return 0;
	return err_set(err, ERR_FAILED, "%s: %s stays: %s; remove it when no QEMU uses it",
		       m->dst.name, path,
		       output.status == IN_USE ? "it is in use"
					       : "whether it is in use cannot be seen");
}

/* Nobody can tell ours from one that came meanwhile: what is there stays. */
static int look_for_made(struct migration *m, const char *path, struct err *err)
{
	struct file_info info;

	if (host_file_info(m->host, path, &info, err) == 0 && info.kind == FILE_ABSENT)
		return 0;
	return err_set(err, ERR_FAILED,
		       "%s: whether %s was made here is not known; remove it if nothing is in it",
		       m->dst.name, path);
}

/* Of a disk or an extra file, which goes to @path. */
static int remove_file(struct migration *m, const char *path, bool *maybe_made, char **made_path,
		       int64_t timeout_ms, struct err *err)
{
	if (*maybe_made) {
		*maybe_made = false;
		return look_for_made(m, path, err);
	}
	if (!*made_path)
		return 0;
	if (!m->dst_obeyed && see_unused(m, *made_path, timeout_ms, err) < 0)
		return -1;
	if (host_file_remove(m->host, *made_path, err) < 0)
		return -1;
	free(*made_path);
	*made_path = NULL;
	return 0;
}

static int remove_made(struct migration *m, struct disk *disk, int64_t timeout_ms, struct err *err)
{
	return remove_file(m, disk->dst_path, &disk->maybe_made, &disk->made_path, timeout_ms, err);
}

/* What of these could not be removed is said at once. */
static void remove_extras(struct migration *m, int64_t timeout_ms)
{
	for (size_t i = 0; i < m->extras.count; i++) {
		struct extra *extra = &m->extras.list[i];
		struct err err;

		if (remove_file(m, extra->file->path, &extra->maybe_made, &extra->made_path,
				timeout_ms, &err) < 0)
			problems_add(&m->left_behind, "%s", err.text);
	}
}

/* What the guard has removed, after the end of what used it. */
static void leave_to_guard(struct migration *m, int64_t timeout_ms)
{
	struct err ignored;

	if (!m->guard || m->dst_left || guard_undo(m->guard, timeout_ms, &ignored) < 0)
		return;
	m->started_dst = false;
	for (size_t i = 0; i < m->disks.count; i++) {
		free(m->disks.list[i].made_path);
		m->disks.list[i].made_path = NULL;
	}
	for (size_t i = 0; i < m->extras.count; i++) {
		free(m->extras.list[i].made_path);
		m->extras.list[i].made_path = NULL;
	}
}

int undo_create(struct migration *m, int64_t timeout_ms, struct err *err)
{
	leave_to_guard(m, timeout_ms);
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
	remove_extras(m, timeout_ms);
	return undo_each_disk(m, remove_made, timeout_ms, err);
}
