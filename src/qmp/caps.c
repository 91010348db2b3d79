#include "qmp/caps.h"

#include <string.h>

#include "base/str.h"
#include "qmp/call.h"

enum cap_kind {
	COMMAND,
	MIGRATION,
	MEMBER,
};

/* `member` is one of the arguments of the command `name`. */
static const struct {
	enum cap_kind kind;
	const char *name;
	const char *member;
} caps_table[QMP_CAP_COUNT] = {
	[QMP_BLOCK_EXPORT_ADD] = {COMMAND, "block-export-add", NULL},
	[QMP_NBD_SERVER_ADD] = {COMMAND, "nbd-server-add", NULL},
	[QMP_NBD_SERVER_START] = {COMMAND, "nbd-server-start", NULL},
	[QMP_BLOCKDEV_MIRROR] = {COMMAND, "blockdev-mirror", NULL},
	[QMP_DRIVE_MIRROR] = {COMMAND, "drive-mirror", NULL},
	[QMP_BLOCKDEV_ADD] = {COMMAND, "blockdev-add", NULL},
	[QMP_BLOCK_JOB_CHANGE] = {COMMAND, "block-job-change", NULL},
	[QMP_JOB_DISMISS] = {COMMAND, "job-dismiss", NULL},
	[QMP_YANK] = {COMMAND, "yank", NULL},
	[QMP_BLOCK_RESIZE] = {COMMAND, "block_resize", NULL},
	[QMP_MIGRATE_INCOMING] = {COMMAND, "migrate-incoming", NULL},
	[QMP_MIGRATE_CONTINUE] = {COMMAND, "migrate-continue", NULL},
	[QMP_QUERY_EXPORTS] = {COMMAND, "query-block-exports", NULL},
	[QMP_SET_PARAMETERS] = {COMMAND, "migrate-set-parameters", NULL},
	[QMP_MIG_EVENTS] = {MIGRATION, "events", NULL},
	[QMP_MIG_PAUSE] = {MIGRATION, "pause-before-switchover", NULL},
	[QMP_MIG_LATE_ACTIVATE] = {MIGRATION, "late-block-activate", NULL},
	[QMP_MIG_RETURN_PATH] = {MIGRATION, "return-path", NULL},
	[QMP_MIG_BLOCK] = {MIGRATION, "block", NULL},
	[QMP_MIRROR_COPY_MODE] = {MEMBER, "blockdev-mirror", "copy-mode"},
	[QMP_MIRROR_AUTO_DISMISS] = {MEMBER, "blockdev-mirror", "auto-dismiss"},
	[QMP_INCOMING_KEEP] = {MEMBER, "migrate-incoming", "exit-on-error"},
};

/* Marks every capability of @kind that @name (and @member) names. */
static void mark(struct qmp_caps *caps, enum cap_kind kind, const char *name, const char *member)
{
	for (int i = 0; i < QMP_CAP_COUNT; i++)
		if (caps_table[i].kind == kind && str_eq(caps_table[i].name, name) &&
		    (!member || str_eq(caps_table[i].member, member)))
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
			mark(caps, kind, name, NULL);
	}
	return 0;
}

static json_t *schema_entry(json_t *schema, const char *name)
{
	json_t *entry;
	size_t i;

	json_array_foreach (schema, i, entry) {
		if (str_eq(qmp_str(entry, "name"), name))
			return entry;
	}
	return NULL;
}

/* The schema names a command's arguments by a type, and the type's members by name. */
static void mark_members(struct qmp_caps *caps, json_t *schema, const char *command)
{
	json_t *entry = schema_entry(schema, command);
	const char *type = qmp_str(entry, "arg-type");
	json_t *members = type ? json_object_get(schema_entry(schema, type), "members") : NULL;
	json_t *member;
	size_t i;

	json_array_foreach (members, i, member) {
		const char *name = qmp_str(member, "name");

		if (name)
			mark(caps, MEMBER, command, name);
	}
}

int qmp_caps_query(struct qmp *qmp, struct qmp_caps *caps, struct err *err)
{
	_cleanup_json_ json_t *schema = NULL;

	memset(caps, 0, sizeof(*caps));
	if (mark_list(qmp, caps, COMMAND, "query-commands", "name", err) < 0 ||
	    mark_list(qmp, caps, MIGRATION, "query-migrate-capabilities", "capability", err) < 0 ||
	    qmp_call(qmp, "query-qmp-schema", NULL, &schema, err) < 0)
		return -1;
	mark_members(caps, schema, "blockdev-mirror");
	mark_members(caps, schema, "migrate-incoming");
	return 0;
}

const char *qmp_cap_name(enum qmp_cap cap)
{
	return caps_table[cap].member ? caps_table[cap].member : caps_table[cap].name;
}
