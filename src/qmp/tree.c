/* How the tree is asked for: the devices of -device, -drive if=virtio and device_add are the
 * children of two QOM containers; each tells its bus (parent_bus), the bus its type, and that
 * which properties place a device on it. QEMU has put the value that it chose itself into
 * them by then. Many questions are under way at a time. query-qmp-schema or a walk through all
 * properties would be fewer, but each of these is short: 33 devices take 0.1 s and 200 take
 * 0.6 s (7.2, KVM, two busy cores, 0.8 ms a question), and the guest beats as when nobody
 * asks: its longest gap in a check is 4 to 14 ms, thrice 20 to 38 of 14 checks; when idle, 2 to
 * 18; in query-qmp-schema, 21 to 80.
 *
 * A place is put together from the top: the bus of the board by its name, then the address on
 * it, then the address on the bus of that device, and so on. So it has no id in it, nor the
 * number of a device without one, which may both differ between the sides.
 *
 * -nic, -vga, -usb and the defaults make devices that are no children of those containers but
 * stand among the board's own in /machine/unattached. There the types have other names from
 * one version to the next ("ICH9 SMB" is "ICH9-SMB", "PIIX4_PM" has new children), so only
 * those of a few names are taken from it; and what is on the first PCI bus is taken from
 * query-pci, with its PCI ids, which are the guest's own view of it.
 *
 * Not compared:
 * - the port of a USB device, of which QEMU dies, too ("0000:00:01.2/1/usb-ptr"): it tells it
 *   only where the user gave one;
 * - the bus of an NVMe namespace: it is the controller's in 7.2 and the subsystem's in 10.0;
 * - built-in PCI devices behind bridges: query-pci shows them only once a firmware ran;
 * - CPUs, which machine.c sees, whoever made them; and `loader`, no device of the guest.
 *
 * Seen equal, with the machine types 5.2 and 7.2 of pc and q35, 50 devices of 40 types, with and
 * without -nodefaults: 7.2 and 7.2, 5.2 and 7.2, 7.2 and 10.0, 7.2 and 11.1, 10.0 and 11.1.
 */
#include "qmp/tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "qmp/call.h"

/* More than any board has room for; and how deep a bus on a bus may be. */
#define DEVICES_MAX 1024
#define DEPTH_MAX 16

#define ADDRESS_MAX 3

/* As many questions are under way at a time; qmp.c has a limit for all of them. */
#define BATCH 64

/* What places a device on a bus of this type. */
struct bus_type {
	const char *type;
	bool pci;      /* one address "05.0"; the bus is its owner's only one */
	bool anywhere; /* the bus itself does not count */
	const char *address[ADDRESS_MAX + 1];
};

static const struct bus_type bus_types[] = {
	{"PCI", .pci = true, .address = {"addr"}},
	{"PCIE", .pci = true, .address = {"addr"}},
	{"pxb-bus", .pci = true, .address = {"addr"}},
	{"pxb-pcie-bus", .pci = true, .address = {"addr"}},
	{"SCSI", .address = {"channel", "scsi-id", "lun"}},
	{"IDE", .address = {"unit"}},
	{"floppy-bus", .address = {"unit"}},
	{"virtio-serial-bus", .address = {"nr"}},
	{"HDA", .address = {"cad"}},
	{"ISA", .address = {"iobase"}},
	{"nvme-bus", .anywhere = true, .address = {"nsid"}},
};

/* Memory has no bus. */
static const struct bus_type no_bus = {"", .anywhere = true, .address = {"slot"}};
static const struct bus_type other_bus = {"", .address = {NULL}};

/* One bus, and one device while it is asked about. */
struct bus {
	char *path;
	const struct bus_type *type;
};

struct node {
	char *path;
	char *bus_path; /* NULL: none */
	const struct bus_type *bus;
	json_int_t address[ADDRESS_MAX]; /* -1: not told */
};

/* One qom-get. */
struct question {
	const char *path, *property; /* borrowed */
	json_t *answer;              /* NULL: QEMU refused */
};

struct asking {
	struct qmp *qmp;
	struct qmp_tree *tree;
	struct node *nodes; /* one for each device of the tree */
	struct bus *buses;
	size_t bus_count;
};

/* --- questions, many at a time --- */

static struct qmp_request *send_get(struct qmp *qmp, const char *path, const char *property)
{
	return qmp_send(qmp, "qom-get",
			json_pack("{s:s, s:s}", "path", path, "property", property));
}

/* All are sent before an answer is taken. QEMU's refusal of one is no error. */
static int ask_batch(struct qmp *qmp, struct question *list, size_t count, struct err *err)
{
	struct qmp_request *requests[BATCH];
	int ret = 0;

	for (size_t i = 0; i < count; i++)
		requests[i] = send_get(qmp, list[i].path, list[i].property);
	for (size_t i = 0; i < count; i++) {
		if (ret < 0)
			qmp_forget(requests[i]);
		else if (qmp_take(requests[i], &list[i].answer, err) < 0 && err->kind != ERR_QMP)
			ret = -1;
	}
	return ret;
}

static int ask_all(struct qmp *qmp, struct question *list, size_t count, struct err *err)
{
	for (size_t done = 0; done < count; done += BATCH) {
		size_t left = count - done;

		if (ask_batch(qmp, list + done, left < BATCH ? left : BATCH, err) < 0)
			return -1;
	}
	return 0;
}

static void questions_free(struct question *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		json_decref(list[i].answer);
	free(list);
}

/* --- which devices there are --- */

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && str_eq(s + n - m, end);
}

static bool is_left_out(const char *type)
{
	return ends_with(type, "-cpu") || ends_with(type, "-cpu-core") || str_eq(type, "loader");
}

/* Those of the board's own devices that options make: -serial, -parallel, -usbdevice. */
static bool is_chosen(const char *type)
{
	return str_eq(type, "isa-serial") || str_eq(type, "isa-parallel") ||
	       str_starts(type, "usb-");
}

static const struct container {
	const char *path;
	bool ids; /* its children are called by their ids */
	bool all; /* or only those of is_chosen() */
} containers[] = {
	{"/machine/peripheral", .ids = true, .all = true},
	{"/machine/peripheral-anon", .all = true},
	{"/machine/unattached", .all = false},
};

static struct qmp_device *add_device(struct asking *a)
{
	struct qmp_tree *tree = a->tree;

	tree->list = mem_grow(tree->list, tree->count + 1, sizeof(*tree->list));
	a->nodes = mem_grow(a->nodes, tree->count + 1, sizeof(*a->nodes));
	a->nodes[tree->count] = (struct node){.bus = &no_bus, .address = {-1, -1, -1}};
	tree->list[tree->count] = (struct qmp_device){.parent = QMP_NO_PARENT};
	return &tree->list[tree->count++];
}

/* "child<virtio-net-pci>" gives the type; NULL for a property that is no child. */
static char *type_of_child(const char *kind)
{
	static const char child[] = "child<";
	size_t n = kind ? strlen(kind) : 0;

	if (!kind || !str_starts(kind, child) || kind[n - 1] != '>')
		return NULL;
	return str_printf("%.*s", (int)(n - sizeof(child)), kind + sizeof(child) - 1);
}

static void take_child(struct asking *a, const struct container *from, const json_t *entry)
{
	_autofree_ char *type = type_of_child(qmp_str(entry, "type"));
	const char *name = qmp_str(entry, "name");
	struct qmp_device *device;

	if (!type || !name || is_left_out(type) || (!from->all && !is_chosen(type)))
		return;
	device = add_device(a);
	device->id = from->ids ? str_dup(name) : NULL;
	device->type = str_take(&type);
	a->nodes[a->tree->count - 1].path = str_printf("%s/%s", from->path, name);
}

static int too_many(const struct qmp *qmp, struct err *err)
{
	return err_set(err, ERR_FAILED, "%s: shows more than %d devices", qmp_name(qmp),
		       DEVICES_MAX);
}

static int list_devices(struct asking *a, const struct container *from, struct err *err)
{
	_cleanup_json_ json_t *list = NULL;
	json_t *entry;
	size_t i;

	if (qmp_call(a->qmp, "qom-list", json_pack("{s:s}", "path", from->path), &list, err) < 0)
		return err->kind == ERR_QMP ? 0 : -1;
	json_array_foreach (list, i, entry) {
		if (a->tree->count == DEVICES_MAX)
			return too_many(a->qmp, err);
		take_child(a, from, entry);
	}
	return 0;
}

/* --- where each is --- */

static const struct bus_type *bus_type_of(const char *type)
{
	for (size_t i = 0; i < sizeof(bus_types) / sizeof(bus_types[0]); i++)
		if (str_eq(bus_types[i].type, type))
			return &bus_types[i];
	return &other_bus;
}

static struct bus *find_bus(struct asking *a, const char *path)
{
	for (size_t i = 0; i < a->bus_count; i++)
		if (str_eq(a->buses[i].path, path))
			return &a->buses[i];
	return NULL;
}

static void take_bus(struct asking *a, struct node *node, const char *path)
{
	if (!path || !*path)
		return;
	node->bus_path = str_dup(path);
	if (find_bus(a, path))
		return;
	a->buses = mem_grow(a->buses, a->bus_count + 1, sizeof(*a->buses));
	a->buses[a->bus_count++] = (struct bus){.path = str_dup(path), .type = &other_bus};
}

static int ask_buses(struct asking *a, struct err *err)
{
	size_t count = a->tree->count;
	struct question *list = mem_zalloc(count + 1, sizeof(*list));
	int ret;

	for (size_t i = 0; i < count; i++)
		list[i] = (struct question){a->nodes[i].path, "parent_bus", NULL};
	ret = ask_all(a->qmp, list, count, err);
	for (size_t i = 0; i < count; i++)
		take_bus(a, &a->nodes[i], json_string_value(list[i].answer));
	questions_free(list, count);
	return ret;
}

static int ask_bus_types(struct asking *a, struct err *err)
{
	struct question *list = mem_zalloc(a->bus_count + 1, sizeof(*list));
	int ret;

	for (size_t i = 0; i < a->bus_count; i++)
		list[i] = (struct question){a->buses[i].path, "type", NULL};
	ret = ask_all(a->qmp, list, a->bus_count, err);
	for (size_t i = 0; i < a->bus_count; i++)
		a->buses[i].type = bus_type_of(json_string_value(list[i].answer));
	questions_free(list, a->bus_count);
	for (size_t i = 0; i < a->tree->count; i++)
		if (a->nodes[i].bus_path)
			a->nodes[i].bus = find_bus(a, a->nodes[i].bus_path)->type;
	return ret;
}

static int ask_addresses(struct asking *a, struct err *err)
{
	struct question *list = mem_zalloc(a->tree->count * ADDRESS_MAX + 1, sizeof(*list));
	json_int_t **answers = mem_zalloc(a->tree->count * ADDRESS_MAX + 1, sizeof(*answers));
	size_t count = 0;
	int ret;

	for (size_t i = 0; i < a->tree->count; i++)
		for (int n = 0; a->nodes[i].bus->address[n]; n++) {
			answers[count] = &a->nodes[i].address[n];
			list[count++] = (struct question){a->nodes[i].path,
							  a->nodes[i].bus->address[n], NULL};
		}
	ret = ask_all(a->qmp, list, count, err);
	for (size_t i = 0; i < count; i++)
		if (json_is_integer(list[i].answer))
			*answers[i] = json_integer_value(list[i].answer);
	questions_free(list, count);
	free(answers);
	return ret;
}

/* --- the place, from the answers --- */

/* The device whose path @bus_path begins with; QMP_NO_PARENT for a bus of the board. */
static size_t owner_of(const struct asking *a, const char *bus_path)
{
	for (size_t i = 0; i < a->tree->count; i++) {
		size_t n = strlen(a->nodes[i].path);

		if (strncmp(a->nodes[i].path, bus_path, n) == 0 && bus_path[n] == '/')
			return i;
	}
	return QMP_NO_PARENT;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The first PCI bus, which query-pci calls 0, has two names. */
static bool is_first_pci(const struct node *node)
{
	const char *name = node->bus_path ? last_part(node->bus_path) : NULL;

	return node->bus->pci && (str_eq(name, "pci.0") || str_eq(name, "pcie.0"));
}

/* "05.0", as QEMU, lspci and the guest write it. */
static void add_pci_address(struct buf *b, json_int_t devfn)
{
	if (devfn >= 0 && devfn < 256)
		buf_printf(b, "%02x.%x", (unsigned)devfn >> 3, (unsigned)devfn & 7);
}

static void add_address(struct buf *b, const struct node *node)
{
	if (node->bus->pci) {
		add_pci_address(b, node->address[0]);
		return;
	}
	for (int n = 0; node->bus->address[n]; n++)
		buf_printf(b, "%s%lld", n ? ":" : "", (long long)node->address[n]);
}

/* The bus of a device: which of its owner's it is, by the number behind its name (ahci.2). */
static void add_owned_bus(struct buf *b, const struct node *node)
{
	const char *dot = strrchr(last_part(node->bus_path), '.');

	if (!node->bus->pci)
		buf_printf(b, "%s/", dot ? dot : "");
}

static void add_place(struct buf *b, const struct asking *a, size_t i, int depth)
{
	const struct node *node = &a->nodes[i];
	size_t owner = a->tree->list[i].parent;

	if (owner != QMP_NO_PARENT && !node->bus->anywhere && depth < DEPTH_MAX) {
		add_place(b, a, owner, depth + 1);
		buf_printf(b, "/");
		add_owned_bus(b, node);
	} else if (node->bus_path && !node->bus->anywhere) {
		buf_printf(b, "%s/", is_first_pci(node) ? "pci" : last_part(node->bus_path));
	}
	add_address(b, node);
}

static char *where_of(const struct node *node)
{
	struct buf b = {0};

	buf_add(&b, "", 0);
	if (node->bus_path)
		buf_printf(&b, "bus=%s", last_part(node->bus_path));
	for (int n = 0; node->bus->address[n]; n++) {
		if (node->address[n] < 0)
			continue;
		buf_printf(&b, "%s%s=", b.len ? "," : "", node->bus->address[n]);
		if (node->bus->pci)
			add_pci_address(&b, node->address[n]);
		else
			buf_printf(&b, "%lld", (long long)node->address[n]);
	}
	return b.data;
}

static void put_in_place(struct asking *a)
{
	for (size_t i = 0; i < a->tree->count; i++)
		if (a->nodes[i].bus_path)
			a->tree->list[i].parent = owner_of(a, a->nodes[i].bus_path);
	for (size_t i = 0; i < a->tree->count; i++) {
		struct buf b = {0};

		buf_add(&b, "", 0);
		add_place(&b, a, i, 0);
		a->tree->list[i].place = b.data;
		a->tree->list[i].where = where_of(&a->nodes[i]);
		a->tree->list[i].sole = a->nodes[i].address[0] >= 0;
	}
}

/* --- what the guest sees on the first PCI bus --- */

static struct qmp_device *find_place(struct qmp_tree *tree, const char *place)
{
	for (size_t i = 0; i < tree->count; i++)
		if (str_eq(tree->list[i].place, place))
			return &tree->list[i];
	return NULL;
}

static void take_function(struct asking *a, const json_t *function)
{
	const json_t *id = json_object_get(function, "id");
	uint64_t slot = qmp_u64(function, "slot"), number = qmp_u64(function, "function");
	struct qmp_device *device;
	_autofree_ char *place = NULL;

	if (qmp_u64(function, "bus") || slot > 31 || number > 7)
		return;
	place = str_printf("pci/%02x.%x", (unsigned)slot, (unsigned)number);
	device = find_place(a->tree, place);
	if (!device) {
		device = add_device(a);
		device->where = str_printf("addr=%02x.%x", (unsigned)slot, (unsigned)number);
		device->place = str_take(&place);
		device->sole = true;
	}
	device->pci_id = (uint32_t)((qmp_u64(id, "vendor") & 0xffff) << 16 |
				    (qmp_u64(id, "device") & 0xffff));
}

static int ask_pci(struct asking *a, struct err *err)
{
	_cleanup_json_ json_t *buses = NULL;
	json_t *bus, *function;
	size_t i, n;

	if (qmp_call(a->qmp, "query-pci", NULL, &buses, err) < 0)
		return err->kind == ERR_QMP ? 0 : -1;
	json_array_foreach (buses, i, bus) {
		json_array_foreach (json_object_get(bus, "devices"), n, function) {
			take_function(a, function);
		}
	}
	return 0;
}

/* --- all of it --- */

static void asking_deinit(struct asking *a, size_t nodes)
{
	for (size_t i = 0; i < nodes; i++) {
		free(a->nodes[i].path);
		free(a->nodes[i].bus_path);
	}
	for (size_t i = 0; i < a->bus_count; i++)
		free(a->buses[i].path);
	free(a->nodes);
	free(a->buses);
}

static int ask(struct asking *a, struct err *err)
{
	for (size_t i = 0; i < sizeof(containers) / sizeof(containers[0]); i++)
		if (list_devices(a, &containers[i], err) < 0)
			return -1;
	if (ask_buses(a, err) < 0 || ask_bus_types(a, err) < 0 || ask_addresses(a, err) < 0)
		return -1;
	put_in_place(a);
	return ask_pci(a, err);
}

int qmp_tree_query(struct qmp *qmp, struct qmp_tree *tree, struct err *err)
{
	struct asking a = {.qmp = qmp, .tree = tree};
	int ret;

	*tree = (struct qmp_tree){0};
	ret = ask(&a, err);
	asking_deinit(&a, tree->count);
	return ret;
}

void qmp_tree_deinit(struct qmp_tree *tree)
{
	for (size_t i = 0; i < tree->count; i++) {
		free(tree->list[i].id);
		free(tree->list[i].type);
		free(tree->list[i].place);
		free(tree->list[i].where);
	}
	free(tree->list);
	*tree = (struct qmp_tree){0};
}

bool qmp_device_same(const struct qmp_device *a, const struct qmp_device *b)
{
	if (!str_eq(a->place, b->place) || (a->pci_id && b->pci_id && a->pci_id != b->pci_id))
		return false;
	return a->type && b->type ? str_eq(a->type, b->type) : a->pci_id == b->pci_id;
}
