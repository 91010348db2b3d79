/* --clone: the destination's QEMU is made out of the source's command line (clone_argv.h), and
 * started under a guard (guard.h).
 *
 * It is started in the foreground of a session of its own, also where the source's was told to
 * -daemonize: the effect is the same, and the guard knows whom to end. All paths are absolute by
 * then, so its working directory is the root.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "migrate/clone_changes.h"
#include "migrate/clone_options.h"
#include "migrate/look.h"
#include "migrate/scope.h"
#include "migrate/step_functions.h"
#include "qmp/machine.h"

/* What is read of a configuration file. */
#define CONFIG_MAX (1u << 20)

/* --- what it will be --- */

/* Where an image that moves goes; marks it as one that the command line names. */
static const char *disk_path(void *arg, const char *path)
{
	struct migration *m = arg;

	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (!str_eq(disk->src_path, path))
			continue;
		disk->on_command_line = true;
		return disk->dst_path;
	}
	return NULL;
}

static bool is_here(void *arg, const char *path)
{
	_autofree_ char *seen = source_path(arg, path);

	return access(seen, F_OK) == 0;
}

static bool is_monitor(void *arg, const char *path)
{
	const struct migration *m = arg;
	_autofree_ char *seen = source_path(m, path);
	struct stat monitor, st;

	return stat(m->opt->source, &monitor) == 0 && stat(seen, &st) == 0 &&
	       monitor.st_dev == st.st_dev && monitor.st_ino == st.st_ino;
}

/* The type without the "-machine" that QEMU puts behind it. */
static char *machine_of(struct migration *m)
{
	struct qmp_machine machine;
	struct err err;
	size_t len;

	if (qmp_machine_query(m->src.qmp, &machine, &err) < 0) {
		problems_add(&m->problems, "%s", err.text);
		return NULL;
	}
	len = strlen(machine.type);
	if (len < strlen("-machine"))
		problems_add(&m->problems, "source: its QEMU does not tell its machine type");
	return len < strlen("-machine")
		       ? NULL
		       : str_printf("%.*s", (int)(len - strlen("-machine")), machine.type);
}

/* What runs counts, not what was typed. */
static void look_for_other_images(struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (!m->disks.list[i].on_command_line)
			problems_add(
				&m->problems,
				"disk %s: its image is %s now, which the source's command line "
				"does "
				"not name (a snapshot, a commit or a hot-plug since its start): "
				"--clone cannot repeat that; start a QEMU over there that has it "
				"(--start)",
				m->disks.list[i].name,
				m->disks.list[i].src_path ? m->disks.list[i].src_path : "no file");
}

static bool is_on_command_line(const struct migration *m, const char *path)
{
	for (size_t i = 0; i < m->clone.files_count; i++)
		if (str_eq(m->clone.files[i].src_path, path))
			return true;
	for (size_t i = 0; i < m->disks.count; i++)
		if (str_eq(m->disks.list[i].src_path, path))
			return true;
	return false;
}

/* Media where it was not seen where on the command line they belong. What -readconfig says is not
 * known. */
static void look_for_other_media(struct migration *m)
{
	for (size_t i = 0; m->process.argv[i]; i++) {
		const struct clone_option *option = clone_option_find(m->process.argv[i]);

		if (option && str_eq(option->name, "-readconfig"))
			return;
	}
	for (size_t i = 0; i < m->src.drives.count; i++) {
		const struct qmp_drive *drive = &m->src.drives.list[i];
		_autofree_ char *path = disk_absolute_path(drive->file, m->src_cwd);

		if (drive->qdev && drive->inserted && !drive->temporary && path &&
		    (drive->removable || drive->read_only) && !is_on_command_line(m, path))
			problems_add(
				&m->problems,
				"drive %s: %s is in it now, which the source's command line "
				"does not name, and which of its drives that is cannot be seen: "
				"eject it, or start a QEMU over there that has it (--start)",
				qmp_drive_name(drive), path);
	}
}

/* What was put in for the changes is not of the source's command line either. */
static void mark_repairs(struct migration *m)
{
	for (size_t i = 0; i < m->clone.count; i++) {
		bool typed = false;

		for (size_t k = 0; !typed && m->process.argv[k]; k++)
			typed = str_eq(m->clone.argv[i], m->process.argv[k]);
		m->clone.changed[i] |= !typed;
	}
}

/* One that cannot be read, or is too long for this, may. */
static bool names_accelerator(void *arg, const char *path)
{
	_autofree_ char *seen = source_path(arg, path);
	_autofree_ char *text = mem_zalloc(1, CONFIG_MAX);
	struct stat st;
	bool is_file =
		stat(seen, &st) == 0 && S_ISREG(st.st_mode); /* and no pipe, which may wait */
	FILE *file = is_file ? fopen(seen, "re") : NULL;
	size_t n = file ? fread(text, 1, CONFIG_MAX - 1, file) : 0;

	if (file)
		fclose(file);
	return !file || n == CONFIG_MAX - 1 || strstr(text, "accel");
}

static void make_clone(struct migration *m)
{
	_autofree_ char *machine = machine_of(m);
	_autofree_ char *monitor = realpath(m->opt->source, NULL);
	char **argv = clone_changed_argv(m);
	struct clone_source source = {
		.argv = (const char *const *)argv,
		.program = m->process.program,
		.cwd = m->src_cwd,
		.machine = machine,
		.accelerator = m->accelerator,
		.maps = m->opt->maps,
		.monitor = monitor,
		.dst_monitor = m->opt->dst.socket,
		.disk_path = disk_path,
		.exists = is_here,
		.is_monitor = is_monitor,
		.names_accelerator = names_accelerator,
		.arg = m,
	};

	if (machine && monitor && argv) {
		size_t before = m->problems.count;

		clone_make(&source, &m->clone, &m->problems);
		mark_repairs(m);
		look_for_other_images(m);
		if (m->problems.count == before)
			look_for_other_media(m);
	}
	for (size_t i = 0; argv && argv[i]; i++)
		free(argv[i]);
	free(argv);
}

void look_at_clone(struct migration *m)
{
	struct err err;

	if (!m->src.qmp)
		return;
	if (!m->src_pid)
		problems_add(&m->problems,
			     "source: whose monitor %s is cannot be seen, so it cannot "
			     "be repeated (--clone); use --start",
			     m->opt->source);
	else if (source_process_read(&m->process, m->src_pid, &err) < 0)
		problems_add(
			&m->problems,
			"source: how its QEMU was started cannot be seen: %s; run vmferry as its "
			"user, or as root",
			err.text);
	else if (qmp_accelerator_query(m->src.qmp, m->accelerator, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
	else
		make_clone(m);
	look_at_console(m);
}

/* --- starting it --- */

/* Its files are those of the disks, then these by their temporary names; see files.c. */
int step_guard(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct guard_patience patience = {.answer_ms = timeout_ms, .silence_s = GUARD_SILENCE_S};
	size_t disks = m->disks.count, count = 2 * disks + m->extras.count;
	char **files = mem_zalloc(count + 1, sizeof(*files));

	for (size_t i = 0; i < disks; i++) {
		files[i] = str_dup(m->disks.list[i].dst_path);
		files[disks + i] = file_temporary_path(m, &m->disks.list[i]);
	}
	for (size_t i = 0; i < m->extras.count; i++)
		files[2 * disks + i] = str_dup(m->extras.list[i].file->path);
	m->guard = guard_start(m->loop, m->host, files, count, &patience, err);
	for (size_t i = 0; i < count; i++)
		free(files[i]);
	free(files);
	return m->guard ? 0 : -1;
}

/* By now its QEMU has ended and the files are removed, or it does that by itself when it sees the
 * connection gone. A QEMU that is left because it has the last of the guest lives on. */
int undo_guard(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int ret = 0;

	if (m->guard && m->dst_left)
		ret = guard_release(m->guard, timeout_ms, err);
	else if (m->guard)
		ret = guard_undo(m->guard, timeout_ms, err);
	guard_close(m->guard);
	m->guard = NULL;
	return ret < 0 && err->kind != ERR_CLOSED ? -1 : 0;
}

/* The words with which it is started; the list is the caller's to free, the words are not. */
static const char **words_of(const struct migration *m)
{
	const char **words =
		mem_zalloc(m->clone.count + 2 + CLONE_USER_WORDS + SCOPE_WORDS_MAX, sizeof(*words));
	size_t n = scope_words(m, words);

	n += clone_user_words(m, words + n);
	for (size_t i = 0; i < m->clone.count; i++)
		words[n++] = m->clone.argv[i];
	return words;
}

static bool has_ended(void *arg)
{
	return guard_program_ended(((struct migration *)arg)->guard);
}

int step_clone(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int64_t until_ms = loop_now_ms() + timeout_ms;
	const char **words;
	int ret;

	if (clone_user_give(m, timeout_ms, err) < 0)
		return -1;
	words = words_of(m);
	m->started_dst = true;
	ret = guard_run(m->guard, "/", (const char *const *)m->process.environment, words, err);
	free(words);
	if (ret < 0)
		return -1;
	ret = await_monitor(m, until_ms, has_ended, m, err);
	if (ret < 0 && has_ended(m))
		return err_set(err, ERR_FAILED, "%s: %s", m->dst.name, guard_last_words(m->guard));
	return ret;
}
