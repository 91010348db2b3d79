/* A device tells by its property "hotplugged" whether it came after the machine was complete
 * (seen on 5.2, 7.2, 10.0, 11.1); device-list-properties tells which properties its type has and
 * with which values these begin. What has another value now was given by the user, or filled in
 * when the device was made (addr, vectors, device_id, the geometry): given explicitly it makes
 * the same device, on the QEMU of another host, too.
 *
 * That holds for types whose properties say all about them. Only those of a list are repeated,
 * each of which was moved so. Never asked for are values that are no settings, and which jansson
 * does not read (guest-stats has numbers of 64 bits).
 */
#include "qmp/plugged.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "qmp/call.h"

#define DEVICES_MAX 1024
#define DEPTH_MAX 16

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && str_eq(s + n - m, end);
}

/* With a star at its end also -transitional and -non-transitional. */
static bool is_known_type(const char *type)
{
	static const char *const types[] = {
		"virtio-blk-pci*", "virtio-net-pci*", "virtio-scsi-pci*",
		"virtio-rng-pci*", "scsi-hd",         "scsi-cd",
		"e1000",           "rtl8139",         "usb-tablet",
		"usb-kbd",         "usb-mouse",       "pc-dimm",
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		size_t n = strcspn(types[i], "*");

		if (strncmp(type, types[i], n) == 0 &&
		    (!type[n] || (types[i][n] && (str_eq(type + n, "-transitional") ||
						  str_eq(type + n, "-non-transitional")))))
			return true;
	}
	return false;
}

static int get(struct qmp *qmp, const char *path, const char *property, json_t **value,
	       struct err *err)
{
	*value = NULL;
	return qmp_call(qmp, "qom-get", json_pack("{s:s, s:s}", "path", path, "property", property),
			value, err) < 0 &&
			       err->kind != ERR_QMP
		       ? -1
		       : 0;
}

static char *get_text(struct qmp *qmp, const char *path, const char *property, struct err *err)
{
	_cleanup_json_ json_t *value = NULL;

	return get(qmp, path, property, &value, err) < 0 ? NULL : str_dup(json_string_value(value));
}

/* --- settings --- */

/* Takes over @value. */
static void add_setting(struct qmp_settings *settings, const char *key, char *value)
{
	size_t n = settings->count++;

	settings->list = mem_grow(settings->list, settings->count, sizeof(*settings->list));
	settings->list[n] = (struct qmp_setting){.key = str_dup(key), .value = value};
}

const char *qmp_settings_get(const struct qmp_settings *settings, const char *key)
{
	for (size_t i = 0; i < settings->count; i++)
		if (str_eq(settings->list[i].key, key))
			return settings->list[i].value;
	return NULL;
}

void qmp_settings_deinit(struct qmp_settings *settings)
{
	for (size_t i = 0; i < settings->count; i++) {
		free(settings->list[i].key);
		free(settings->list[i].value);
	}
	free(settings->list);
	*settings = (struct qmp_settings){0};
}

/* NULL when it is neither text nor number. */
static char *text_of(const json_t *value)
{
	if (json_is_string(value))
		return str_dup(json_string_value(value));
	if (json_is_boolean(value))
		return str_dup(json_is_true(value) ? "on" : "off");
	return json_is_integer(value) ? str_printf("%lld", (long long)json_integer_value(value))
				      : NULL;
}

/* --- a device's properties --- */

struct property {
	const char *name, *kind;
	const json_t *initial; /* NULL: it has none */
};

/* Kinds that are no settings, or a consequence of others. */
static bool is_no_setting(const struct property *property)
{
	return str_starts(property->kind, "child<") || str_starts(property->kind, "guest ") ||
	       str_eq(property->kind, "busnr") || str_eq(property->kind, "link<device>") ||
	       str_eq(property->name, "size") || str_starts(property->name, "guest-stats");
}

/* A link: to an object by its id; one of the device's own is made with it. */
static void take_link(struct qmp_plugged *device, const struct property *property, const char *path)
{
	static const char objects[] = "/objects/";

	if (!*path || str_starts(path, device->path))
		return;
	if (str_starts(path, objects))
		add_setting(&device->settings, property->name, str_dup(path + strlen(objects)));
	else
		device->why_not = str_printf("its %s is %s", property->name, path);
}

/* A PCI address is a number here and "slot.function" on a command line. */
static char *setting_text(const struct qmp_plugged *device, const struct property *property,
			  const json_t *value)
{
	json_int_t n = json_integer_value(value);

	if (str_eq(property->name, "addr") && device->bus && json_is_integer(value))
		return n < 0 ? NULL : str_printf("%02x.%x", (unsigned)n >> 3, (unsigned)n & 7);
	return text_of(value);
}

/* Of a type without an initial value an empty string is what it is without the setting, but for
 * a ROM: "" takes away the one that the type has. */
static bool is_as_made(const struct property *property, const json_t *value)
{
	if (property->initial)
		return json_equal(property->initial, value);
	if (json_is_string(value))
		return !json_string_length(value) && !str_eq(property->name, "romfile");
	return !str_eq(property->name, "bootindex") || json_integer_value(value) < 0;
}

static void take_value(struct qmp_plugged *device, const struct property *property,
		       const json_t *value)
{
	char *text;

	if (!value || device->why_not || is_as_made(property, value))
		return;
	if (str_starts(property->kind, "link<")) {
		take_link(device, property,
			  json_string_value(value) ? json_string_value(value) : "");
		return;
	}
	if (json_is_array(value) && !json_array_size(value))
		return;
	text = setting_text(device, property, value);
	if (text)
		add_setting(&device->settings, property->name, text);
	else
		device->why_not = str_printf("its %s cannot be told", property->name);
}

static int ask_properties(struct qmp *qmp, struct qmp_plugged *device, struct err *err)
{
	_cleanup_json_ json_t *list = NULL;
	json_t *entry;
	size_t i;

	if (qmp_call(qmp, "device-list-properties", json_pack("{s:s}", "typename", device->type),
		     &list, err) < 0)
		return -1;
	json_array_foreach (list, i, entry) {
		struct property property = {qmp_str(entry, "name"), qmp_str(entry, "type"),
					    json_object_get(entry, "default-value")};
		_cleanup_json_ json_t *value = NULL;

		if (!property.name || !property.kind || is_no_setting(&property))
			continue;
		if (get(qmp, device->path, property.name, &value, err) < 0)
			return -1;
		take_value(device, &property, value);
	}
	return 0;
}

/* What a CPU can is the -cpu's business; its place is its own. */
static int ask_cpu(struct qmp *qmp, struct qmp_plugged *device, struct err *err)
{
	_cleanup_json_ json_t *list = NULL;
	json_t *entry, *value;
	const char *key;
	size_t i;

	if (qmp_call(qmp, "query-hotpluggable-cpus", NULL, &list, err) < 0)
		return err->kind == ERR_QMP ? 0 : -1;
	json_array_foreach (list, i, entry) {
		if (!str_eq(qmp_str(entry, "qom-path"), device->path))
			continue;
		json_object_foreach (json_object_get(entry, "props"), key, value) {
			char *text = text_of(value);

			if (text && !str_eq(key, "node-id"))
				add_setting(&device->settings, key, text);
			else
				free(text);
		}
	}
	if (!device->settings.count)
		device->why_not = str_dup("its place cannot be told");
	return 0;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int ask_device(struct qmp *qmp, struct qmp_plugged *device, struct err *err)
{
	_autofree_ char *bus = NULL;

	device->cpu = ends_with(device->type, "-cpu");
	if (device->cpu)
		return ask_cpu(qmp, device, err);
	if (!is_known_type(device->type)) {
		device->why_not = str_printf("what a %s was made with is not known", device->type);
		return 0;
	}
	err->kind = ERR_QMP;
	bus = get_text(qmp, device->path, "parent_bus", err);
	if (!bus && err->kind != ERR_QMP)
		return -1;
	if (bus && *bus)
		device->bus = str_dup(last_part(bus));
	return ask_properties(qmp, device, err);
}

/* --- which there are --- */

/* "child<virtio-net-pci>" gives the type. */
static char *type_of_child(const char *kind)
{
	static const char child[] = "child<";
	size_t n = kind ? strlen(kind) : 0;

	return kind && str_starts(kind, child) && kind[n - 1] == '>'
		       ? str_printf("%.*s", (int)(n - sizeof(child)), kind + sizeof(child) - 1)
		       : NULL;
}

static int take_child(struct qmp *qmp, struct qmp_changes *changes, const char *container,
		      const char *name, const char *type, struct err *err)
{
	_autofree_ char *path = str_printf("%s/%s", container, name);
	bool has_id = str_eq(container, "/machine/peripheral");
	_cleanup_json_ json_t *plugged = NULL;
	struct qmp_plugged *device;

	if (has_id) {
		changes->ids =
			mem_grow(changes->ids, changes->ids_count + 1, sizeof(*changes->ids));
		changes->ids[changes->ids_count++] = str_dup(name);
	}
	if (get(qmp, path, "hotplugged", &plugged, err) < 0)
		return -1;
	if (!json_is_true(plugged))
		return 0;
	changes->plugged =
		mem_grow(changes->plugged, changes->plugged_count + 1, sizeof(*changes->plugged));
	device = &changes->plugged[changes->plugged_count++];
	*device = (struct qmp_plugged){.id = has_id ? str_dup(name) : NULL,
				       .type = str_dup(type),
				       .path = str_take(&path)};
	return ask_device(qmp, device, err);
}

static int take_container(struct qmp *qmp, struct qmp_changes *changes, const char *container,
			  struct err *err)
{
	_cleanup_json_ json_t *list = NULL;
	json_t *entry;
	size_t i;

	if (qmp_call(qmp, "qom-list", json_pack("{s:s}", "path", container), &list, err) < 0)
		return err->kind == ERR_QMP ? 0 : -1;
	if (json_array_size(list) > DEVICES_MAX)
		return err_set(err, ERR_FAILED, "%s: shows more than %d devices", qmp_name(qmp),
			       DEVICES_MAX);
	json_array_foreach (list, i, entry) {
		_autofree_ char *type = type_of_child(qmp_str(entry, "type"));
		const char *name = qmp_str(entry, "name");

		if (type && name && take_child(qmp, changes, container, name, type, err) < 0)
			return -1;
	}
	return 0;
}

/* --- the order --- */

static bool owns_bus(const struct qmp_plugged *owner, const struct qmp_plugged *device)
{
	size_t n = owner->id ? strlen(owner->id) : 0;

	return n && device->bus && strncmp(device->bus, owner->id, n) == 0 &&
	       (device->bus[n] == '.' || !device->bus[n]);
}

/* QOM lists its children in no order. */
static void put_in_order(struct qmp_changes *changes)
{
	for (size_t i = 0; i < changes->plugged_count; i++)
		for (size_t k = i + 1; k < changes->plugged_count; k++) {
			struct qmp_plugged later = changes->plugged[k];

			if (!owns_bus(&later, &changes->plugged[i]))
				continue;
			memmove(&changes->plugged[i + 1], &changes->plugged[i],
				(k - i) * sizeof(*changes->plugged));
			changes->plugged[i] = later;
			k = i;
		}
}

int qmp_changes_query(struct qmp *qmp, struct qmp_changes *changes, struct err *err)
{
	*changes = (struct qmp_changes){0};
	if (take_container(qmp, changes, "/machine/peripheral", err) < 0 ||
	    take_container(qmp, changes, "/machine/peripheral-anon", err) < 0)
		return -1;
	put_in_order(changes);
	return 0;
}

void qmp_changes_deinit(struct qmp_changes *changes)
{
	for (size_t i = 0; i < changes->plugged_count; i++) {
		struct qmp_plugged *device = &changes->plugged[i];

		free(device->id);
		free(device->type);
		free(device->path);
		free(device->bus);
		free(device->why_not);
		qmp_settings_deinit(&device->settings);
	}
	for (size_t i = 0; i < changes->ids_count; i++)
		free(changes->ids[i]);
	free(changes->plugged);
	free(changes->ids);
	*changes = (struct qmp_changes){0};
}

bool qmp_changes_has(const struct qmp_changes *changes, const char *id)
{
	for (size_t i = 0; i < changes->ids_count; i++)
		if (str_eq(changes->ids[i], id))
			return true;
	return false;
}

bool qmp_changes_plugged(const struct qmp_changes *changes, const char *id)
{
	for (size_t i = 0; i < changes->plugged_count; i++)
		if (str_eq(changes->plugged[i].id, id))
			return true;
	return false;
}

/* --- backends --- */

/* What of an object is told, and how it is without being told. */
struct object_key {
	const char *type, *key, *initial; /* initial NULL: always told */
};

static const struct object_key object_keys[] = {
	{"memory-backend-ram", "size", NULL},
	{"memory-backend-ram", "share", "off"},
	{"memory-backend-ram", "merge", "on"},
	{"memory-backend-ram", "dump", "on"},
	{"memory-backend-ram", "prealloc", "off"},
	{"memory-backend-ram", "reserve", "on"},
	{"memory-backend-ram", "x-use-canonical-path-for-ramblock-id", NULL},
	{"iothread", "poll-max-ns", NULL},
	{"iothread", "poll-grow", NULL},
	{"iothread", "poll-shrink", NULL},
	{"rng-random", "filename", NULL},
	{"rng-builtin", NULL, NULL},
};

/* Memory that is bound to some of this host's nodes: another host has others. */
static int look_for_binding(struct qmp *qmp, const char *path, char **why_not, struct err *err)
{
	_cleanup_json_ json_t *policy = NULL;
	_cleanup_json_ json_t *nodes = NULL;

	if (get(qmp, path, "policy", &policy, err) < 0 ||
	    get(qmp, path, "host-nodes", &nodes, err) < 0)
		return -1;
	if ((policy && !str_eq(json_string_value(policy), "default")) || json_array_size(nodes))
		*why_not = str_dup("its memory is bound to nodes of this host");
	return 0;
}

static int take_object_key(struct qmp *qmp, const char *path, const struct object_key *key,
			   struct qmp_settings *settings, struct err *err)
{
	_cleanup_json_ json_t *value = NULL;
	char *text;

	if (!key->key)
		return 0;
	if (get(qmp, path, key->key, &value, err) < 0)
		return -1;
	text = text_of(value);
	if (text && !str_eq(text, key->initial))
		add_setting(settings, key->key, text);
	else
		free(text);
	return 0;
}

int qmp_object_query(struct qmp *qmp, const char *id, struct qmp_settings *settings, char **why_not,
		     struct err *err)
{
	_autofree_ char *path = str_printf("/objects/%s", id);
	_autofree_ char *type = NULL;
	bool known = false;

	*settings = (struct qmp_settings){0};
	*why_not = NULL;
	err->kind = ERR_QMP;
	type = get_text(qmp, path, "type", err);
	if (!type && err->kind != ERR_QMP)
		return -1;
	add_setting(settings, "qom-type", str_dup(type ? type : "?"));
	add_setting(settings, "id", str_dup(id));
	for (size_t i = 0; i < sizeof(object_keys) / sizeof(object_keys[0]); i++) {
		if (!str_eq(object_keys[i].type, type))
			continue;
		known = true;
		if (take_object_key(qmp, path, &object_keys[i], settings, err) < 0)
			return -1;
	}
	if (!known)
		*why_not = str_printf("what an object %s was made with is not known",
				      type ? type : "");
	return known && str_eq(type, "memory-backend-ram")
		       ? look_for_binding(qmp, path, why_not, err)
		       : 0;
}

static int ask_human(struct qmp *qmp, const char *line, json_t **answer, struct err *err)
{
	return qmp_call(qmp, "human-monitor-command", json_pack("{s:s}", "command-line", line),
			answer, err);
}

int qmp_netdev_query(struct qmp *qmp, const char *id, char **info, unsigned *queues,
		     struct err *err)
{
	_cleanup_json_ json_t *answer = NULL;
	_autofree_ char *wanted = str_printf("%s: index=", id);
	const char *line;

	*info = NULL;
	*queues = 0;
	if (ask_human(qmp, "info network", &answer, err) < 0)
		return -1;
	line = json_string_value(answer);
	for (; line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *name = line + strspn(line, " \\");
		int len = (int)strcspn(name, "\r\n");

		if (!str_starts(name, wanted) || strstr(name, "type=nic") == name)
			continue;
		if (!*info)
			*info = str_printf("%.*s", len - (int)strlen(id) - 2,
					   name + strlen(id) + 2);
		++*queues;
	}
	return 0;
}

int qmp_usernet_forwards(struct qmp *qmp, bool *forwards, struct err *err)
{
	_cleanup_json_ json_t *answer = NULL;
	const char *text;

	*forwards = true;
	if (ask_human(qmp, "info usernet", &answer, err) < 0)
		return -1;
	text = json_string_value(answer);
	*forwards = text && strstr(text, "HOST_FORWARD");
	return 0;
}
