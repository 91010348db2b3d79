#include "qmp/migration.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "qmp/call.h"

/* Copies a string of QEMU's, cut to the room there is; "" for none. */
static void copy_text(char *to, size_t size, const char *text)
{
	snprintf(to, size, "%s", text ? text : "");
	str_sanitize(to);
}

struct qmp_request *qmp_status_send(struct qmp *qmp)
{
	return qmp_send(qmp, "query-status", NULL);
}

int qmp_status_take(struct qmp_request *request, struct qmp_status *status, struct err *err)
{
	_cleanup_json_ json_t *answer = NULL;

	if (qmp_take(request, &answer, err) < 0)
		return -1;
	copy_text(status->state, sizeof(status->state), qmp_str(answer, "status"));
	status->running = json_is_true(json_object_get(answer, "running"));
	return 0;
}

int qmp_status_query(struct qmp *qmp, struct qmp_status *status, struct err *err)
{
	return qmp_status_take(qmp_status_send(qmp), status, err);
}

struct qmp_request *qmp_cont_send(struct qmp *qmp)
{
	return qmp_send(qmp, "cont", NULL);
}

int qmp_stop(struct qmp *qmp, struct err *err)
{
	return qmp_call(qmp, "stop", NULL, NULL, err);
}

int qmp_quit(struct qmp *qmp, struct err *err)
{
	if (qmp_call(qmp, "quit", NULL, NULL, err) < 0 && err->kind != ERR_CLOSED)
		return -1;
	return 0;
}

int qmp_identity_query(struct qmp *qmp, struct qmp_identity *identity, struct err *err)
{
	_cleanup_json_ json_t *name = NULL;
	_cleanup_json_ json_t *uuid = NULL;

	if (qmp_call(qmp, "query-name", NULL, &name, err) < 0 ||
	    qmp_call(qmp, "query-uuid", NULL, &uuid, err) < 0)
		return -1;
	copy_text(identity->name, sizeof(identity->name), qmp_str(name, "name"));
	copy_text(identity->uuid, sizeof(identity->uuid), qmp_str(uuid, "UUID"));
	return 0;
}

/* A "secret" that is none: it takes any text and needs no other object. "qom-type" and the
 * properties at the top are those of QEMU 6.0 and newer; before, they were nested in "props". */
int qmp_note_leave(struct qmp *qmp, const char *id, struct err *err)
{
	if (qmp_call(qmp, "object-add",
		     json_pack("{s:s, s:s, s:s}", "qom-type", "secret", "id", id, "data", "note"),
		     NULL, err) == 0)
		return 0;
	if (err->kind != ERR_QMP)
		return -1;
	return qmp_call(qmp, "object-add",
			json_pack("{s:s, s:s, s:{s:s}}", "qom-type", "secret", "id", id, "props",
				  "data", "note"),
			NULL, err);
}

int qmp_note_remove(struct qmp *qmp, const char *id, struct err *err)
{
	return qmp_call(qmp, "object-del", json_pack("{s:s}", "id", id), NULL, err);
}

int qmp_note_find(struct qmp *qmp, const char *id, bool *there, struct err *err)
{
	_cleanup_json_ json_t *list = NULL;
	json_t *entry;
	size_t i;

	*there = false;
	if (qmp_call(qmp, "qom-list", json_pack("{s:s}", "path", "/objects"), &list, err) < 0)
		return -1;
	json_array_foreach (list, i, entry) {
		if (str_eq(qmp_str(entry, "name"), id))
			*there = true;
	}
	return 0;
}

/* InetSocketAddress tells its port as a string. */
static int port_of(const json_t *address)
{
	const char *text = qmp_str(address, "port");
	char *end;
	long port;

	if (!text || *text < '0' || *text > '9')
		return 0;
	port = strtol(text, &end, 10);
	return *end == '\0' && port <= 65535 ? (int)port : 0;
}

int qmp_migration_query(struct qmp *qmp, struct qmp_migration *migration, struct err *err)
{
	_cleanup_json_ json_t *answer = NULL;
	const json_t *ram, *disk, *reasons, *addresses;

	memset(migration, 0, sizeof(*migration));
	if (qmp_call(qmp, "query-migrate", NULL, &answer, err) < 0)
		return -1;
	ram = json_object_get(answer, "ram");
	disk = json_object_get(answer, "disk");
	reasons = json_object_get(answer, "blocked-reasons");
	/* A QEMU that listens has no status yet (seen on 7.2). */
	addresses = json_object_get(answer, "socket-address");
	migration->listening = json_array_size(addresses) > 0;
	migration->port = port_of(json_array_get(addresses, 0));
	copy_text(migration->status, sizeof(migration->status), qmp_str(answer, "status"));
	copy_text(migration->error, sizeof(migration->error), qmp_str(answer, "error-desc"));
	copy_text(migration->blocked, sizeof(migration->blocked),
		  json_string_value(json_array_get(reasons, 0)));
	migration->total_bytes = qmp_u64(ram, "total");
	migration->remaining_bytes = qmp_u64(ram, "remaining");
	migration->transferred_bytes = qmp_u64(ram, "transferred");
	migration->disk_total_bytes = qmp_u64(disk, "total");
	migration->disk_transferred_bytes = qmp_u64(disk, "transferred");
	migration->expected_downtime_ms = (int64_t)qmp_u64(answer, "expected-downtime");
	migration->downtime_ms = (int64_t)qmp_u64(answer, "downtime");
	return 0;
}

bool qmp_migration_active(const char *status)
{
	static const char *const ended[] = {"", "none", "completed", "failed", "cancelled"};

	for (size_t i = 0; i < sizeof(ended) / sizeof(ended[0]); i++)
		if (str_eq(status, ended[i]))
			return false;
	return true;
}

int qmp_capability_get(struct qmp *qmp, const char *name, bool *on, struct err *err)
{
	_cleanup_json_ json_t *list = NULL;
	json_t *entry;
	size_t i;

	*on = false;
	if (qmp_call(qmp, "query-migrate-capabilities", NULL, &list, err) < 0)
		return -1;
	json_array_foreach (list, i, entry) {
		if (str_eq(qmp_str(entry, "capability"), name))
			*on = json_is_true(json_object_get(entry, "state"));
	}
	return 0;
}

int qmp_capabilities_on(struct qmp *qmp, char **names, struct err *err)
{
	_cleanup_json_ json_t *list = NULL;
	struct buf b = {0};
	json_t *entry;
	size_t i;

	*names = NULL;
	if (qmp_call(qmp, "query-migrate-capabilities", NULL, &list, err) < 0)
		return -1;
	json_array_foreach (list, i, entry) {
		const char *name = qmp_str(entry, "capability");

		if (name && json_is_true(json_object_get(entry, "state")))
			buf_printf(&b, "%s%s", b.len ? " " : "", name);
	}
	*names = b.data ? b.data : str_dup("");
	return 0;
}

int qmp_capability_set(struct qmp *qmp, const char *name, bool on, struct err *err)
{
	json_t *capability = json_pack("{s:s, s:b}", "capability", name, "state", on);

	return qmp_call(qmp, "migrate-set-capabilities",
			json_pack("{s:[o]}", "capabilities", capability), NULL, err);
}

int qmp_parameters_get(struct qmp *qmp, struct qmp_parameters *parameters, struct err *err)
{
	_cleanup_json_ json_t *answer = NULL;

	if (qmp_call(qmp, "query-migrate-parameters", NULL, &answer, err) < 0)
		return -1;
	parameters->max_bandwidth = qmp_u64(answer, "max-bandwidth");
	parameters->downtime_limit_ms = qmp_u64(answer, "downtime-limit");
	copy_text(parameters->tls, sizeof(parameters->tls), qmp_str(answer, "tls-creds"));
	copy_text(parameters->tls_name, sizeof(parameters->tls_name),
		  qmp_str(answer, "tls-hostname"));
	return 0;
}

int qmp_parameters_set(struct qmp *qmp, const struct qmp_parameters *parameters, bool with_tls,
		       struct err *err)
{
	json_t *args =
		json_pack("{s:I, s:I}", "max-bandwidth", (json_int_t)parameters->max_bandwidth,
			  "downtime-limit", (json_int_t)parameters->downtime_limit_ms);

	if (with_tls) {
		json_object_set_new(args, "tls-creds", json_string(parameters->tls));
		json_object_set_new(args, "tls-hostname", json_string(parameters->tls_name));
	}
	return qmp_call(qmp, "migrate-set-parameters", args, NULL, err);
}

/* "tcp:[fd00::1]:49152,to=49215" */
static char *tcp_uri(const char *address, int low, int high)
{
	return str_printf(strchr(address, ':') ? "tcp:[%s]:%d,to=%d" : "tcp:%s:%d,to=%d", address,
			  low, high);
}

static int migrate_incoming(struct qmp *qmp, const char *uri, struct err *err)
{
	if (qmp_call(qmp, "migrate-incoming",
		     json_pack("{s:s, s:b}", "uri", uri, "exit-on-error", 0), NULL, err) == 0)
		return 0;
	if (err->kind != ERR_QMP || !strstr(err->text, "exit-on-error"))
		return -1;
	/* Before 9.1: "Parameter 'exit-on-error' is unexpected", and nothing was done. */
	return qmp_call(qmp, "migrate-incoming", json_pack("{s:s}", "uri", uri), NULL, err);
}

int qmp_migrate_incoming(struct qmp *qmp, const char *address, int low, int high, struct err *err)
{
	_autofree_ char *uri = tcp_uri(address, low, high);

	return migrate_incoming(qmp, uri, err);
}

int qmp_migrate_incoming_unix(struct qmp *qmp, const char *path, struct err *err)
{
	_autofree_ char *uri = str_printf("unix:%s", path);

	return migrate_incoming(qmp, uri, err);
}

int qmp_migrate(struct qmp *qmp, const char *fd_name, enum qmp_stream stream, struct err *err)
{
	_autofree_ char *uri = str_printf("fd:%s", fd_name);
	json_t *args = json_pack("{s:s}", "uri", uri);

	if (stream != QMP_STREAM_RAM)
		json_object_set_new(args, stream == QMP_STREAM_DISKS ? "blk" : "inc", json_true());
	return qmp_call(qmp, "migrate", args, NULL, err);
}

int qmp_migrate_cancel(struct qmp *qmp, struct err *err)
{
	return qmp_call(qmp, "migrate_cancel", NULL, NULL, err);
}

struct qmp_request *qmp_migrate_continue_send(struct qmp *qmp)
{
	return qmp_send(qmp, "migrate-continue", json_pack("{s:s}", "state", "pre-switchover"));
}
