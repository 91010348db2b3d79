/* What is behind a device that was plugged in: its image, its network, its objects. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "migrate/clone_changes.h"
#include "migrate/clone_values.h"
#include "migrate/clone_words.h"

static bool refuse(struct changing *c, const struct qmp_plugged *device, const char *what,
		   const char *name, const char *why)
{
	_autofree_ char *text = str_printf("device %s was plugged in since its start with %s %s",
					   device->id ? device->id : device->type, what, name);

	changing_refuse(c, text, why);
	return false;
}

/* --- images --- */

bool clone_is_given_name(const char *name)
{
	return name && *name && *name != '#';
}

const char *clone_why_no_image(const struct qmp_drive *drive)
{
	if (!drive->file)
		return "its image is no file";
	if (!str_eq(drive->driver, "raw") && !str_eq(drive->driver, "qcow2"))
		return "its image is neither raw nor qcow2";
	return drive->encrypted ? "its image is encrypted" : NULL;
}

static const char *on_off(bool on)
{
	return on ? "on" : "off";
}

/* QEMU tells everything of a node but whether it passes on what the guest discards; without that
 * holes of the image would not stay holes everywhere. */
char *clone_node(const struct changing *c, const struct qmp_drive *drive, const char *name)
{
	_autofree_ char *path = disk_absolute_path(drive->file, c->m->src_cwd);
	_autofree_ char *file = clone_words_escape(path);

	return str_printf("driver=%s,node-name=%s,read-only=%s,cache.direct=%s,cache.no-flush=%s,"
			  "discard=unmap%s%s,file.driver=%s,file.filename=%s",
			  drive->driver, name, on_off(drive->read_only), on_off(drive->direct),
			  on_off(drive->no_flush), drive->detect_zeroes ? ",detect-zeroes=" : "",
			  drive->detect_zeroes ? drive->detect_zeroes : "",
			  clone_is_device(path) ? "host_device" : "file", file);
}

/* The same for one that has a name as a -drive has it, of the human monitor's drive_add. */
static char *legacy_drive(const struct changing *c, const struct qmp_drive *drive, const char *name)
{
	_autofree_ char *path = disk_absolute_path(drive->file, c->m->src_cwd);
	_autofree_ char *file = path ? clone_words_escape(path) : NULL;

	if (!drive->inserted)
		return str_printf("if=none,id=%s", name);
	return str_printf("if=none,id=%s,readonly=%s,cache.direct=%s,cache.no-flush=%s,"
			  "discard=unmap%s%s,format=%s,file=%s",
			  name, on_off(drive->read_only), on_off(drive->direct),
			  on_off(drive->no_flush), drive->detect_zeroes ? ",detect-zeroes=" : "",
			  drive->detect_zeroes ? drive->detect_zeroes : "", drive->driver, file);
}

/* query-block names a device by its id, or its path, or that of a part of it. */
static const struct qmp_drive *drive_of(const struct changing *c, const struct qmp_plugged *device)
{
	size_t len = strlen(device->path);

	for (size_t i = 0; i < c->m->src.drives.count; i++) {
		const struct qmp_drive *drive = &c->m->src.drives.list[i];

		if (!drive->qdev)
			continue;
		if (str_eq(drive->qdev, device->id) ||
		    (strncmp(drive->qdev, device->path, len) == 0 &&
		     (!drive->qdev[len] || drive->qdev[len] == '/')))
			return drive;
	}
	return NULL;
}

bool clone_add_drive(struct changing *c, const struct qmp_plugged *device, char **name)
{
	const struct qmp_drive *drive = drive_of(c, device);
	const char *why;

	if (clone_line_find(&c->line, "-drive", "id", *name) ||
	    clone_line_find(&c->line, "-blockdev", "node-name", *name))
		return true;
	if (!drive)
		return refuse(c, device, "the drive", *name, "which QEMU does not show");
	why = drive->inserted ? clone_why_no_image(drive) : NULL;
	if (why)
		return refuse(c, device, "the drive", *name, why);
	if (drive->device) {
		clone_line_add(&c->line, "-drive", legacy_drive(c, drive, *name));
		return true;
	}
	if (!clone_is_given_name(*name)) {
		free(*name);
		*name = str_printf("plugged-%zu", c->line.count);
	}
	clone_line_add(&c->line, "-blockdev", clone_node(c, drive, *name));
	return true;
}

/* --- networks --- */

/* Of the user's network its address and whether it is restricted are told, and in another place
 * what it forwards; what may be seen only by whoever asks in the guest (dns, tftp, smb, hostname)
 * is not, and that is said. */
static const char *why_no_user(struct changing *c, const struct clone_words *words)
{
	const char *net = clone_words_get(words, "net");
	bool forwards;
	struct err err;

	if (!str_eq(net, "10.0.2.0") && !str_eq(net, "10.0.2.0/24"))
		return "its addresses are not those that a user network has by itself, and QEMU "
		       "does not tell all of them";
	if (qmp_usernet_forwards(c->m->src.qmp, &forwards, &err) < 0 || forwards)
		return "ports of this host are forwarded to user networks, and QEMU does not tell "
		       "all of that";
	return NULL;
}

/* Whether a tap's queues are vhost's is told by no command; but no descriptor, no vhost. */
static bool may_have_vhost(const struct changing *c)
{
	_autofree_ char *path = str_printf("/proc/%d/fd", (int)c->m->src_pid);
	DIR *directory = opendir(path);
	struct dirent *entry;
	bool found = !directory;

	while (!found && (entry = readdir(directory))) {
		char target[64];
		ssize_t n = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		found = str_starts(target, "/dev/vhost-net");
	}
	if (directory)
		closedir(directory);
	return found;
}

static const char *why_no_tap(const struct changing *c, const struct clone_words *words)
{
	if (!clone_words_get(words, "ifname") || !clone_words_get(words, "script"))
		return "it is a descriptor of whoever gave it to QEMU";
	return may_have_vhost(c) ? "whether it is one of vhost's QEMU does not tell" : NULL;
}

/* The words of a -netdev, out of those of `info network`; NULL and *@why if there are none. */
static char *netdev_words(struct changing *c, const char *name, const char *info, unsigned queues,
			  const char **why)
{
	struct clone_words words;
	const char *type;
	char *text = NULL;

	clone_words_parse(&words, info, NULL);
	type = clone_words_get(&words, "type");
	if (queues > 1)
		*why = "it has several queues";
	else if (str_eq(type, "user"))
		*why = why_no_user(c, &words);
	else if (str_eq(type, "tap"))
		*why = why_no_tap(c, &words);
	else
		*why = "what it was made with QEMU does not tell";
	if (!*why && str_eq(type, "user"))
		text = str_printf("user,id=%s,restrict=%s", name,
				  clone_words_get(&words, "restrict"));
	else if (!*why)
		text = str_printf("tap,id=%s,ifname=%s,script=%s,downscript=%s", name,
				  clone_words_get(&words, "ifname"),
				  clone_words_get(&words, "script"),
				  clone_words_get(&words, "downscript"));
	clone_words_deinit(&words);
	return text;
}

bool clone_add_netdev(struct changing *c, const struct qmp_plugged *device, const char *name)
{
	_autofree_ char *info = NULL;
	const char *why = NULL;
	unsigned queues;
	struct err err;
	char *text;

	if (clone_line_find(&c->line, "-netdev", "id", name))
		return true;
	if (qmp_netdev_query(c->m->src.qmp, name, &info, &queues, &err) < 0 || !info)
		return refuse(c, device, "the network", name,
			      info ? "" : "which QEMU does not show");
	text = netdev_words(c, name, info, queues, &why);
	if (!text)
		return refuse(c, device, "the network", name, why);
	clone_line_add(&c->line, "-netdev", text);
	if (str_starts(text, "user,"))
		problems_add(&c->m->repairs,
			     "network %s was added: whether it was given dns=, hostname=, tftp= or "
			     "smb= QEMU does not tell, and it has none over there",
			     name);
	return true;
}

/* --- objects --- */

bool clone_add_object(struct changing *c, const struct qmp_plugged *device, const char *name)
{
	_autofree_ char *why = NULL;
	struct qmp_settings settings;
	struct buf b = {0};
	struct err err;

	if (clone_line_find(&c->line, "-object", "id", name))
		return true;
	if (qmp_object_query(c->m->src.qmp, name, &settings, &why, &err) < 0)
		why = str_dup(err.text);
	for (size_t i = 0; i < settings.count; i++) {
		_autofree_ char *value = clone_words_escape(settings.list[i].value);

		buf_printf(&b, "%s%s=%s", i ? "," : "", settings.list[i].key, value);
	}
	qmp_settings_deinit(&settings);
	if (why) {
		buf_deinit(&b);
		return refuse(c, device, "the object", name, why);
	}
	clone_line_add(&c->line, "-object", b.data);
	return true;
}
