/* --clone: whether what the source's command line names is over there, or can be made. */
#include <linux/if_tun.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "migrate/clone_values.h"
#include "migrate/look.h"
#include "migrate/step_functions.h"

static enum file_kind kind_here(struct migration *m, const struct clone_file *file)
{
	_autofree_ char *path = source_path(m, file->src_path);
	struct file_info info;

	return host_file_info(m->here, path, &info, NULL) < 0 ? FILE_ABSENT : info.kind;
}

static bool see_there(struct migration *m, const struct clone_file *file, const char *path,
		      struct file_info *info)
{
	struct err err;

	if (host_file_info(m->host, path, info, &err) == 0)
		return true;
	if (!m->opt->dst.host) /* else it is said by SSH */
		err_wrap(&err, "%s", m->dst.name);
	problems_add(&m->problems,
		     "%s, which %s needs; make it there, or name another place with --map",
		     err.text, file->what);
	return false;
}

/* What QEMU makes in it has names of its own; where there is none, QEMU makes a file of its name
 * (memory-backend-file, -mem-path). */
static void look_at_directory(struct migration *m, const struct clone_file *file)
{
	struct file_info info;

	if (see_there(m, file, file->path, &info) && info.kind != FILE_DIRECTORY)
		problems_add(&m->problems,
			     "%s: there is no directory %s, which %s needs, as it is here; make it "
			     "there, or name another one with --map",
			     m->dst.name, file->path, file->what);
}

/* Another guest's would be mapped without a word. */
static void look_at_ram(struct migration *m, const struct clone_file *file)
{
	struct file_info info;

	if (!see_there(m, file, file->path, &info))
		return;
	if (info.kind == FILE_ABSENT)
		extras_add_ram(m, file);
	else if (info.kind == FILE_DIRECTORY) /* QEMU makes one without a name in it */
		return;
	else if (look_same_storage(m, file->src_path, file->path, NULL) == 1)
		problems_add(&m->problems,
			     "%s: %s is the source's own memory, which %s would put the guest's "
			     "in; name another place with --map",
			     m->dst.name, file->path, file->what);
	else
		problems_add(&m->problems,
			     "%s: %s exists already, in which %s would put the guest's memory; "
			     "remove it if no QEMU uses it, or name another place with --map",
			     m->dst.name, file->path, file->what);
}

/* As the source's QEMU has: one that is there only as long as that is (tun_flags of sysfs). */
static bool is_made_by_qemu(const struct migration *m, const struct clone_file *file)
{
	_autofree_ char *interface = source_path(m, file->src_path);
	_autofree_ char *path = str_printf("%s/tun_flags", interface);
	FILE *flags = file->use == CLONE_FILE_INTERFACE ? fopen(path, "re") : NULL;
	unsigned int bits;
	bool made = flags && fscanf(flags, "%x", &bits) == 1 && !(bits & IFF_PERSIST);

	if (flags)
		fclose(flags);
	return made;
}

static void tell_absent(struct migration *m, const struct clone_file *file)
{
	if (file->use == CLONE_FILE_INTERFACE)
		problems_add(
			&m->problems,
			"%s: there is no network interface %s, which %s needs: QEMU would make "
			"one that is in no bridge; make it there",
			m->dst.name, strrchr(file->path, '/') + 1, file->what);
	else if (file->use == CLONE_FILE_CONNECTED)
		problems_add(
			&m->problems,
			"%s: there is no %s, to which %s connects; start there what listens on "
			"it, or name another place with --map",
			m->dst.name, file->path, file->what);
	else if (clone_is_device(file->path))
		problems_add(&m->problems,
			     "%s: there is no device %s, which %s needs; name another one with "
			     "--map, or start a QEMU there without it (--start)",
			     m->dst.name, file->path, file->what);
	else
		problems_add(&m->problems,
			     "%s: there is no %s, which %s needs and which does not move; copy it "
			     "there%s, or name another place with --map",
			     m->dst.name, file->path, file->what,
			     extras_can_copy(file) ? " (--copy-extra does)" : "");
}

static void look_at_one_file(struct migration *m, const struct clone_file *file)
{
	_autofree_ char *directory = str_directory(file->path);
	enum file_kind here = kind_here(m, file);
	bool ram = file->use == CLONE_FILE_RAM && here != FILE_OTHER && here != FILE_BLOCK_DEVICE;
	bool created = file->use == CLONE_FILE_CREATED || ram;
	const char *path = created ? directory : file->path;
	struct file_info info;

	if (created && here == FILE_DIRECTORY)
		look_at_directory(m, file);
	else if (!see_there(m, file, path, &info))
		return;
	else if (info.kind == FILE_ABSENT && !created && extras_add(m, file))
		return;
	else if (info.kind == FILE_ABSENT && str_eq(file->what, CLONE_PROGRAM))
		problems_add(&m->problems,
			     "%s: there is no %s, which is the source's QEMU; install it there, or "
			     "name its place there with --map",
			     m->dst.name, path);
	else if (info.kind == FILE_ABSENT && is_made_by_qemu(m, file))
		migration_note(m,
			       "%s: QEMU makes %s there, as it did here; nobody but you puts it "
			       "into a bridge",
			       m->dst.name, strrchr(path, '/') + 1);
	else if (info.kind == FILE_ABSENT && !created)
		tell_absent(m, file);
	else if (info.kind == FILE_ABSENT)
		problems_add(
			&m->problems,
			"%s: there is no directory %s, in which %s makes a file; make it there, "
			"or name another place with --map",
			m->dst.name, path, file->what);
	else if (ram)
		look_at_ram(m, file);
}

/* QEMU takes a socket's path away from whoever listens there, and a file that two of one host
 * write to is the source's, too. True when that was objected to. */
static bool look_for_owner(struct migration *m, const struct clone_file *file)
{
	struct file_info info;
	struct stream *stream;
	bool listens;

	if (file->use == CLONE_FILE_READ || file->use == CLONE_FILE_INTERFACE ||
	    file->use == CLONE_FILE_CONNECTED || str_eq(file->path, m->opt->dst.socket) ||
	    host_file_info(m->host, file->path, &info, NULL) < 0 || info.kind == FILE_ABSENT ||
	    info.kind == FILE_DIRECTORY)
		return false;
	if (look_is_same_host(m) && look_same_storage(m, file->src_path, file->path, NULL) == 1) {
		problems_add(&m->problems,
			     "%s: %s of %s is the source's own; name another place with --map",
			     m->dst.name, file->path, file->what);
		return true;
	}
	stream = info.kind == FILE_OTHER ? host_unix_stream(m->host, file->path, NULL) : NULL;
	listens = stream != NULL;
	if (listens)
		problems_add(&m->problems,
			     "%s: a program listens on %s already, where %s makes a socket; end "
			     "it, or name another place with --map",
			     m->dst.name, file->path, file->what);
	stream_close(stream);
	return listens;
}

/* An argument says it of its own node only; QEMU knows it of all that a drive is, and a CD-ROM's
 * device writes to none. */
static bool only_reads(const struct qmp_drive *drive)
{
	return drive->read_only || str_eq(drive->type, "ide-cd") || str_eq(drive->type, "scsi-cd");
}

static void look_who_writes(struct migration *m, struct clone_file *file)
{
	bool read = false, written = false;

	for (size_t i = 0; i < m->src.drives.count; i++) {
		const struct qmp_drive *drive = &m->src.drives.list[i];
		_autofree_ char *path = disk_absolute_path(drive->file, m->src_cwd);

		if (!str_eq(path, file->src_path))
			continue;
		read |= only_reads(drive);
		written |= !only_reads(drive);
	}
	if (file->use == CLONE_FILE_WRITTEN && read && !written)
		file->use = CLONE_FILE_READ;
}

/* Without it that QEMU would end at once, after the disks were made. */
static void look_at_kvm(struct migration *m)
{
	struct file_info info;

	if (str_eq(m->accelerator, "kvm") &&
	    host_file_info(m->host, "/dev/kvm", &info, NULL) == 0 && info.kind == FILE_ABSENT)
		problems_add(&m->problems,
			     "%s: there is no /dev/kvm, and the source's QEMU runs under KVM; load "
			     "its module there (kvm_intel, kvm_amd)",
			     m->dst.name);
}

void look_at_clone_over_there(struct migration *m)
{
	if (!m->process.argv || !m->host)
		return;
	for (size_t i = 0; i < m->clone.files_count; i++) {
		look_who_writes(m, &m->clone.files[i]);
		if (!look_for_owner(m, &m->clone.files[i]))
			look_at_one_file(m, &m->clone.files[i]);
	}
	look_at_clone_user(m);
	look_at_kvm(m);
	look_at_cpu(m);
}
