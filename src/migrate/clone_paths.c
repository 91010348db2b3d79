/* Where a path of the source's is over there: the monitor's where the user wants it, an image
 * that moves where it moves to, all others by --map, absolute. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/clone_values.h"
#include "migrate/disk.h"

static bool is_one_of(const char *path, const char *const *list)
{
	for (; *list; list++)
		if (str_eq(path, *list))
			return true;
	return false;
}

static bool starts_with_one_of(const char *path, const char *const *list)
{
	for (; *list; list++)
		if (str_starts(path, *list))
			return true;
	return false;
}

/* Descriptors by another name. */
static bool is_descriptor(const char *path)
{
	static const char *const places[] = {"/dev/fdset/", "/dev/fd/", "/proc/self/fd/", NULL};

	return starts_with_one_of(path, places);
}

/* The same on every host: nothing to look for. */
static bool is_everywhere(const char *path)
{
	static const char *const devices[] = {"/dev/null",   "/dev/zero",    "/dev/full",
					      "/dev/random", "/dev/urandom", "/dev/stdin",
					      "/dev/stdout", "/dev/stderr",  NULL};

	return is_one_of(path, devices);
}

static bool is_cdrom_drive(const char *path)
{
	static const char *const drives[] = {"/dev/cdrom", "/dev/sr", "/dev/cd", "/dev/scd", NULL};

	return starts_with_one_of(path, drives);
}

bool clone_is_device(const char *path)
{
	return str_starts(path, "/dev/") && !str_starts(path, "/dev/shm/");
}

/* Whether @a and @b, absolute, are the same but for "//" and "/./". */
static bool same_path(const char *a, const char *b)
{
	for (;; a++, b++) {
		while (*a == '/' && (a[1] == '/' || (a[1] == '.' && a[2] == '/')))
			a += a[1] == '/' ? 1 : 2;
		while (*b == '/' && (b[1] == '/' || (b[1] == '.' && b[2] == '/')))
			b += b[1] == '/' ? 1 : 2;
		if (*a != *b || !*a)
			return *a == *b;
	}
}

static bool is_monitor(const struct clone_source *src, const char *path)
{
	return src->monitor && (same_path(path, src->monitor) ||
				(src->is_monitor && src->is_monitor(src->arg, path)));
}

/* Takes over @path and @src_path. */
static void list_file(struct cloning *cloning, char *path, char *src_path, enum clone_use use)
{
	struct clone *clone = cloning->clone;

	for (size_t i = 0; i < clone->files_count; i++) {
		struct clone_file *file = &clone->files[i];

		if (file->use == use && str_eq(file->path, path) &&
		    str_eq(file->src_path, src_path)) {
			free(path);
			free(src_path);
			return;
		}
	}
	clone->files = mem_grow(clone->files, clone->files_count + 1, sizeof(*clone->files));
	clone->files[clone->files_count++] = (struct clone_file){
		.path = path, .src_path = src_path, .use = use, .what = cloning->option};
}

char *clone_path(struct cloning *cloning, const char *path, enum clone_use use)
{
	_autofree_ char *src = NULL;
	_autofree_ char *dst = NULL;
	bool mapped;

	if (!*path || is_everywhere(path))
		return NULL;
	if (is_descriptor(path)) {
		cloning_refuse(cloning, NULL, path, "a descriptor of whoever started it");
		return NULL;
	}
	src = disk_absolute_path(path, cloning->cwd);
	if (*src != '/') {
		cloning_refuse(cloning, NULL, path,
			       "a relative path, and it is not known where QEMU was started");
		return NULL;
	}
	if (is_monitor(cloning->src, src)) {
		cloning->monitor_seen = true;
		dst = str_dup(cloning->src->dst_monitor);
	}
	if (!dst)
		dst = disk_map_path(src, cloning->src->maps, &mapped);
	list_file(cloning, str_dup(dst), str_take(&src), use);
	return str_eq(dst, path) ? NULL : str_take(&dst);
}

void clone_file_as_it_is(struct cloning *cloning, const char *path, enum clone_use use)
{
	list_file(cloning, str_dup(path), str_dup(path), use);
}

/* An image that does not move. One that is a device is another disk over there, which the
 * guest must not write to because it has the same name by chance. */
static char *image_that_stays(struct cloning *cloning, const char *path, const char *src,
			      enum clone_use use)
{
	_autofree_ char *why = NULL;
	bool mapped;

	free(disk_map_path(src, cloning->src->maps, &mapped));
	if (is_cdrom_drive(src)) {
		cloning_refuse(cloning, NULL, path, "a CD-ROM drive of this host; eject it");
	} else if (clone_is_device(src) && !is_everywhere(src) && !is_descriptor(src) && !mapped) {
		why = str_printf("a device of this host, which does not move; if the other host "
				 "has the same disk, say so with --map %s=%s",
				 src, src);
		cloning_refuse(cloning, NULL, path, why);
	} else {
		return clone_path(cloning, path, use);
	}
	return NULL;
}

char *clone_image_file(struct cloning *cloning, const char *path, enum clone_use use)
{
	const struct clone_source *src = cloning->src;
	_autofree_ char *absolute = disk_absolute_path(path, cloning->cwd);
	const char *moves = *path && src->disk_path ? src->disk_path(src->arg, absolute) : NULL;

	if (!moves)
		return image_that_stays(cloning, path, absolute, use);
	return str_eq(moves, path) ? NULL : str_dup(moves);
}

/* "json:{...}" */
static char *image_of_json(struct cloning *cloning, const char *name, enum clone_use use)
{
	static const char prefix[] = "json:";
	struct clone_words words;
	_autofree_ char *text = NULL;

	if (clone_words_parse(&words, name + strlen(prefix), "driver") && words.json) {
		cloning->read_only = use == CLONE_FILE_READ;
		clone_values(cloning, "blockdev", NULL, &words);
		cloning->read_only = false;
		text = clone_words_join(&words);
	} else {
		cloning_refuse(cloning, NULL, NULL, "the JSON of its image cannot be read");
	}
	clone_words_deinit(&words);
	return text ? str_printf("%s%s", prefix, text) : NULL;
}

/* Names that are not paths: QEMU takes a colon before the first slash for a protocol. Those
 * of the network (nbd:, rbd:, iscsi:, https:, ...) are over there what they are here. */
static char *image_of_protocol(struct cloning *cloning, const char *name, enum clone_use use)
{
	static const struct {
		const char *prefix, *why; /* why not; NULL: a path follows */
	} protocols[] = {
		{"file:", NULL},
		{"host_device:", NULL},
		{"host_cdrom:", "a CD-ROM drive of this host; eject it"},
		{"fat:", "QEMU does not migrate a guest with a folder of its host as a disk"},
		{"nvme:", "a device of this host, which does not move"},
		{"nbd:unix:", "write it as -blockdev nbd,server.type=unix,server.path=..."},
		{"nbd+unix:", "write it as -blockdev nbd,server.type=unix,server.path=..."},
		{"blkdebug:", "write it as -blockdev blkdebug,image.driver=..."},
		{"blkverify:", "write it as -blockdev blkverify,test.driver=..."},
	};

	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
		size_t len = strlen(protocols[i].prefix);
		_autofree_ char *path = NULL;

		if (!str_starts(name, protocols[i].prefix))
			continue;
		if (protocols[i].why)
			cloning_refuse(cloning, NULL, name, protocols[i].why);
		else
			path = clone_image_file(cloning, name + len, use);
		return path ? str_printf("%.*s%s", (int)len, name, path) : NULL;
	}
	return NULL;
}

char *clone_image(struct cloning *cloning, const char *name, enum clone_use use)
{
	if (str_starts(name, "json:"))
		return image_of_json(cloning, name, use);
	if (name[strcspn(name, ":/")] == ':')
		return image_of_protocol(cloning, name, use);
	return clone_image_file(cloning, name, use);
}
