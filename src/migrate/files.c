/* The destination's files that we make, and remove again. Made exclusively: what is there
 * already is never written over by this step, and what we have not made is never removed.
 *
 * That has to hold for who comes after us, too, should we be killed at any moment. So a file is
 * made as .NAME.vmferry-ID, which by the migration's id nobody else uses; it gets its final name
 * only when its inode is on record, and never one that somebody has taken meanwhile. What has the
 * temporary name is ours, then, and what has the final name is ours if it is that inode. The
 * number says so while the file lives: of a file that was removed by somebody else, the next one
 * may get it. So it has to be born in the same second, too, where that can be told: coreutils' stat
 * does on file systems that know (since 8.31), busybox's does not, and then the number has to do.
 *
 * All files are made first, their inodes asked for by one command and recorded at once, then all
 * are named.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/mark.h"
#include "migrate/owner.h"
#include "migrate/step_functions.h"

/* Behind the temporary name, for the moment in which it is tried out whether there are hard
 * links. */
#define SECOND_LINK "+"
#define NO_LINKS 10

/* What there is room for of a file's name in the temporary one, with SECOND_LINK. */
#define NAME_KEPT (NAME_MAX - (int)(sizeof(".") - 1 + sizeof(".vmferry-") - 1 + 32 + 1))

/* qemu-img over there gives the empty file we made its format; the file's mode and its
 * exclusive creation are ours. It is the same file afterwards (qemu-img 7.2: it opens and truncates
 * what is there). */
static int format_qcow2(struct migration *m, const struct disk *disk, const char *file,
			int64_t timeout_ms, struct err *err)
{
	_autofree_ char *path = str_shell_quote(file);
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

char *file_temporary_path(const struct migration *m, const struct disk *disk)
{
	_autofree_ char *directory = str_directory(disk->dst_path);
	const char *slash = strrchr(disk->dst_path, '/');
	const char *name = slash ? slash + 1 : disk->dst_path;
	uint32_t hash = 2166136261u; /* FNV-1a */

	if (strlen(name) <= NAME_KEPT)
		return str_printf("%s/.%s.vmferry-%s", directory, name, m->id);
	for (const char *c = name; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 16777619u;
	return str_printf("%s/.%.*s-%08" PRIx32 ".vmferry-%s", directory, NAME_KEPT - 9, name, hash,
			  m->id);
}

/* The guard has the final names first, then the temporary ones; see step_guard(). */
static int tell_guard(struct migration *m, const struct disk *disk, bool temporary, struct err *err)
{
	size_t index = (size_t)(disk - m->disks.list) + (temporary ? m->disks.count : 0);

	return m->guard ? guard_made(m->guard, index, err) : 0;
}

/* Only a raw image has its size by then. */
static int fill(struct migration *m, const struct disk *disk, struct host_file *file,
		const char *path, int64_t timeout_ms, struct err *err)
{
	if (str_eq(disk->src->driver, "qcow2"))
		return format_qcow2(m, disk, path, timeout_ms, err);
	return host_file_resize(m->host, file, disk->src->virtual_size, err);
}

/* The file stays open until it is given away, so that it is ours that is: in a directory that
 * others may write to, the path might be theirs by then. And it is given last: where files of
 * others in such a directory are protected (fs.protected_regular of proc(5)), qemu-img of root
 * could not open it any more. */
static int create(struct migration *m, struct disk *disk, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *path = file_temporary_path(m, disk);
	struct host_file *file;
	int ret;

	disk->making = true;
	file = host_file_open_new(m->host, path, disk->mode, err);
	if (!file) {
		disk->making = err->kind == ERR_CLOSED || err->kind == ERR_TIMEOUT;
		return -1;
	}
	ret = tell_guard(m, disk, true, err);
	if (ret == 0 && m->by_hand && mark_file(path, m->id, err) < 0)
		migration_note(m, "%s; should the move fail, that file will stay", err->text);
	if (ret == 0)
		ret = fill(m, disk, file, path, timeout_ms, err);
	if (ret == 0)
		ret = owner_give(m, file, disk->uid, disk->gid, err);
	if (host_file_finish(m->host, file, ret < 0 ? NULL : err) < 0)
		ret = -1;
	return ret;
}

static int name(struct migration *m, struct disk *disk, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *path = file_temporary_path(m, disk);

	(void)timeout_ms;
	if (host_file_rename(m->host, path, disk->dst_path, err) < 0)
		return -1;
	disk->making = false;
	disk->made_path = str_dup(disk->dst_path);
	return tell_guard(m, disk, false, err);
}

/* Prints the inodes of all files. Where the renaming needs hard links it is seen by making one
 * whether there are any. */
static char *inodes_command(const struct migration *m)
{
	struct buf command = {0};

	buf_printf(&command, "for f in");
	for (size_t i = 0; i < m->disks.count; i++) {
		_autofree_ char *path = NULL, *word = NULL;

		if (!m->disks.list[i].making)
			continue;
		path = file_temporary_path(m, &m->disks.list[i]);
		word = str_shell_quote(path);
		buf_printf(&command, " %s", word);
	}
	buf_printf(&command, "; do stat -c '%%i %%W' -- \"$f\" || exit 1; ");
	if (m->host->rename_links)
		buf_printf(&command, "ln -- \"$f\" \"$f\"%s && rm -f -- \"$f\"%s || exit %d; ",
			   SECOND_LINK, SECOND_LINK, NO_LINKS);
	buf_printf(&command, "done");
	return command.data;
}

/* "INODE BIRTH"; what is no number for the birth, or 0, says that it is not known. */
static bool take_inode(const char *line, uint64_t *inode, uint64_t *birth)
{
	*birth = 0;
	return sscanf(line, "%" SCNu64 " %" SCNu64, inode, birth) >= 1 && *birth <= INT64_MAX;
}

int file_identity(struct migration *m, const char *path, uint64_t *inode, uint64_t *birth,
		  struct err *err)
{
	_autofree_ char *word = str_shell_quote(path);
	_autofree_ char *command = str_printf("stat -c '%%i %%W' -- %s", word);
	struct process_output output = {0};
	int ret = host_command_ok(m->host, command, m->opt->timeouts.answer_ms, &output, err);

	if (ret == 0 && !(output.out.data && take_inode(output.out.data, inode, birth)))
		ret = err_set(err, ERR_FAILED, "%s: the inode of %s cannot be seen", m->dst.name,
			      path);
	process_output_deinit(&output);
	return ret;
}

/* Gives each disk its numbers of @text, which has a line each. Returns the last disk that got its,
 * or NULL; *@all: all of them have. */
static const struct disk *take_inodes(struct migration *m, const char *text, bool *all)
{
	const struct disk *last = NULL;

	*all = true;
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (!disk->making)
			continue;
		*all = text && take_inode(text, &disk->made_inode, &disk->made_birth);
		if (!*all)
			break;
		text += strcspn(text, "\n");
		text += *text == '\n';
		last = disk;
	}
	return last;
}

static int learn_inodes(struct migration *m, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *command = inodes_command(m);
	struct process_output output = {0};
	int ret = host_command(m->host, command, timeout_ms, &output, err);
	const struct disk *last;
	bool all;

	if (ret == 0) {
		last = take_inodes(m, output.out.data, &all);
		if (output.status == NO_LINKS && last)
			ret = err_set(err, ERR_FAILED,
				      "%s: %s cannot be made safely, for its file system makes no "
				      "hard links; make it there by hand, or let the disk go "
				      "elsewhere (--disk %s=PATH)",
				      m->dst.name, last->dst_path, last->name);
		else if (output.status != 0 || !all)
			ret = err_set(err, ERR_FAILED,
				      "%s: the inodes of the files made there cannot be seen: %s",
				      m->dst.name,
				      output.err.data ? output.err.data : "stat tells none");
	}
	process_output_deinit(&output);
	return ret;
}

static int each_created(struct migration *m,
			int (*act)(struct migration *m, struct disk *disk, int64_t timeout_ms,
				   struct err *err),
			int64_t timeout_ms, struct err *err)
{
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (disk->fate == DISK_CREATE && act(m, disk, timeout_ms, err) < 0)
			return err_wrap(err, "disk %s", disk->name);
	}
	return 0;
}

int step_create(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (each_created(m, create, timeout_ms, err) < 0 || learn_inodes(m, timeout_ms, err) < 0 ||
	    migration_record(m, err) < 0)
		return -1;
	return each_created(m, name, timeout_ms, err);
}

static bool any_created(const struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].making || m->disks.list[i].made_inode ||
		    m->disks.list[i].made_path)
			return true;
	for (size_t i = 0; i < m->extras.count; i++)
		if (m->extras.list[i].made_path || m->extras.list[i].maybe_made)
			return true;
	return false;
}

int ensure_host(struct migration *m, struct err *err)
{
	struct file_info info;

	if (!m->host)
		return err_set(err, ERR_FAILED, "%s: it cannot be reached", m->dst.name);
	if (host_file_info(m->host, "/", &info, NULL) == 0)
		return 0;
	return host_reopen(m->host, err);
}

/* A guard that has lost us is about to remove it: it gets some time.
 *
 * Does any process over there have the file open? Asked where that QEMU has not obeyed a
 * `quit` of ours: it may have its monitor elsewhere than where we look for it. Only root sees
 * all processes, so what cannot be looked at counts, if it has not ended meanwhile. */
#define IN_USE 10
#define NOT_KNOWN 11

static int see_unused(struct migration *m, const char *path, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *word = str_shell_quote(path);
	_autofree_ char *command = str_printf(
		"for n in %s; do [ ! -e %s ] || sleep 1; done; "
		"for d in /proc/[0-9]*/fd; do "
		"if [ -d \"$d\" ] && [ ! -r \"$d\" ] && [ -d \"$d\" ]; then exit %d; fi; "
		"for f in \"$d\"/*; do if [ \"$f\" -ef %s ]; then exit %d; fi; done; done; exit 0",
		m->guard || m->opt->clone ? "1 2 3 4 5" : "", word, NOT_KNOWN, word, IN_USE);
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

/* Whether the file @path is the one that we made: *@ours. False too when there is none. */
#define ABSENT 10
#define ANOTHER 11

static int see_ours(struct migration *m, const char *path, uint64_t inode, uint64_t birth,
		    int64_t timeout_ms, bool *ours, struct err *err)
{
	_autofree_ char *dir = str_directory(path);
	_autofree_ char *directory = str_shell_quote(dir);
	_autofree_ char *word = str_shell_quote(path);
	_autofree_ char *command = str_printf(
		"cd %s || exit 1; f=%s; i=%" PRIu64 "; b=%" PRIu64 "; "
		"[ -e \"$f\" ] || [ -L \"$f\" ] || exit %d; "
		"s=$(stat -c '%%i %%W' -- \"$f\") || exit 1; [ \"${s%%%% *}\" = $i ] || exit %d; "
		"case ${s#* } in $b | 0 | *[!0-9]*) ;; *) [ $b = 0 ] || exit %d ;; esac",
		directory, word, inode, birth, ABSENT, ANOTHER, ANOTHER);
	struct process_output output = {0};
	int ret = host_command(m->host, command, timeout_ms, &output, err);

	if (ret == 0 && output.status != 0 && output.status != ABSENT && output.status != ANOTHER)
		ret = err_set(err, ERR_FAILED,
			      "%s: whether %s is the file that was made here cannot be seen; "
			      "remove it if it is inode %" PRIu64,
			      m->dst.name, path, inode);
	*ours = ret == 0 && output.status == 0;
	process_output_deinit(&output);
	return ret;
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

static int remove_extra(struct migration *m, struct extra *extra, int64_t timeout_ms,
			struct err *err)
{
	const char *path = extra->made_path;
	bool ours = true;

	if (extra->maybe_made) {
		extra->maybe_made = false;
		return look_for_made(m, extra->file->path, err);
	}
	if (!path)
		return 0;
	if (extra->made_inode &&
	    see_ours(m, path, extra->made_inode, extra->made_birth, timeout_ms, &ours, err) < 0)
		return -1;
	if (ours && !m->dst_obeyed && see_unused(m, path, timeout_ms, err) < 0)
		return -1;
	if (ours && host_file_remove(m->host, path, err) < 0)
		return -1;
	free(extra->made_path);
	extra->made_path = NULL;
	return 0;
}

static int remove_temporary(struct migration *m, struct disk *disk, struct err *err)
{
	_autofree_ char *path = file_temporary_path(m, disk);
	_autofree_ char *second = str_printf("%s" SECOND_LINK, path);

	if (host_file_remove(m->host, path, err) < 0 ||
	    (m->host->rename_links && host_file_remove(m->host, second, err) < 0))
		return -1;
	disk->making = false;
	return 0;
}

static int remove_named(struct migration *m, struct disk *disk, int64_t timeout_ms, struct err *err)
{
	const char *path = disk->made_path ? disk->made_path : disk->dst_path;
	bool ours = true;

	/* By hand, finish knows it by its mark. */
	if (disk->made_inode &&
	    see_ours(m, path, disk->made_inode, disk->made_birth, timeout_ms, &ours, err) < 0)
		return -1;
	if (ours && !m->dst_obeyed && see_unused(m, path, timeout_ms, err) < 0)
		return -1;
	if (ours && host_file_remove(m->host, path, err) < 0)
		return -1;
	free(disk->made_path);
	disk->made_path = NULL;
	disk->made_inode = 0;
	return 0;
}

/* All it needs to know is m->id and of @disk the path, `making` and the inode: it looks before it
 * acts, so a process may do it that has made nothing, or once more. */
static int remove_made(struct migration *m, struct disk *disk, int64_t timeout_ms, struct err *err)
{
	if (disk->making && remove_temporary(m, disk, err) < 0)
		return -1;
	if (disk->made_path || disk->made_inode)
		return remove_named(m, disk, timeout_ms, err);
	return 0;
}

/* What of these could not be removed is said at once. */
static void remove_extras(struct migration *m, int64_t timeout_ms)
{
	for (size_t i = 0; i < m->extras.count; i++) {
		struct err err;

		if (remove_extra(m, &m->extras.list[i], timeout_ms, &err) < 0)
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
		if (!m->disks.list[i].making)
			m->disks.list[i].made_inode = 0;
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
