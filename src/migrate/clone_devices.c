/* What was plugged and unplugged since the source's start. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/clone_changes.h"
#include "migrate/clone_words.h"
#include "qmp/tree.h"

/* --- unplugged --- */

/* Whether a device of the guest uses the -drive or the node @name. */
static bool is_used(const struct changing *c, const char *name)
{
	for (size_t i = 0; i < c->m->src.drives.count; i++) {
		const struct qmp_drive *drive = &c->m->src.drives.list[i];

		if (drive->qdev && (str_eq(drive->device, name) || str_eq(drive->node, name)))
			return true;
	}
	return false;
}

/* A node of -blockdev and the one under it. */
static void drop_node(struct changing *c, const char *name)
{
	struct clone_item *node = clone_line_find(&c->line, "-blockdev", "node-name", name);
	_autofree_ char *file = node ? clone_item_get(node, "file") : NULL;
	struct clone_item *under = clone_line_find(&c->line, "-blockdev", "node-name", file);

	if (node)
		node->dropped = true;
	if (under)
		under->dropped = true;
}

/* Its image would have to be over there for nothing. */
static void drop_drive(struct changing *c, const struct clone_item *device)
{
	_autofree_ char *name = clone_item_get(device, "drive");
	struct clone_item *drive = clone_line_find(&c->line, "-drive", "id", name);

	if (!name || is_used(c, name))
		return;
	if (drive)
		drive->dropped = true;
	drop_node(c, name);
}

static int drop_netdev(struct changing *c, const struct clone_item *device, struct err *err)
{
	_autofree_ char *name = clone_item_get(device, "netdev");
	struct clone_item *netdev = clone_line_find(&c->line, "-netdev", "id", name);
	_autofree_ char *info = NULL;
	unsigned queues;

	if (!netdev)
		return 0;
	if (qmp_netdev_query(c->m->src.qmp, name, &info, &queues, err) < 0)
		return -1;
	netdev->dropped = !info;
	return 0;
}

/* One that waits for its turn as the other of a failover pair is no device yet. */
static bool is_hidden(const struct clone_item *device)
{
	_autofree_ char *pair = clone_item_get(device, "failover_pair_id");

	return pair != NULL;
}

/* One that was unplugged and plugged in again is as it was plugged in. */
static int drop_unplugged(struct changing *c, struct clone_item *item, struct err *err)
{
	_autofree_ char *id = clone_item_get(item, "id");
	_autofree_ char *driver = clone_item_get(item, "driver");
	bool again = id && qmp_changes_plugged(&c->changes, id);

	if (!id || is_hidden(item) || (qmp_changes_has(&c->changes, id) && !again))
		return 0;
	item->dropped = true;
	if (again)
		return 0;
	problems_add(&c->m->repairs, "device %s (%s) was unplugged: its -device is left out", id,
		     driver ? driver : "?");
	drop_drive(c, item);
	return drop_netdev(c, item, err);
}

/* --- the places of the others --- */

/* QEMU has put them behind one that is not there now. */
static void pin(struct clone_item *item, const struct qmp_device *device)
{
	struct clone_words words;

	clone_words_parse(&words, device->where, NULL);
	for (size_t i = 0; i < words.count; i++) {
		_autofree_ char *given = clone_item_get(item, words.list[i].key);

		if (!given && words.list[i].value &&
		    !str_eq(words.list[i].value, "main-system-bus"))
			clone_item_set(item, words.list[i].key, words.list[i].value);
	}
	clone_words_deinit(&words);
}

static void pin_one(struct clone_item *item, const struct qmp_tree *tree)
{
	_autofree_ char *id = clone_item_get(item, "id");

	for (size_t i = 0; i < tree->count; i++)
		if (str_eq(tree->list[i].id, id))
			pin(item, &tree->list[i]);
}

static int pin_from(struct changing *c, size_t first, struct err *err)
{
	struct qmp_tree tree;
	int ret = qmp_tree_query(c->m->src.qmp, &tree, err);

	for (size_t i = first; ret == 0 && i < c->line.count; i++)
		if (clone_item_is(&c->line.list[i], "-device"))
			pin_one(&c->line.list[i], &tree);
	qmp_tree_deinit(&tree);
	return ret;
}

static int take_out(struct changing *c, struct err *err)
{
	size_t first = SIZE_MAX;

	for (size_t i = 0; i < c->line.count; i++) {
		struct clone_item *item = &c->line.list[i];

		if (!clone_item_is(item, "-device"))
			continue;
		if (drop_unplugged(c, item, err) < 0)
			return -1;
		if (item->dropped && first == SIZE_MAX)
			first = i;
	}
	return first == SIZE_MAX ? 0 : pin_from(c, first, err);
}

/* --- plugged --- */

static char *name_of(const struct qmp_plugged *device)
{
	return device->id ? str_printf("device %s (%s)", device->id, device->type)
			  : str_printf("device %s", device->type);
}

static void add_word(struct buf *b, const char *key, const char *value)
{
	_autofree_ char *text = clone_words_escape(value);

	buf_printf(b, ",%s=%s", key, text);
}

/* The backend that a setting names comes with it. False when it was objected to. */
static bool add_backend(struct changing *c, const struct qmp_plugged *device,
			struct qmp_setting *setting)
{
	if (str_eq(setting->key, "drive"))
		return clone_add_drive(c, device, &setting->value);
	if (str_eq(setting->key, "netdev"))
		return clone_add_netdev(c, device, setting->value);
	if (str_eq(setting->key, "memdev") || str_eq(setting->key, "iothread") ||
	    str_eq(setting->key, "rng"))
		return clone_add_object(c, device, setting->value);
	return true;
}

static void put_in(struct changing *c, const struct qmp_plugged *device)
{
	_autofree_ char *name = name_of(device);
	_autofree_ char *why = NULL;
	struct buf b = {0};

	if (device->why_not) {
		why = str_printf("was plugged in since its start, and %s", device->why_not);
		changing_refuse(c, name, why);
		return;
	}
	buf_printf(&b, "%s", device->type);
	if (device->id)
		add_word(&b, "id", device->id);
	if (device->bus)
		add_word(&b, "bus", device->bus);
	for (size_t i = 0; i < device->settings.count; i++) {
		struct qmp_setting *setting = &device->settings.list[i];

		if (!add_backend(c, device, setting)) {
			buf_deinit(&b);
			return;
		}
		add_word(&b, setting->key, setting->value);
	}
	problems_add(&c->m->repairs, "%s was plugged in: -device %s", name, b.data);
	clone_line_add(&c->line, "-device", b.data);
}

int clone_change_devices(struct changing *c, struct err *err)
{
	if (take_out(c, err) < 0)
		return -1;
	for (size_t i = 0; i < c->changes.plugged_count; i++)
		put_in(c, &c->changes.plugged[i]);
	return 0;
}
