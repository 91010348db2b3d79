#include "qmp/drives.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "qmp/call.h"

/* More drives than any machine type has room for. */
#define DRIVES_MAX 1024

/* The protocol driver's options inside a "json:" file name: QEMU writes them nested
 * ({"file": {"driver": "file", "filename": ...}}), users also flat ("file.filename"). */
static char *file_of_json(const char *text)
{
	_cleanup_json_ json_t *root = json_loads(text, 0, NULL);
	const json_t *node = root;
	const char *flat = qmp_str(root, "file.filename");

	while (json_is_object(json_object_get(node, "file")))
		node = json_object_get(node, "file");
	return str_dup(flat ? flat : qmp_str(node, "filename"));
}

/* A colon before the first slash is what QEMU takes for a protocol ("nbd:...",
 * "rbd:pool/image"): path_has_protocol() in its block.c. */
static bool has_protocol(const char *name)
{
	size_t n = strcspn(name, ":/");

	return name[n] == ':';
}

static char *file_of(const char *url)
{
	if (!url)
		return NULL;
	if (str_starts(url, "json:"))
		return file_of_json(url + strlen("json:"));
	if (str_starts(url, "file:"))
		return str_dup(url + strlen("file:"));
	return has_protocol(url) ? NULL : str_dup(url);
}

/* snapshot=on puts a qcow2 named vl.XXXXXX in $TMPDIR over the image (create_tmp_file()
 * of QEMU's block.c; the same name on 5.2 to 11.1). */
static bool is_temporary(const struct qmp_drive *drive)
{
	const char *base = drive->file ? strrchr(drive->file, '/') : NULL;

	return base && drive->backing_count && str_eq(drive->driver, "qcow2") &&
	       str_starts(base, "/vl.") && strlen(base) == strlen("/vl.XXXXXX");
}

static const json_t *specific_of(const json_t *image)
{
	return json_object_get(json_object_get(image, "format-specific"), "data");
}

/* Whether a "json:" name shows a part of its file only (raw's offset and size), or more than
 * one file (qcow2's data-file). */
static bool is_partial_json(const char *text)
{
	_cleanup_json_ json_t *root = json_loads(text, 0, NULL);
	const json_t *node = root;

	for (; json_is_object(node); node = json_object_get(node, "file"))
		if (json_object_get(node, "offset") || json_object_get(node, "size") ||
		    json_object_get(node, "data-file"))
			return true;
	return !root;
}

static bool is_partial(const json_t *image)
{
	const char *url = qmp_str(image, "filename");

	if (json_object_get(specific_of(image), "data-file"))
		return true;
	return url && str_starts(url, "json:") && is_partial_json(url + strlen("json:"));
}

static void parse_backing(struct qmp_backing *backing, const json_t *image)
{
	*backing = (struct qmp_backing){
		.format = str_dup(qmp_str(image, "format")),
		.url = str_dup(qmp_str(image, "filename")),
		.file = file_of(qmp_str(image, "filename")),
		.partial = is_partial(image),
		.virtual_size = qmp_u64(image, "virtual-size"),
	};
}

static void parse_chain(struct qmp_drive *drive, const json_t *image)
{
	while ((image = json_object_get(image, "backing-image"))) {
		size_t n = drive->backing_count++;

		drive->backing = mem_grow(drive->backing, n + 1, sizeof(*drive->backing));
		parse_backing(&drive->backing[n], image);
	}
}

static void parse_image(struct qmp_drive *drive, const json_t *image)
{

	drive->url = str_dup(qmp_str(image, "filename"));
	drive->file = file_of(drive->url);
	drive->virtual_size = qmp_u64(image, "virtual-size");
	drive->actual_size = qmp_u64(image, "actual-size");
	drive->cluster_size = qmp_u64(image, "cluster-size");
	parse_chain(drive, image);
	drive->compat = str_dup(qmp_str(specific_of(image), "compat"));
}

static void parse_inserted(struct qmp_drive *drive, const json_t *inserted)
{
	const json_t *cache = json_object_get(inserted, "cache");

	drive->inserted = true;
	drive->node = str_dup(qmp_str(inserted, "node-name"));
	drive->driver = str_dup(qmp_str(inserted, "drv"));
	drive->read_only = json_is_true(json_object_get(inserted, "ro"));
	drive->encrypted = json_is_true(json_object_get(inserted, "encrypted"));
	drive->direct = json_is_true(json_object_get(cache, "direct"));
	drive->no_flush = json_is_true(json_object_get(cache, "no-flush"));
	drive->detect_zeroes = str_dup(qmp_str(inserted, "detect_zeroes"));
	parse_image(drive, json_object_get(inserted, "image"));
	drive->temporary = is_temporary(drive);
}

static char *dup_nonempty(const char *s)
{
	return s && *s ? str_dup(s) : NULL;
}

/* The ID of /machine/peripheral/ID or /machine/peripheral/ID/virtio-backend; a qdev that is
 * no path is an id itself. */
static char *id_of(const char *qdev)
{
	static const char peripheral[] = "/machine/peripheral/";

	if (!qdev || (*qdev == '/' && !str_starts(qdev, peripheral)))
		return NULL;
	if (*qdev == '/')
		qdev += strlen(peripheral);
	return str_printf("%.*s", (int)strcspn(qdev, "/"), qdev);
}

static void parse_drive(struct qmp_drive *drive, const json_t *entry)
{
	const json_t *inserted = json_object_get(entry, "inserted");

	drive->device = dup_nonempty(qmp_str(entry, "device"));
	drive->qdev = dup_nonempty(qmp_str(entry, "qdev"));
	drive->id = id_of(drive->qdev);
	drive->removable = json_is_true(json_object_get(entry, "removable"));
	if (inserted)
		parse_inserted(drive, inserted);
}

/* query-block gives a qdev as an id or as a QOM path; qom-get takes both, an id as a
 * partial path. */
static int query_property(struct qmp *qmp, const char *path, const char *property, char **value,
			  struct err *err)
{
	_cleanup_json_ json_t *text = NULL;

	if (qmp_call(qmp, "qom-get", json_pack("{s:s, s:s}", "path", path, "property", property),
		     &text, err) < 0)
		return err->kind == ERR_QMP ? 0 : -1;
	*value = dup_nonempty(json_string_value(text));
	return 0;
}

static int query_type(struct qmp *qmp, struct qmp_drive *drive, struct err *err)
{
	return drive->qdev ? query_property(qmp, drive->qdev, "type", &drive->type, err) : 0;
}

/* The bus is a child of its controller, which has a link to its iothread, an empty one if it has
 * none. */
int qmp_drive_in_iothread(struct qmp *qmp, const struct qmp_drive *drive, struct err *err)
{
	_autofree_ char *bus = NULL, *iothread = NULL;

	if (!drive->qdev || query_property(qmp, drive->qdev, "parent_bus", &bus, err) < 0)
		return drive->qdev ? -1 : 0;
	if (!bus || !strrchr(bus, '/'))
		return 0;
	*strrchr(bus, '/') = '\0';
	if (query_property(qmp, bus, "iothread", &iothread, err) < 0)
		return -1;
	return iothread != NULL;
}

int qmp_drives_query(struct qmp *qmp, struct qmp_drives *drives, struct err *err)
{
	_cleanup_json_ json_t *list = NULL;
	json_t *entry;
	size_t i;

	*drives = (struct qmp_drives){0};
	if (qmp_call(qmp, "query-block", NULL, &list, err) < 0)
		return -1;
	if (json_array_size(list) > DRIVES_MAX)
		return err_set(err, ERR_FAILED, "%s: shows more than %d drives", qmp_name(qmp),
			       DRIVES_MAX);
	drives->list = mem_zalloc(json_array_size(list) + 1, sizeof(*drives->list));
	json_array_foreach (list, i, entry) {
		parse_drive(&drives->list[drives->count++], entry);
	}
	for (i = 0; i < drives->count; i++)
		if (query_type(qmp, &drives->list[i], err) < 0)
			return -1;
	return 0;
}

static void drive_deinit(struct qmp_drive *drive)
{
	free(drive->device);
	free(drive->qdev);
	free(drive->id);
	free(drive->type);
	free(drive->node);
	free(drive->driver);
	free(drive->file);
	free(drive->url);
	free(drive->compat);
	free(drive->detect_zeroes);
	for (size_t i = 0; i < drive->backing_count; i++) {
		free(drive->backing[i].format);
		free(drive->backing[i].file);
		free(drive->backing[i].url);
	}
	free(drive->backing);
}

void qmp_drives_deinit(struct qmp_drives *drives)
{
	for (size_t i = 0; i < drives->count; i++)
		drive_deinit(&drives->list[i]);
	free(drives->list);
	*drives = (struct qmp_drives){0};
}

const char *qmp_drive_name(const struct qmp_drive *drive)
{
	const char *const names[] = {
		drive->device, drive->node && drive->node[0] != '#' ? drive->node : NULL,
		drive->id,     drive->qdev,
		drive->node,
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i])
			return names[i];
	return "(unnamed)";
}

bool qmp_drive_is(const struct qmp_drive *drive, const char *name)
{
	return str_eq(drive->device, name) || str_eq(drive->node, name) ||
	       str_eq(drive->id, name) || str_eq(drive->qdev, name);
}
