#include "qmp/caps.h"

#include <string.h>

#include "base/str.h"
#include "qmp/call.h"

enum cap_kind {
	COMMAND,
	MIGRATION,
};

static const struct {
	enum cap_kind kind;
	const char *name;
} caps_table[QMP_CAP_COUNT] = {
	[QMP_BLOCK_EXPORT_ADD] = {COMMAND, "block-export-add"},
	[QMP_NBD_SERVER_ADD] = {COMMAND, "nbd-server-add"},
	[QMP_NBD_SERVER_START] = {COMMAND, "nbd-server-start"},
	[QMP_NBD_SERVER_STOP] = {COMMAND, "nbd-server-stop"},
	[QMP_BLOCKDEV_MIRROR] = {COMMAND, "blockdev-mirror"},
	[QMP_DRIVE_MIRROR] = {COMMAND, "drive-mirror"},
	[QMP_BLOCKDEV_ADD] = {COMMAND, "blockdev-add"},
	[QMP_BLOCK_JOB_CHANGE] = {COMMAND, "block-job-change"},
	[QMP_JOB_DISMISS] = {COMMAND, "job-dismiss"},
	[QMP_BLOCK_RESIZE] = {COMMAND, "block_resize"},
	[QMP_MIGRATE_INCOMING] = {COMMAND, "migrate-incoming"},
	[QMP_MIGRATE_CONTINUE] = {COMMAND, "migrate-continue"},
	[QMP_QUERY_EXPORTS] = {COMMAND, "query-block-exports"},
	[QMP_SET_ACTIVE] = {COMMAND, "blockdev-set-active"},
	[QMP_YANK] = {COMMAND, "yank"},
	[QMP_REOPEN] = {COMMAND, "blockdev-reopen"},
	[QMP_MIG_EVENTS] = {MIGRATION, "events"},
	[QMP_MIG_PAUSE] = {MIGRATION, "pause-before-switchover"},
	[QMP_MIG_LATE_ACTIVATE] = {MIGRATION, "late-block-activate"},
	[QMP_MIG_RETURN_PATH] = {MIGRATION, "return-path"},
	[QMP_MIG_BLOCK] = {MIGRATION, "block"},
};

static void mark(struct qmp_caps *caps, enum cap_kind kind, const char *name)
{
	for (int i = 0; i < QMP_CAP_COUNT; i++)
		if (caps_table[i].kind == kind && str_eq(caps_table[i].name, name))
			caps->can[i] = true;
}

/* Asks @command for a list of objects and marks what their @key names. */
static int mark_list(struct qmp *qmp, struct qmp_caps *caps, enum cap_kind kind,
		     const char *command, const char *key, struct err *err)
{
	_cleanup_json_ json_t *list = NULL;
	json_t *item;
	size_t i;

	if (qmp_call(qmp, command, NULL, &list, err) < 0)
		return -1;
	json_array_foreach (list, i, item) {
		const char *name = qmp_str(item, key);

		if (name)
			mark(caps, kind, name);
	}
	return 0;
}

int qmp_caps_query(struct qmp *qmp, struct qmp_caps *caps, struct err *err)
{
	memset(caps, 0, sizeof(*caps));
	if (mark_list(qmp, caps, COMMAND, "query-commands", "name", err) < 0 ||
	    mark_list(qmp, caps, MIGRATION, "query-migrate-capabilities", "capability", err) < 0)
		return -1;
	return 0;
}

const char *qmp_cap_name(enum qmp_cap cap)
{
	return caps_table[cap].name;
}
