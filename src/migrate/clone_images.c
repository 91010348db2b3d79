/* The images and media that are not the ones of the start any more: after a snapshot or a commit
 * another file is the top of a disk, a CD was changed or taken out.
 *
 * A drive is found on the command line by its -drive's id, or by its device and the -drive or the
 * node of -blockdev that this one names; a device without an id by what it names, or as the only
 * one of its type that names nothing that is in a drive any more. There the path and the format
 * become those of what is open now; all its other words (how it is cached, whether it discards)
 * stay, for QEMU keeps these for the new image, too. Where there are words of which that is not
 * known, it is refused.
 *
 * A disk that moves is copied whole, so over there its new file has nothing under it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/clone_changes.h"
#include "migrate/clone_values.h"
#include "migrate/clone_words.h"

/* Where a drive is on the command line. */
struct place {
	struct clone_item *device; /* its -device, or NULL */
	struct clone_item *image;  /* what has its path; NULL: it has no image there */
	struct clone_item *format; /* what has its format; NULL: nothing does (-cdrom) */
	struct clone_item *legacy; /* its -drive or -cdrom, which is both; NULL: it has none */
	const char *path_key;      /* NULL: the argument itself is the path */
	const char *format_key;
};

/* Of a -drive, of a node of -blockdev, and of the one under it: what may be there beside a path and
 * a format that change. */
static const char *const drive_words[] = {"if",
					  "id",
					  "index",
					  "bus",
					  "unit",
					  "media",
					  "format",
					  "file",
					  "cache",
					  "cache.*",
					  "aio",
					  "discard",
					  "readonly",
					  "read-only",
					  "werror",
					  "rerror",
					  "bps*",
					  "iops*",
					  "throttling.*",
					  "copy-on-read",
					  "detect-zeroes",
					  "auto-read-only",
					  "node-name",
					  "locking",
					  "file.locking",
					  "file.driver",
					  "file.filename",
					  NULL};
static const char *const node_words[] = {"driver",
					 "node-name",
					 "file",
					 "read-only",
					 "auto-read-only",
					 "discard",
					 "cache.*",
					 "detect-zeroes",
					 "force-share",
					 "file.driver",
					 "file.filename",
					 "file.node-name",
					 "file.cache.*",
					 "file.discard",
					 "file.aio",
					 "file.locking",
					 "file.read-only",
					 "file.auto-read-only",
					 NULL};
static const char *const file_words[] = {
	"driver",  "filename",  "node-name",      "discard",       "aio", "locking",
	"cache.*", "read-only", "auto-read-only", "detect-zeroes", NULL};

/* --- finding it --- */

/* Where a -drive has its path. */
static const char *path_key_of(const struct clone_item *item)
{
	_autofree_ char *name = clone_item_get(item, "file.filename");

	return name ? "file.filename" : "file";
}

static void find_legacy(struct place *place, struct clone_item *item)
{
	bool whole = clone_item_is(item, "-cdrom");

	place->legacy = place->image = item;
	place->path_key = whole ? NULL : path_key_of(item);
	place->format = whole ? NULL : item;
	place->format_key = "format";
}

static void find_nodes(struct changing *c, struct place *place, const char *name)
{
	struct clone_item *node = clone_line_find(&c->line, "-blockdev", "node-name", name);
	_autofree_ char *under = node ? clone_item_get(node, "file") : NULL;

	place->format = node;
	place->format_key = "driver";
	place->image = clone_line_find(&c->line, "-blockdev", "node-name", under);
	place->path_key = "filename";
	if (node && !under) {
		place->image = node;
		place->path_key = "file.filename";
	}
}

static bool is_in_chain(const struct qmp_drive *drive, const char *path)
{
	if (str_eq(drive->file, path))
		return true;
	for (size_t i = 0; i < drive->backing_count; i++)
		if (str_eq(drive->backing[i].file, path))
			return true;
	return false;
}

/* The path of a -drive without an id, or NULL. Caller frees. */
static char *anonymous_file(const struct clone_item *item)
{
	_autofree_ char *id = clone_item_is(item, "-drive") ? clone_item_get(item, "id") : NULL;

	return !id && clone_item_is(item, "-drive") ? clone_item_get(item, path_key_of(item))
						    : NULL;
}

/* Whether it is the image that some drive has now. */
static bool is_on_top(const struct changing *c, const char *file)
{
	for (size_t i = 0; i < c->m->src.drives.count; i++)
		if (str_eq(c->m->src.drives.list[i].file, file))
			return true;
	return false;
}

/* Those without an id: what -cdrom made by the name that it gets, others by what is, or was, their
 * image. */
static void find_anonymous(struct changing *c, struct place *place, const struct qmp_drive *drive)
{
	for (size_t i = 0; i < c->line.count; i++) {
		struct clone_item *item = &c->line.list[i];
		_autofree_ char *file = anonymous_file(item);

		if ((clone_item_is(item, "-cdrom") && strstr(drive->device, "-cd0")) ||
		    (file && (str_eq(file, drive->file) ||
			      (is_in_chain(drive, file) && !is_on_top(c, file)))))
			find_legacy(place, item);
	}
}

/* Whether it is in some drive. NULL is in none. */
static bool is_in_a_drive(const struct changing *c, const char *name)
{
	for (size_t i = 0; name && i < c->m->src.drives.count; i++)
		if (str_eq(c->m->src.drives.list[i].device, name) ||
		    str_eq(c->m->src.drives.list[i].node, name))
			return true;
	return false;
}

static struct clone_item *find_anonymous_device(struct changing *c, const struct qmp_drive *drive)
{
	struct clone_item *found = NULL;
	size_t count = 0;

	if (drive->id || !drive->qdev || !str_starts(drive->qdev, "/machine/peripheral-anon/"))
		return NULL;
	for (size_t i = 0; i < c->line.count; i++) {
		struct clone_item *item = &c->line.list[i];
		_autofree_ char *id = NULL, *type = NULL, *name = NULL;

		if (item->dropped || !clone_item_is(item, "-device"))
			continue;
		id = clone_item_get(item, "id");
		type = clone_item_get(item, "driver");
		name = clone_item_get(item, "drive");
		if (id || !str_eq(type, drive->type))
			continue;
		if (name && (str_eq(name, drive->device) || str_eq(name, drive->node)))
			return item;
		if (!is_in_a_drive(c, name)) {
			found = item;
			count++;
		}
	}
	return count == 1 ? found : NULL;
}

static void find_place(struct changing *c, struct place *place, const struct qmp_drive *drive)
{
	_autofree_ char *name = NULL;
	struct clone_item *legacy;

	*place = (struct place){.device = clone_line_find(&c->line, "-device", "id", drive->id)};
	if (!place->device)
		place->device = find_anonymous_device(c, drive);
	name = place->device ? clone_item_get(place->device, "drive") : NULL;
	legacy = clone_line_find(&c->line, "-drive", "id", drive->device ? drive->device : name);
	if (legacy)
		find_legacy(place, legacy);
	else if (name)
		find_nodes(c, place, name);
	else if (drive->device)
		find_anonymous(c, place, drive);
}

/* QEMU takes a colon before the first slash for a protocol, which is no path. */
static char *absolute(const struct changing *c, const char *name)
{
	const char *path = name && str_starts(name, "file:") ? name + strlen("file:") : name;

	if (path && path == name && path[strcspn(path, ":/")] == ':')
		return str_dup(path);
	return disk_absolute_path(path, c->m->src_cwd);
}

/* The path on the command line, absolute unless it is none; NULL: there is nothing. Caller
 * frees. */
static char *typed_path(const struct changing *c, const struct place *place)
{
	_autofree_ char *path = !place->image     ? NULL
				: place->path_key ? clone_item_get(place->image, place->path_key)
						  : str_dup(place->image->argument);

	return absolute(c, path);
}

/* --- changing it --- */

static void refuse(struct changing *c, const struct qmp_drive *drive, const char *why)
{
	_autofree_ char *what =
		drive->inserted
			? str_printf("disk %s: its image is %s now, not the one of the source's "
				     "command line (a snapshot, a commit or another medium since "
				     "its start)",
				     qmp_drive_name(drive), drive->file ? drive->file : "no file")
			: str_printf("drive %s: its medium was taken out since its start",
				     qmp_drive_name(drive));

	changing_refuse(c, what, why);
}

/* The word that stands against it, as a reason. Caller frees; NULL: there is none. */
static char *why_not_word(const struct clone_item *item, const char *const *allowed)
{
	_autofree_ char *key = item && item->argument ? clone_item_other_key(item, allowed) : NULL;

	return key ? str_printf("what its %s would mean for that one is not known", key) : NULL;
}

static char *why_not(struct changing *c, const struct place *place, const struct qmp_drive *drive)
{
	const char *why = clone_why_no_image(drive);
	char *word = NULL;

	if (why)
		return str_dup(why);
	if (place->legacy)
		return place->path_key ? why_not_word(place->legacy, drive_words) : NULL;
	if (!place->format || !place->image)
		return str_dup("where it is on the command line cannot be seen");
	word = why_not_word(place->format, node_words);
	if (!word && place->image != place->format)
		word = why_not_word(place->image, file_words);
	if (!word && clone_is_given_name(drive->node) &&
	    clone_line_find(&c->line, "-blockdev", "node-name", drive->node) &&
	    clone_line_find(&c->line, "-blockdev", "node-name", drive->node) != place->format)
		word = str_printf("%s is another -blockdev there", drive->node);
	return word;
}

/* What was opened under a new name has that name over there, too. */
static bool rename_node(struct place *place, const struct qmp_drive *drive)
{
	if (place->legacy || !clone_is_given_name(drive->node))
		return true;
	return clone_item_set(place->format, "node-name", drive->node) &&
	       (!place->device || clone_item_set(place->device, "drive", drive->node));
}

/* "file" opens no devices, "host_device" nothing else. */
static bool set_protocol(struct place *place, const char *path)
{
	const char *key = place->image == place->format ? "file.driver" : "driver";
	_autofree_ char *given = place->legacy ? clone_item_get(place->legacy, key) : NULL;

	return (place->legacy && !given) ||
	       clone_item_set(place->image, key, clone_is_device(path) ? "host_device" : "file");
}

static bool set_image(struct place *place, const struct qmp_drive *drive, const char *path)
{
	if (!place->path_key) {
		free(place->image->argument);
		place->image->argument = str_dup(path);
		return true;
	}
	return clone_item_set(place->image, place->path_key, path) &&
	       clone_item_set(place->format, place->format_key, drive->driver) &&
	       set_protocol(place, path) && rename_node(place, drive);
}

static bool moves(const struct changing *c, const struct qmp_drive *drive)
{
	for (size_t i = 0; i < c->m->disks.count; i++)
		if (c->m->disks.list[i].src == drive)
			return true;
	return false;
}

static void tell_changed(struct changing *c, const struct qmp_drive *drive, const char *path,
			 const char *typed)
{
	bool whole = moves(c, drive) && drive->backing_count && !c->m->incremental;

	problems_add(&c->m->repairs, "%s %s: its image is %s (%s) now, not %s%s",
		     moves(c, drive) ? "disk" : "drive", qmp_drive_name(drive), path, drive->driver,
		     typed ? typed : "none",
		     whole ? ": over there that holds all of it, with nothing under it" : "");
}

static void change(struct changing *c, struct place *place, const struct qmp_drive *drive,
		   const char *typed)
{
	_autofree_ char *path = disk_absolute_path(drive->file, c->m->src_cwd);
	_autofree_ char *why = why_not(c, place, drive);

	if (!why && set_image(place, drive, path))
		tell_changed(c, drive, path, typed);
	else
		refuse(c, drive,
		       why ? why : "its option is written in a way that cannot be changed");
}

/* A medium in a drive that had none, and no -drive. */
static void put_in(struct changing *c, struct place *place, const struct qmp_drive *drive)
{
	_autofree_ char *name = clone_is_given_name(drive->node)
					? str_dup(drive->node)
					: str_printf("medium-%zu", c->line.count);
	const char *why = clone_why_no_image(drive);

	if (why || !clone_item_set(place->device, "drive", name)) {
		refuse(c, drive, why ? why : "its -device cannot be changed");
		return;
	}
	tell_changed(c, drive, drive->file, NULL);
	clone_line_add(&c->line, "-blockdev", clone_node(c, drive, name));
}

/* What of a -drive is about its image: with nothing but these QEMU takes a drive for empty no more
 * ("Must specify either driver or file", 5.2 to 11.1). */
static const char *const image_words[] = {
	"file",           "format",        "node-name", "cache",        "cache.direct",
	"cache.no-flush", "discard",       "locking",   "file.locking", "auto-read-only",
	"file.driver",    "file.filename", NULL};

/* -cdrom is -drive media=cdrom,index=2. */
static bool empty_cdrom(struct clone_item *item)
{
	free(item->option);
	free(item->argument);
	item->option = str_dup("-drive");
	item->argument = str_dup("media=cdrom,index=2");
	item->known = clone_option_find(item->option);
	return true;
}

static bool empty_legacy(struct place *place)
{
	_autofree_ char *why = NULL;

	if (!place->path_key)
		return empty_cdrom(place->legacy);
	why = why_not_word(place->legacy, drive_words);
	for (const char *const *key = image_words; !why && *key; key++)
		clone_item_remove(place->legacy, *key);
	return !why;
}

static void take_out(struct changing *c, struct place *place, const struct qmp_drive *drive,
		     const char *typed)
{
	bool done = place->legacy ? empty_legacy(place)
				  : place->device && clone_item_remove(place->device, "drive");

	if (!done) {
		refuse(c, drive, "its option is written in a way that cannot be changed");
		return;
	}
	if (!place->legacy) {
		place->format->dropped = true;
		place->image->dropped = true;
	}
	problems_add(&c->m->repairs, "drive %s: is empty now, %s was taken out",
		     qmp_drive_name(drive), typed);
}

/* Whether it is a -drive that says nothing of an image, in whatever way. */
static bool is_empty_legacy(const struct place *place)
{
	static const char *const keys[] = {"driver", "file.driver", "file.filename"};

	for (size_t i = 0; place->legacy && i < sizeof(keys) / sizeof(keys[0]); i++) {
		_autofree_ char *value = clone_item_get(place->legacy, keys[i]);

		if (value)
			return false;
	}
	return place->legacy;
}

static void look_at_drive(struct changing *c, const struct qmp_drive *drive)
{
	_autofree_ char *path = disk_absolute_path(drive->file, c->m->src_cwd);
	_autofree_ char *typed = NULL;
	struct place place;

	find_place(c, &place, drive);
	typed = typed_path(c, &place);
	if (typed && !drive->inserted)
		take_out(c, &place, drive, typed);
	else if (typed && *typed == '/' && !str_eq(path, typed))
		change(c, &place, drive, typed);
	else if (!typed && drive->inserted && is_empty_legacy(&place))
		change(c, &place, drive, typed);
	else if (drive->inserted && place.device && !place.format && !place.legacy)
		put_in(c, &place, drive);
}

/* --- what nothing is known of --- */

static bool is_open(const struct changing *c, const char *path)
{
	for (size_t i = 0; i < c->m->src.drives.count; i++) {
		const struct qmp_drive *drive = &c->m->src.drives.list[i];
		_autofree_ char *file = disk_absolute_path(drive->file, c->m->src_cwd);

		if (str_eq(file, path) || is_in_chain(drive, path))
			return true;
	}
	return false;
}

/* Drives without an id: what is not in any of the guest's any more cannot be put in its place. */
static void look_at_anonymous(struct changing *c, struct clone_item *item)
{
	bool whole = clone_item_is(item, "-cdrom") || clone_item_is(item, "-fda") ||
		     clone_item_is(item, "-fdb");
	_autofree_ char *file = whole ? str_dup(item->argument) : anonymous_file(item);
	_autofree_ char *path = absolute(c, file);
	_autofree_ char *what = NULL;

	if (!path || *path != '/' || is_open(c, path))
		return;
	what = str_printf("%s %s", item->option, item->argument);
	changing_refuse(c, what,
			"no drive of the guest has that image any more, and which one it was "
			"cannot be seen, for it has no id");
}

void clone_change_images(struct changing *c)
{
	for (size_t i = 0; i < c->m->src.drives.count; i++)
		if (c->m->src.drives.list[i].qdev && !c->m->src.drives.list[i].temporary)
			look_at_drive(c, &c->m->src.drives.list[i]);
	for (size_t i = 0; i < c->line.count; i++)
		look_at_anonymous(c, &c->line.list[i]);
}
