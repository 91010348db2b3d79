/* The devices that were plugged into a running QEMU since its start, and what each was made
 * with: as much as is needed to make the like of it. */
#ifndef VMFERRY_QMP_PLUGGED_H
#define VMFERRY_QMP_PLUGGED_H

#include <stdbool.h>
#include <stddef.h>

#include "qmp/qmp.h"

struct qmp_setting {
	char *key, *value; /* as on a command line */
};

struct qmp_settings {
	struct qmp_setting *list;
	size_t count;
};

struct qmp_plugged {
	char *id;   /* NULL when nobody gave it one */
	char *type; /* "virtio-net-pci" */
	char *path; /* QOM */
	char *bus;  /* its name, "pci.0"; NULL: it is on none */
	bool cpu;
	struct qmp_settings settings; /* what is not as the type has it by itself; without bus */
	char *why_not;                /* it cannot be told: why; NULL: all is known */
};

struct qmp_changes {
	struct qmp_plugged *plugged; /* whose bus is another's comes after that one */
	size_t plugged_count;
	char **ids; /* of all devices that have one, plugged since or not */
	size_t ids_count;
};

/* Asks QEMU (qom-list, qom-get, device-list-properties, query-hotpluggable-cpus). */
int qmp_changes_query(struct qmp *qmp, struct qmp_changes *changes, struct err *err);
void qmp_changes_deinit(struct qmp_changes *changes);

/* Whether a device of that id is there; whether it was plugged in since the start. */
bool qmp_changes_has(const struct qmp_changes *changes, const char *id);
bool qmp_changes_plugged(const struct qmp_changes *changes, const char *id);

/* The value of @key, or NULL. Borrowed. */
const char *qmp_settings_get(const struct qmp_settings *settings, const char *key);
void qmp_settings_deinit(struct qmp_settings *settings);

/* What an object (of object-add) was made with, "qom-type" and "id" first. @why_not is set, and
 * nothing else, where that cannot be told. The caller's to deinit and free. */
int qmp_object_query(struct qmp *qmp, const char *id, struct qmp_settings *settings, char **why_not,
		     struct err *err);

/* What the network backend @id is, as `info network` of the human monitor tells it:
 * "index=0,type=user,net=10.0.2.0,restrict=off". QMP has no query for it. NULL: there is none of
 * that name. With several queues the first one's, and *@queues says how many. Caller frees. */
int qmp_netdev_query(struct qmp *qmp, const char *id, char **info, unsigned *queues,
		     struct err *err);

/* Whether ports of this host are forwarded to the guest by a backend of type user
 * (`info usernet`). */
int qmp_usernet_forwards(struct qmp *qmp, bool *forwards, struct err *err);

#endif
