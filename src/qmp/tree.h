/* The devices that a QEMU shows its guest, as far as a user chose them: what the two sides of
 * a migration must have alike, type by type and place by place. */
#ifndef VMFERRY_QMP_TREE_H
#define VMFERRY_QMP_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qmp/qmp.h"

struct qmp_device {
	char *id;        /* NULL when nobody gave it one */
	char *type;      /* QOM type, "virtio-net-pci"; NULL: a PCI device that is not of -device */
	char *place;     /* where it is, for comparison: the same on both sides of a pair */
	bool sole;       /* no other can be there: it has an address, which a USB port is not */
	char *where;     /* the same as options of -device: "bus=pci.0,addr=05.0"; may be "" */
	uint32_t pci_id; /* vendor << 16 | device; 0 when not known */
	size_t parent;   /* number in the list of the device whose bus it is on, or QMP_NO_PARENT */
};

#define QMP_NO_PARENT SIZE_MAX

struct qmp_tree {
	struct qmp_device *list;
	size_t count;
};

/* Asks QEMU (qom-list, qom-get, query-pci). One that refuses to tell has an empty list. */
int qmp_tree_query(struct qmp *qmp, struct qmp_tree *tree, struct err *err);
void qmp_tree_deinit(struct qmp_tree *tree);

/* Whether one may stand for the other in a migration: the same kind in the same place. Ids do
 * not matter to QEMU there. */
bool qmp_device_same(const struct qmp_device *a, const struct qmp_device *b);

#endif
