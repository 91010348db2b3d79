#include "qmp/block.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "qmp/call.h"

/* InetSocketAddress wants its port as a string. */
static json_t *inet(const char *address, int port)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", port);
	return json_pack("{s:s, s:s}", "host", address, "port", text);
}

static void set_text_if(json_t *args, const char *key, const char *text)
{
	if (text)
		json_object_set_new(args, key, json_string(text));
}

int qmp_nbd_start(struct qmp *qmp, const char *address, int port, const char *tls, struct err *err)
{
	json_t *addr = json_pack("{s:s, s:o}", "type", "inet", "data", inet(address, port));
	json_t *args = json_pack("{s:o}", "addr", addr);

	set_text_if(args, "tls-creds", tls);
	return qmp_call(qmp, "nbd-server-start", args, NULL, err);
}

int qmp_nbd_start_unix(struct qmp *qmp, const char *path, struct err *err)
{
	json_t *addr = json_pack("{s:s, s:{s:s}}", "type", "unix", "data", "path", path);

	return qmp_call(qmp, "nbd-server-start", json_pack("{s:o}", "addr", addr), NULL, err);
}

struct qmp_request *qmp_nbd_stop_send(struct qmp *qmp)
{
	return qmp_send(qmp, "nbd-server-stop", NULL);
}

int qmp_export_add(struct qmp *qmp, const struct qmp_caps *caps, const char *node, const char *name,
		   struct err *err)
{
	if (qmp_can(caps, QMP_BLOCK_EXPORT_ADD))
		return qmp_call(qmp, "block-export-add",
				json_pack("{s:s, s:s, s:s, s:s, s:b}", "type", "nbd", "id", name,
					  "node-name", node, "name", name, "writable", 1),
				NULL, err);
	return qmp_call(qmp, "nbd-server-add",
			json_pack("{s:s, s:s, s:b}", "device", node, "name", name, "writable", 1),
			NULL, err);
}

int qmp_export_del(struct qmp *qmp, const char *name, struct err *err)
{
	return qmp_call(qmp, "block-export-del", json_pack("{s:s}", "id", name), NULL, err);
}

int qmp_export_count(struct qmp *qmp, const struct qmp_caps *caps, size_t *count, struct err *err)
{
	_cleanup_json_ json_t *list = NULL;

	*count = 0;
	if (!qmp_can(caps, QMP_QUERY_EXPORTS))
		return 0;
	if (qmp_call(qmp, "query-block-exports", NULL, &list, err) < 0)
		return -1;
	*count = json_array_size(list);
	return 0;
}

int qmp_nodes_activate(struct qmp *qmp, struct err *err)
{
	return qmp_call(qmp, "blockdev-set-active", json_pack("{s:b}", "active", 1), NULL, err);
}

int qmp_node_resize(struct qmp *qmp, const char *node, uint64_t size_bytes, struct err *err)
{
	return qmp_call(qmp, "block_resize",
			json_pack("{s:s, s:I}", "node-name", node, "size", (json_int_t)size_bytes),
			NULL, err);
}

static void set_if(json_t *args, const char *key, uint64_t value)
{
	if (value)
		json_object_set_new(args, key, json_integer((json_int_t)value));
}

static json_t *server_of(const struct qmp_target *target)
{
	json_t *server;

	if (target->fd_name)
		return json_pack("{s:s, s:s}", "type", "fd", "str", target->fd_name);
	if (target->path)
		return json_pack("{s:s, s:s}", "type", "unix", "path", target->path);
	server = inet(target->address, target->port);
	json_object_set_new(server, "type", json_string("inet"));
	return server;
}

/* The NBD node, and over it always a raw one, of the source's size if the export is larger:
 * mirror insists on equal sizes since 5.1. Holes stay holes only if both nodes say
 * discard=unmap (seen on 5.2 to 11.1). */
static json_t *nbd_options(const struct qmp_target *target)
{
	json_t *nbd = json_pack("{s:s, s:s, s:o, s:s, s:s}", "driver", "nbd", "node-name",
				target->nbd_node, "server", server_of(target), "export",
				target->export, "discard", "unmap");

	set_text_if(nbd, "tls-creds", target->tls);
	set_text_if(nbd, "tls-hostname", target->tls_name);
	return nbd;
}

static json_t *raw_options(const struct qmp_target *target, const char *node, json_t *file)
{
	json_t *raw = json_pack("{s:s, s:s*, s:s, s:o}", "driver", "raw", "node-name", node,
				"discard", "unmap", "file", file);

	set_if(raw, "size", target->limit_bytes);
	return raw;
}

int qmp_target_add(struct qmp *qmp, const char *node, const struct qmp_target *target,
		   struct err *err)
{
	return qmp_call(qmp, "blockdev-add", raw_options(target, node, nbd_options(target)), NULL,
			err);
}

int qmp_target_replug(struct qmp *qmp, const char *node, const struct qmp_target *target,
		      struct err *err)
{
	json_t *options = raw_options(target, node, json_string(target->nbd_node));

	if (qmp_call(qmp, "blockdev-add", nbd_options(target), NULL, err) < 0) {
		json_decref(options);
		return -1;
	}
	return qmp_call(qmp, "blockdev-reopen", json_pack("{s:[o]}", "options", options), NULL,
			err);
}

struct qmp_request *qmp_node_yank_send(struct qmp *qmp, const char *nbd_node)
{
	return qmp_send_oob(qmp, "yank",
			    json_pack("{s:[{s:s, s:s}]}", "instances", "type", "block-node",
				      "node-name", nbd_node));
}

int qmp_node_del(struct qmp *qmp, const char *node, struct err *err)
{
	return qmp_call(qmp, "blockdev-del", json_pack("{s:s}", "node-name", node), NULL, err);
}

int qmp_node_exists(struct qmp *qmp, const char *node, bool *there, struct err *err)
{
	_cleanup_json_ json_t *list = NULL;
	json_t *entry;
	size_t i;

	*there = false;
	if (qmp_call(qmp, "query-named-block-nodes", NULL, &list, err) < 0)
		return -1;
	json_array_foreach (list, i, entry) {
		if (str_eq(qmp_str(entry, "node-name"), node))
			*there = true;
	}
	return 0;
}

/* drive-mirror takes a file name: the same options as a "json:" one. */
static char *target_file(const struct qmp_target *target, const char *node)
{
	_cleanup_json_ json_t *options = raw_options(target, node, nbd_options(target));
	_autofree_ char *text = json_dumps(options, JSON_COMPACT);

	return str_printf("json:%s", text);
}

int qmp_mirror_start(struct qmp *qmp, const struct qmp_caps *caps, const struct qmp_mirror *mirror,
		     struct err *err)
{
	json_t *args = json_pack("{s:s, s:s, s:s}", "job-id", mirror->job, "device", mirror->node,
				 "sync", mirror->top ? "top" : "full");
	const char *command = mirror->target_node ? "blockdev-mirror" : "drive-mirror";

	if (mirror->target_node) {
		json_object_set_new(args, "target", json_string(mirror->target_node));
	} else {
		_autofree_ char *file = target_file(&mirror->target, mirror->file_node);

		json_object_set_new(args, "target", json_string(file));
		json_object_set_new(args, "mode", json_string("existing"));
	}
	if (qmp_can(caps, QMP_JOB_DISMISS))
		json_object_set_new(args, "auto-dismiss", json_false());
	json_object_set_new(args, "on-target-error", json_string("stop"));
	set_if(args, "buf-size", mirror->buf_size);
	set_if(args, "speed", mirror->speed);
	return qmp_call(qmp, command, args, NULL, err);
}

int qmp_job_set_speed(struct qmp *qmp, const char *job, uint64_t bytes_per_s, struct err *err)
{
	return qmp_call(qmp, "block-job-set-speed",
			json_pack("{s:s, s:I}", "device", job, "speed", (json_int_t)bytes_per_s),
			NULL, err);
}

int qmp_job_write_blocking(struct qmp *qmp, const char *job, struct err *err)
{
	return qmp_call(qmp, "block-job-change",
			json_pack("{s:s, s:s, s:s}", "id", job, "type", "mirror", "copy-mode",
				  "write-blocking"),
			NULL, err);
}

struct qmp_request *qmp_job_cancel_send(struct qmp *qmp, const char *job, bool force)
{
	return qmp_send(qmp, "block-job-cancel",
			json_pack("{s:s, s:b}", "device", job, "force", force));
}

int qmp_job_resume(struct qmp *qmp, const char *job, struct err *err)
{
	return qmp_call(qmp, "block-job-resume", json_pack("{s:s}", "device", job), NULL, err);
}

int qmp_job_dismiss(struct qmp *qmp, const char *job, struct err *err)
{
	return qmp_call(qmp, "job-dismiss", json_pack("{s:s}", "id", job), NULL, err);
}

static void parse_job(struct qmp_job *job, const json_t *entry)
{
	const char *io_status = qmp_str(entry, "io-status");
	const char *error = qmp_str(entry, "error");

	job->found = true;
	job->concluded = str_eq(qmp_str(entry, "status"), "concluded");
	job->ready = json_is_true(json_object_get(entry, "ready"));
	job->in_sync = json_is_true(json_object_get(entry, "actively-synced"));
	job->stopped = json_is_true(json_object_get(entry, "paused")) && io_status &&
		       !str_eq(io_status, "ok");
	job->done_bytes = qmp_u64(entry, "offset");
	job->total_bytes = qmp_u64(entry, "len");
	if (job->stopped)
		error = str_eq(io_status, "nospace") ? strerror(ENOSPC) : strerror(EIO);
	snprintf(job->error, sizeof(job->error), "%s", error ? error : "");
}

int qmp_jobs_query(struct qmp *qmp, const char *const *ids, struct qmp_job *jobs, size_t count,
		   struct err *err)
{
	_cleanup_json_ json_t *list = NULL;
	json_t *entry;
	size_t i;

	memset(jobs, 0, count * sizeof(*jobs));
	if (qmp_call(qmp, "query-block-jobs", NULL, &list, err) < 0)
		return -1;
	json_array_foreach (list, i, entry) {
		for (size_t k = 0; k < count; k++)
			if (str_eq(qmp_str(entry, "device"), ids[k]))
				parse_job(&jobs[k], entry);
	}
	return 0;
}

int qmp_any_job(struct qmp *qmp, char **id, struct err *err)
{
	_cleanup_json_ json_t *list = NULL;

	*id = NULL;
	if (qmp_call(qmp, "query-block-jobs", NULL, &list, err) < 0)
		return -1;
	if (json_array_size(list)) {
		const char *name = qmp_str(json_array_get(list, 0), "device");

		*id = str_dup(name ? name : "");
	}
	return 0;
}
