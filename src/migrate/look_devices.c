/* The two QEMUs' devices and the media in their drives, one against the other. QEMU itself
 * notices a device that the destination lacks when the guest is loaded, after all was copied
 * ("Unknown savevm section or instance '0000:00:05.0/virtio-rng' 0", seen), and the destination
 * ends of it; another type or place likewise. One too many it does not notice at all (seen on
 * 7.2, 10.0 and 11.1: "completed", and the PCI bus shows it): the guest, which unplugged it or
 * never had it, has it from then on, so that is refused, too. A medium it does not compare
 * either, and a read-only image of another size only where it is firmware. With --clone its file is
 * known, too.
 *
 * A device is the same when its type and its place are; its id and its backend may differ, and
 * whether it is of -nic, -vga or -device (seen: such pairs migrate on 7.2 and 11.1). All
 * that are the same are paired first. What is left over of both sides is then put side by side
 * where that tells more than "one lacks, one is too many": by the id, by the place, and for a
 * device without an id by the type.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/look.h"
#include "qmp/tree.h"

/* As many are named. More differences are of two QEMUs that have nothing in common. */
#define NAMED_MAX 16

enum pairing {
	ALONE,
	SAME,
	DIFFERENT, /* stands for one of the other side, but is not it */
};

struct trees {
	struct qmp_tree src, dst;
	enum pairing *src_pairing, *dst_pairing;
	size_t told;
};

typedef bool is_pair_fn(const struct qmp_device *src, const struct qmp_device *dst);

static bool are_same_by_id(const struct qmp_device *src, const struct qmp_device *dst)
{
	return qmp_device_same(src, dst) && (str_eq(src->id, dst->id) || (!src->id && !dst->id));
}

static bool have_one_id(const struct qmp_device *src, const struct qmp_device *dst)
{
	return str_eq(src->id, dst->id);
}

static bool are_in_one_place(const struct qmp_device *src, const struct qmp_device *dst)
{
	return str_eq(src->place, dst->place) && src->sole && dst->sole;
}

static bool are_anonymous_of_one_type(const struct qmp_device *src, const struct qmp_device *dst)
{
	return !src->id && !dst->id && str_eq(src->type, dst->type);
}

/* "device net1 (virtio-net-pci, PCI 1af4:1000, bus=pci.0,addr=05.0)". Caller frees. */
static char *describe(const struct qmp_device *device)
{
	struct buf b = {0};

	buf_printf(&b, "device%s%s (%s", device->id ? " " : "", device->id ? device->id : "",
		   device->type ? device->type : "of -nic, -vga or the board");
	if (device->pci_id)
		buf_printf(&b, ", PCI %04x:%04x", device->pci_id >> 16, device->pci_id & 0xffff);
	buf_printf(&b, "%s%s)", *device->where ? ", " : "", device->where);
	return b.data;
}

/* What to write on a command line for it. Caller frees. */
static char *option(const struct qmp_device *device)
{
	if (!device->type)
		return str_dup("the same options");
	return str_printf("-device %s%s%s%s%s", device->type, device->id ? ",id=" : "",
			  device->id ? device->id : "", *device->where ? "," : "", device->where);
}

static void tell_lacking(struct migration *m, const struct qmp_device *src)
{
	_autofree_ char *what = describe(src);
	_autofree_ char *how = option(src);

	problems_add(&m->problems,
		     "%s: its QEMU lacks the %s, which the source has, plugged in since its start "
		     "perhaps; start it with %s there",
		     m->dst.name, what, how);
}

static void tell_extra(struct migration *m, const struct qmp_device *dst)
{
	_autofree_ char *what = describe(dst);

	problems_add(&m->problems,
		     "%s: its QEMU has the %s, which the source lacks, unplugged since its start "
		     "perhaps; start it without that device",
		     m->dst.name, what);
}

static void tell_other(struct migration *m, const struct qmp_device *src,
		       const struct qmp_device *dst)
{
	_autofree_ char *here = describe(src);
	_autofree_ char *there = describe(dst);
	_autofree_ char *how = option(src);

	problems_add(&m->problems,
		     "%s: its QEMU has the %s where the source has the %s; start it with %s there",
		     m->dst.name, there, here, how);
}

/* A device on the bus of one that is told to be another need not be told. */
static bool goes_without_saying(const struct qmp_tree *tree, const enum pairing *pairing, size_t i)
{
	size_t parent = tree->list[i].parent;

	for (size_t depth = 0; parent != QMP_NO_PARENT && depth < tree->count; depth++) {
		if (pairing[parent] == DIFFERENT)
			return true;
		parent = tree->list[parent].parent;
	}
	return false;
}

static bool may_tell(struct trees *t)
{
	return ++t->told <= NAMED_MAX;
}

/* Pairs what is still alone and, by @is_pair, belongs together. */
static void pair_by(struct migration *m, struct trees *t, is_pair_fn *is_pair, enum pairing as)
{
	for (size_t i = 0; i < t->src.count; i++) {
		if (t->src_pairing[i] != ALONE)
			continue;
		for (size_t j = 0; j < t->dst.count; j++) {
			if (t->dst_pairing[j] != ALONE ||
			    !is_pair(&t->src.list[i], &t->dst.list[j]))
				continue;
			t->src_pairing[i] = t->dst_pairing[j] = as;
			if (as == DIFFERENT && !goes_without_saying(&t->src, t->src_pairing, i) &&
			    may_tell(t))
				tell_other(m, &t->src.list[i], &t->dst.list[j]);
			break;
		}
	}
}

static void tell_alone(struct migration *m, struct trees *t)
{
	for (size_t i = 0; i < t->src.count; i++)
		if (t->src_pairing[i] == ALONE &&
		    !goes_without_saying(&t->src, t->src_pairing, i) && may_tell(t))
			tell_lacking(m, &t->src.list[i]);
	for (size_t i = 0; i < t->dst.count; i++)
		if (t->dst_pairing[i] == ALONE &&
		    !goes_without_saying(&t->dst, t->dst_pairing, i) && may_tell(t))
			tell_extra(m, &t->dst.list[i]);
	if (t->told > NAMED_MAX)
		problems_add(&m->problems, "%s: %zu more of its QEMU's devices differ", m->dst.name,
			     t->told - NAMED_MAX);
}

static void compare(struct migration *m, struct trees *t)
{
	pair_by(m, t, are_same_by_id, SAME);
	pair_by(m, t, qmp_device_same, SAME);
	pair_by(m, t, have_one_id, DIFFERENT);
	pair_by(m, t, are_in_one_place, DIFFERENT);
	pair_by(m, t, are_anonymous_of_one_type, DIFFERENT);
	tell_alone(m, t);
}

void look_at_devices(struct migration *m)
{
	struct trees t = {0};
	struct err err;

	if (qmp_tree_query(m->src.qmp, &t.src, &err) < 0 ||
	    qmp_tree_query(m->dst.qmp, &t.dst, &err) < 0) {
		problems_add(&m->problems, "%s", err.text);
	} else if (t.src.count && t.dst.count) {
		t.src_pairing = mem_zalloc(t.src.count, sizeof(*t.src_pairing));
		t.dst_pairing = mem_zalloc(t.dst.count, sizeof(*t.dst_pairing));
		compare(m, &t);
	}
	free(t.src_pairing);
	free(t.dst_pairing);
	qmp_tree_deinit(&t.src);
	qmp_tree_deinit(&t.dst);
}

/* --- media --- */

static bool moves(const struct migration *m, const struct qmp_drive *drive)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].src == drive)
			return true;
	return false;
}

static void compare_sizes(struct migration *m, const struct qmp_drive *src,
			  const struct qmp_drive *dst)
{
	char a[32], b[32];

	if (src->virtual_size == dst->virtual_size || (!src->removable && !src->read_only))
		return;
	problems_add(&m->problems,
		     "drive %s: %s on %s is another image (%s) than the source's %s (%s); let its "
		     "QEMU have the same",
		     qmp_drive_name(src), dst->url ? dst->url : "what is in it", m->dst.name,
		     str_size(b, sizeof(b), dst->virtual_size), src->url ? src->url : "",
		     str_size(a, sizeof(a), src->virtual_size));
}

/* What the command line of --clone names there for what it names here. Caller frees. */
static char *path_over_there(const struct migration *m, const char *path)
{
	bool mapped;

	for (size_t i = 0; i < m->clone.files_count; i++)
		if (str_eq(m->clone.files[i].src_path, path))
			return str_dup(m->clone.files[i].path);
	return disk_map_path(path, m->opt->maps, &mapped);
}

/* Two CDs may have one size. */
static void compare_files(struct migration *m, const struct qmp_drive *src,
			  const struct qmp_drive *dst)
{
	_autofree_ char *path = disk_absolute_path(src->file, m->src_cwd);
	_autofree_ char *wanted = path ? path_over_there(m, path) : NULL;

	if (!m->opt->clone || !wanted || (!src->removable && !src->read_only) ||
	    str_eq(wanted, dst->file) || str_eq(path, dst->file))
		return;
	problems_add(
		&m->problems,
		"drive %s: %s is in it now, and its QEMU on %s has %s: it was changed since its "
		"start, and --clone cannot repeat that; eject it, or start a QEMU over there "
		"that has it (--start)",
		qmp_drive_name(src), path, m->dst.name, dst->file ? dst->file : "no file");
}

static void compare_drives(struct migration *m, const struct qmp_drive *src,
			   const struct qmp_drive *dst)
{
	if (src->inserted && dst->inserted) {
		compare_sizes(m, src, dst);
		compare_files(m, src, dst);
	} else if (src->inserted)
		problems_add(&m->problems,
			     "drive %s: holds %s here, but is empty on %s; put the same medium in "
			     "there (blockdev-change-medium), or eject it here",
			     qmp_drive_name(src), src->url ? src->url : "a medium", m->dst.name);
	else if (dst->inserted)
		problems_add(
			&m->problems,
			"drive %s: is empty here, but holds %s on %s; start its QEMU without that "
			"medium, or eject it there",
			qmp_drive_name(src), dst->url ? dst->url : "a medium", m->dst.name);
}

void look_at_media(struct migration *m)
{
	for (size_t i = 0; i < m->src.drives.count; i++) {
		const struct qmp_drive *src = &m->src.drives.list[i];
		const struct qmp_drive *dst =
			src->qdev && !moves(m, src) ? disk_counterpart(src, &m->dst.drives) : NULL;

		if (dst)
			compare_drives(m, src, dst);
	}
}
