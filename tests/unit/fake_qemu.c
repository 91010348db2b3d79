#include "fake_qemu.h"

#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "unit.h"

static const char *member(json_t *args, const char *key)
{
	const char *s = json_string_value(json_object_get(args, key));

	return s ? s : "";
}

static bool is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

bool fake_qemu_running(const struct fake_qemu *q)
{
	return !q->gone && is(q->state, "running");
}

static void run(struct fake_qemu *q)
{
	ck_assert_msg(!q->peer || !fake_qemu_running(q->peer), "both QEMUs run the guest");
	ck_assert_msg(q->nbd_fd < 0, "%s runs with its NBD server up", fake_name(q->fake));
	q->state = "running";
	fake_event(q->fake, "RESUME", NULL);
}

static void set_migration(struct fake_qemu *q, const char *status)
{
	q->migration = status;
	if (json_is_true(json_object_get(q->capabilities, "events")))
		fake_event(q->fake, "MIGRATION", json_pack("{s:s}", "status", status));
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void stop_nbd(struct fake_qemu *q)
{
	loop_fd_del(q->nbd_watch);
	q->nbd_watch = NULL;
	close_fd(&q->nbd_fd);
	json_object_clear(q->exports);
}

void fake_qemu_die(struct fake_qemu *q)
{
	stop_nbd(q);
	close_fd(&q->ram_fd);
	q->gone = true;
	fake_close(q->fake, true);
}

/* --- looking --- */

static void query_status(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	(void)args;
	fake_answer(f, json_pack("{s:s, s:b, s:b}", "status", q->state, "running",
				 is(q->state, "running"), "singlestep", 0));
}

/* The @depth-th image under the drive's own, NULL if there is none. */
static json_t *backing_json(const struct fake_drive *d, size_t depth)
{
	json_t *image, *under;

	if (depth == 2 || !*d->backing[depth].name)
		return NULL;
	image = json_pack("{s:s, s:s, s:I}", "filename", d->backing[depth].name, "format",
			  d->backing[depth].format, "virtual-size", d->backing[depth].size);
	under = backing_json(d, depth + 1);
	if (under)
		json_object_set_new(image, "backing-image", under);
	return image;
}

static json_t *drive_json(const struct fake_drive *d)
{
	json_t *drive = json_pack("{s:s, s:s, s:b, s:b, s:s}", "device", d->device, "qdev", d->qdev,
				  "removable", 0, "locked", 0, "type", "unknown");
	json_t *image = json_pack("{s:s, s:s, s:I, s:i}", "filename", d->file, "format", d->driver,
				  "virtual-size", d->size, "actual-size", 4096);

	if (d->temporary)
		json_object_set_new(image, "backing-image", json_object());
	else if (*d->backing[0].name)
		json_object_set_new(image, "backing-image", backing_json(d, 0));
	if (!d->empty)
		json_object_set_new(drive, "inserted",
				    json_pack("{s:s, s:s, s:b, s:b, s:o}", "node-name", d->node,
					      "drv", d->driver, "ro", d->read_only, "encrypted", 0,
					      "image", image));
	else
		json_decref(image);
	return drive;
}

static void query_block(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	json_t *list = json_array();

	(void)args;
	for (int i = 0; i < FAKE_DRIVES_MAX && q->drives[i].device; i++)
		json_array_append_new(list, drive_json(&q->drives[i]));
	json_array_append(list, q->more_drive);
	fake_answer(f, list);
}

static void qom_get(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	json_t *known = json_object_get(json_object_get(q->qom, member(args, "path")),
					member(args, "property"));

	if (known) {
		fake_answer(f, json_incref(known));
		return;
	}
	if (q->machine && is(member(args, "path"), "/machine")) {
		fake_answer(f, json_string(q->machine));
		return;
	}
	for (int i = 0; i < FAKE_DRIVES_MAX && q->drives[i].device; i++)
		if (is(q->drives[i].qdev, member(args, "path"))) {
			fake_answer(f, json_string(q->drives[i].type));
			return;
		}
	fake_refuse(f, "Device not found");
}

static void query_jobs(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	json_t *list = json_array(), *status;
	const char *id;

	(void)args;
	json_object_foreach (q->jobs, id, status) {
		bool stopped = is(json_string_value(status), "standby");

		json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:O, s:b, s:b, s:b, s:s, s:i, s:i}", "type", "mirror",
				  "device", id, "status", status, "actively-synced", 1, "ready",
				  is(json_string_value(status), "ready"), "paused", stopped,
				  "io-status", stopped ? "nospace" : "ok", "offset", 5, "len", 5));
	}
	fake_answer(f, list);
}

static void query_nodes(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	json_t *list = json_array(), *user;
	const char *node;

	(void)args;
	json_object_foreach (q->nodes, node, user) {
		json_array_append_new(list, json_pack("{s:s}", "node-name", node));
	}
	fake_answer(f, list);
}

static void query_exports(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	json_t *list = json_array(), *node;
	const char *id;

	(void)args;
	json_object_foreach (q->exports, id, node) {
		json_array_append_new(list, json_pack("{s:s, s:O}", "id", id, "node-name", node));
	}
	fake_answer(f, list);
}

static json_t *port_text(int fd)
{
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	return json_sprintf("%d", ntohs(addr.sin_port));
}

static void query_migrate(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	(void)args;
	json_t *answer = json_object();

	if (*q->migration)
		json_object_set_new(answer, "status", json_string(q->migration));
	if (q->ram_fd >= 0)
		json_object_set_new(answer, "socket-address",
				    json_pack("[{s:s, s:s, s:o}]", "type", "inet", "host",
					      "127.0.0.1", "port", port_text(q->ram_fd)));
	fake_answer(f, answer);
}

static void query_capabilities(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	json_t *list = json_array(), *state;
	const char *name;

	(void)args;
	json_object_foreach (q->capabilities, name, state) {
		json_array_append_new(list,
				      json_pack("{s:s, s:O}", "capability", name, "state", state));
	}
	fake_answer(f, list);
}

static void query_parameters(struct fake *f, json_t *args, void *arg)
{
	(void)args;
	fake_answer(f, json_incref(((struct fake_qemu *)arg)->parameters));
}

/* --- the run state --- */

static void stop(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	(void)args;
	if (is(q->state, "inmigrate")) {
		q->hold = true;
	} else if (is(q->state, "running")) {
		q->state = "paused";
		fake_event(f, "STOP", NULL);
	}
	fake_answer(f, NULL);
}

static void cont(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	(void)args;
	if (is(q->state, "inmigrate"))
		q->hold = false;
	else if (!is(q->state, "running"))
		run(q);
	fake_answer(f, NULL);
}

static void quit(struct fake *f, json_t *args, void *arg)
{
	(void)args;
	fake_answer(f, NULL);
	fake_qemu_die(arg);
}

static void set_active(struct fake *f, json_t *args, void *arg)
{
	(void)args;
	(void)arg;
	fake_answer(f, NULL);
}

/* --- the NBD server --- */

static int listen_on(int port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				   .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, 16) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Whether it has the object that it is to encrypt with, if it is to. */
static bool has_keys(const struct fake_qemu *q, const char *id)
{
	return !*id || json_object_get(q->objects, id);
}

/* Greets who comes while there is nothing to be had, as one that only looks, and hangs up. */
static void on_nbd_client(void *arg, short revents)
{
	struct fake_qemu *q = arg;
	int fd;

	(void)revents;
	if (json_object_size(q->exports)) {
		loop_fd_del(q->nbd_watch);
		q->nbd_watch = NULL;
		return;
	}
	fd = accept(q->nbd_fd, NULL, NULL);
	if (fd < 0)
		return;
	ck_assert_int_eq(send(fd, "NBDMAGICIHAVEOPT\0\3", 18, MSG_NOSIGNAL), 18);
	close(fd);
}

static void nbd_start(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	int port = atoi(member(json_object_get(json_object_get(args, "addr"), "data"), "port"));

	if (q->nbd_fd >= 0) {
		fake_refuse(f, "NBD server already running");
		return;
	}
	if (!has_keys(q, member(args, "tls-creds"))) {
		fake_refuse(f, "No TLS credentials with id 'x'");
		return;
	}
	snprintf(q->nbd_keys, sizeof(q->nbd_keys), "%s", member(args, "tls-creds"));
	q->nbd_fd = listen_on(port);
	if (q->nbd_fd < 0) {
		fake_refuse(f, "Failed to find an available port: Address already in use");
		return;
	}
	q->nbd_watch = loop_fd_add(q->loop, q->nbd_fd, POLLIN, on_nbd_client, q);
	fake_answer(f, NULL);
}

static void nbd_stop(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	(void)args;
	if (q->nbd_fd < 0) {
		fake_refuse(f, "NBD server not running");
		return;
	}
	stop_nbd(q);
	fake_answer(f, NULL);
}

static struct fake_drive *drive_of_node(struct fake_qemu *q, const char *node)
{
	for (int i = 0; i < FAKE_DRIVES_MAX && q->drives[i].device; i++)
		if (is(q->drives[i].node, node))
			return &q->drives[i];
	return NULL;
}

static void export_add(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	if (q->nbd_fd < 0)
		fake_refuse(f, "NBD server not running");
	else if (!drive_of_node(q, member(args, "node-name")))
		fake_refuse(f, "Cannot find device='' nor node-name='x'");
	else if (json_object_get(q->exports, member(args, "id")))
		fake_refuse(f, "Block export id 'x' is already in use");
	else if (json_object_set(q->exports, member(args, "id"),
				 json_object_get(args, "node-name")) == 0)
		fake_answer(f, NULL);
}

static void export_del(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	if (json_object_del(q->exports, member(args, "id")) < 0)
		fake_refuse(f, "Export 'x' is not found");
	else
		fake_answer(f, NULL);
}

static void resize(struct fake *f, json_t *args, void *arg)
{
	struct fake_drive *d = drive_of_node(arg, member(args, "node-name"));

	if (!d) {
		fake_refuse(f, "Cannot find device='' nor node-name='x'");
		return;
	}
	d->size = json_integer_value(json_object_get(args, "size"));
	fake_answer(f, NULL);
}

/* --- objects --- */

static void object_add(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	json_object_set_new(q->objects, member(args, "id"), json_null());
	fake_answer(f, NULL);
}

static void object_del(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	if (json_object_del(q->objects, member(args, "id")) < 0)
		fake_refuse(f, "object 'x' not found");
	else
		fake_answer(f, NULL);
}

/* Only that it is there is looked at. */
static void query_stats(struct fake *f, json_t *args, void *arg)
{
	(void)args;
	(void)arg;
	fake_answer(f, NULL);
}

static json_t *child_json(const char *name, const char *type)
{
	return json_pack("{s:s, s:o}", "name", name, "type", json_sprintf("child<%s>", type));
}

static void qom_list(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	json_t *list = json_array(), *value;
	const char *parent = member(args, "path"), *name;

	json_object_foreach (q->objects, name, value) {
		if (is(parent, "/objects"))
			json_array_append_new(list, child_json(name, "x"));
	}
	json_object_foreach (q->qom, name, value) {
		const char *slash = strrchr(name, '/');

		if (strlen(parent) == (size_t)(slash - name) && str_starts(name, parent))
			json_array_append_new(list, child_json(slash + 1, member(value, "type")));
	}
	fake_answer(f, list);
}

void fake_qemu_add(struct fake_qemu *q, const char *path, const char *properties)
{
	json_error_t error;
	json_t *object = json_loads(properties, 0, &error);

	ck_assert_msg(object != NULL, "%s: %s", properties, error.text);
	json_object_set_new(q->qom, path, object);
}

/* --- descriptors --- */

static void getfd(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	int fd = fake_take_fd(f);

	if (fd < 0) {
		fake_refuse(f, "No file descriptor supplied via SCM_RIGHTS");
		return;
	}
	close(fd);
	json_object_set_new(q->fds, member(args, "fdname"), json_null());
	fake_answer(f, NULL);
}

static void closefd(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	if (json_object_del(q->fds, member(args, "fdname")) < 0)
		fake_refuse(f, "File descriptor named 'x' not found");
	else
		fake_answer(f, NULL);
}

/* A command that names a descriptor uses it up. */
static bool use_fd(struct fake_qemu *q, const char *name)
{
	return json_object_del(q->fds, name) == 0;
}

/* --- nodes and jobs --- */

/* Connects to an export of the peer by the options of a node. */
static bool reach_export(struct fake_qemu *q, json_t *options)
{
	json_t *nbd = json_object_get(options, "file");
	const char *keys = member(nbd, "tls-creds");

	return has_keys(q, keys) && q->peer && is(keys, q->peer->nbd_keys) &&
	       use_fd(q, member(json_object_get(nbd, "server"), "str")) &&
	       json_object_get(q->peer->exports, member(nbd, "export"));
}

static void node_add(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	if (!reach_export(q, args)) {
		fake_refuse(f, "Requested export not available");
		return;
	}
	json_object_set_new(q->nodes, member(args, "node-name"), json_string(""));
	fake_answer(f, NULL);
}

static void node_del(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	const char *node = member(args, "node-name");

	if (!json_object_get(q->nodes, node)) {
		fake_refuse(f, "Failed to find node with node-name='x'");
	} else if (*member(q->nodes, node)) {
		fake_refuse(f, "Node x is in use");
	} else {
		json_object_del(q->nodes, node);
		fake_answer(f, NULL);
	}
}

static void set_job(struct fake_qemu *q, const char *id, const char *status)
{
	json_object_set_new(q->jobs, id, json_string(status));
	fake_event(q->fake, "JOB_STATUS_CHANGE",
		   json_pack("{s:s, s:s}", "id", id, "status", status));
}

static void job_event(struct fake_qemu *q, const char *event, const char *id)
{
	fake_event(q->fake, event,
		   json_pack("{s:s, s:s, s:i, s:i, s:i}", "device", id, "type", "mirror", "len", 5,
			     "offset", 5, "speed", 0));
}

static bool reach_target(struct fake_qemu *q, const char *target)
{
	json_t *options;
	bool reached;

	if (!str_starts(target, "json:"))
		return json_object_get(q->nodes, target);
	options = json_loads(target + strlen("json:"), 0, NULL);
	reached = reach_export(q, options);
	json_decref(options);
	return reached;
}

static void mirror(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	_autofree_ char *id = str_dup(member(args, "job-id"));
	const char *target = member(args, "target");

	if (!drive_of_node(q, member(args, "device"))) {
		fake_refuse(f, "Cannot find device='x' nor node-name='x'");
	} else if (json_object_get(q->jobs, id)) {
		fake_refuse(f, "Job ID 'x' already in use");
	} else if (!reach_target(q, target)) {
		fake_refuse(f, "Cannot find device='' nor node-name='x'");
	} else {
		if (!str_starts(target, "json:"))
			json_object_set_new(q->nodes, target, json_string(id));
		set_job(q, id, "running");
		fake_answer(f, NULL);
		set_job(q, id, "ready");
		job_event(q, "BLOCK_JOB_READY", id);
	}
}

static void release_nodes(struct fake_qemu *q, const char *id)
{
	json_t *user;
	const char *node;

	json_object_foreach (q->nodes, node, user) {
		if (is(json_string_value(user), id))
			json_string_set(user, "");
	}
}

static void job_cancel(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	_autofree_ char *id = str_dup(member(args, "device"));
	const char *status = member(q->jobs, id);
	bool ready = is(status, "ready"), force = json_is_true(json_object_get(args, "force"));

	if (!*status) {
		fake_refuse(f, "Job not found: x");
		return;
	}
	if (is(status, "concluded")) {
		fake_refuse(f, "Job 'x' in state 'concluded' cannot accept command verb 'cancel'");
		return;
	}
	if (is(status, "standby") && !force) {
		fake_refuse(f, "The block job for device 'x' is currently paused");
		return;
	}
	ck_assert_msg(!force || !q->write_blocking || !fake_qemu_running(q),
		      "%s: a mirror is ended in the middle of a write", fake_name(f));
	fake_answer(f, NULL);
	release_nodes(q, id);
	job_event(q, ready && !force ? "BLOCK_JOB_COMPLETED" : "BLOCK_JOB_CANCELLED", id);
	set_job(q, id, "concluded");
}

static void job_dismiss(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	const char *id = member(args, "id");

	if (!is(member(q->jobs, id), "concluded")) {
		fake_refuse(f, "Job 'x' in state 'ready' cannot accept command verb 'dismiss'");
		return;
	}
	json_object_del(q->jobs, id);
	fake_answer(f, NULL);
}

static void job_change(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	if (!json_object_get(q->jobs, member(args, "id"))) {
		fake_refuse(f, "Job not found: x");
		return;
	}
	q->write_blocking = true;
	fake_answer(f, NULL);
}

static void job_known(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	const char *id = *member(args, "id") ? member(args, "id") : member(args, "device");

	if (json_object_get(q->jobs, id))
		fake_answer(f, NULL);
	else
		fake_refuse(f, "Job not found: x");
}

/* --- migration --- */

static void set_capabilities(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	json_t *one;
	size_t i;

	json_array_foreach (json_object_get(args, "capabilities"), i, one) {
		ck_assert(json_object_get(q->capabilities, member(one, "capability")) != NULL);
		json_object_set(q->capabilities, member(one, "capability"),
				json_object_get(one, "state"));
	}
	fake_answer(f, NULL);
}

static void set_parameters(struct fake *f, json_t *args, void *arg)
{
	json_object_update(((struct fake_qemu *)arg)->parameters, args);
	fake_answer(f, NULL);
}

static void migrate_incoming(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;
	const char *uri;
	int low, high;

	if (!is(q->state, "inmigrate") || q->incoming || *q->migration) {
		fake_refuse(f, "The incoming migration has already been started");
		return;
	}
	if (q->old && json_object_get(args, "exit-on-error")) {
		fake_refuse(f, "Parameter 'exit-on-error' is unexpected");
		return;
	}
	uri = member(args, "uri");
	ck_assert_int_eq(sscanf(strrchr(uri, ':'), ":%d,to=%d", &low, &high), 2);
	for (int port = low; q->ram_fd < 0 && port <= high; port++)
		q->ram_fd = listen_on(port);
	if (q->ram_fd < 0) {
		fake_refuse(f, "Failed to find an available port: Address already in use");
		q->migration = "setup"; /* from 10.0 on */
		return;
	}
	q->incoming = true;
	q->keep = json_is_false(json_object_get(args, "exit-on-error"));
	fake_answer(f, NULL);
	set_migration(q, "setup");
}

static bool pauses(const struct fake_qemu *q)
{
	return json_is_true(json_object_get(q->capabilities, "pause-before-switchover"));
}

/* The rest goes over, and the disks become inactive here. */
static void complete(struct fake_qemu *q)
{
	json_t *status;
	const char *id;

	json_object_foreach (q->jobs, id, status) {
		ck_assert_msg(is(json_string_value(status), "concluded"), "%s still runs", id);
	}
	set_migration(q, "device");
	q->state = "postmigrate";
	set_migration(q, "completed");
	if (q->peer->gone)
		return;
	ck_assert_msg(q->peer->hold, "the destination does not wait for `cont`");
	q->peer->state = "paused";
	q->peer->incoming = false;
	close_fd(&q->peer->ram_fd);
	set_migration(q->peer, "completed");
}

static bool have_same_keys(const struct fake_qemu *a, const struct fake_qemu *b)
{
	const char *keys = member(a->parameters, "tls-creds");

	return has_keys(a, keys) && has_keys(b, keys) &&
	       is(keys, member(b->parameters, "tls-creds"));
}

static void migrate(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	if (!str_starts(member(args, "uri"), "fd:") || !use_fd(q, member(args, "uri") + 3)) {
		fake_refuse(f, "No file descriptor named 'x' found");
		return;
	}
	fake_answer(f, NULL);
	set_migration(q, "setup");
	if (!q->peer || q->peer->gone || !q->peer->incoming || !have_same_keys(q, q->peer)) {
		set_migration(q, "failed");
		return;
	}
	q->was_running = fake_qemu_running(q);
	set_migration(q, "active");
	set_migration(q->peer, "active");
	if (q->pause_in_copy)
		return;
	if (q->was_running) {
		q->state = "finish-migrate";
		fake_event(f, "STOP", NULL);
	}
	if (pauses(q))
		set_migration(q, "pre-switchover");
	else
		complete(q);
}

static void migrate_continue(struct fake *f, json_t *args, void *arg)
{
	struct fake_qemu *q = arg;

	(void)args;
	if (!is(q->migration, "pre-switchover")) {
		fake_refuse(f, "Migration not in expected state: active");
		return;
	}
	fake_answer(f, NULL);
	complete(q);
}

static void fail_incoming(struct fake_qemu *dst)
{
	if (dst->gone || !dst->incoming)
		return;
	set_migration(dst, "failed");
	if (!dst->keep)
		fake_qemu_die(dst);
}

static void migrate_cancel(struct fake *f, json_t *args, void *arg)
{
	static const char *const active[] = {"setup", "active", "pre-switchover"};
	struct fake_qemu *q = arg;
	bool is_active = false;

	(void)args;
	for (size_t i = 0; i < COUNT_OF(active); i++)
		is_active = is_active || is(q->migration, active[i]);
	fake_answer(f, NULL);
	if (!is_active)
		return;
	set_migration(q, "cancelling");
	if (q->was_running && !fake_qemu_running(q))
		run(q);
	set_migration(q, "cancelled");
	if (q->peer)
		fail_incoming(q->peer);
}

/* --- the whole --- */

static const struct {
	const char *name;
	fake_fn *fn;
} commands[] = {
	{"query-status", query_status},
	{"query-block", query_block},
	{"qom-get", qom_get},
	{"query-block-jobs", query_jobs},
	{"query-named-block-nodes", query_nodes},
	{"query-block-exports", query_exports},
	{"query-migrate", query_migrate},
	{"query-migrate-capabilities", query_capabilities},
	{"query-migrate-parameters", query_parameters},
	{"stop", stop},
	{"cont", cont},
	{"quit", quit},
	{"blockdev-set-active", set_active},
	{"nbd-server-start", nbd_start},
	{"nbd-server-stop", nbd_stop},
	{"block-export-add", export_add},
	{"block-export-del", export_del},
	{"block_resize", resize},
	{"blockdev-add", node_add},
	{"blockdev-del", node_del},
	{"blockdev-mirror", mirror},
	{"drive-mirror", mirror},
	{"block-job-cancel", job_cancel},
	{"block-job-set-speed", job_known},
	{"block-job-change", job_change},
	{"block-job-resume", job_known},
	{"job-dismiss", job_dismiss},
	{"migrate-set-capabilities", set_capabilities},
	{"migrate-set-parameters", set_parameters},
	{"migrate-incoming", migrate_incoming},
	{"migrate", migrate},
	{"migrate-continue", migrate_continue},
	{"migrate_cancel", migrate_cancel},
	{"object-add", object_add},
	{"object-del", object_del},
	{"query-stats", query_stats},
	{"qom-list", qom_list},
	{"getfd", getfd},
	{"closefd", closefd},
};

static void set_answers(struct fake_qemu *q)
{
	json_t *names = json_array();

	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		fake_call_fn(q->fake, commands[i].name, commands[i].fn, q);
		json_array_append_new(names, json_pack("{s:s}", "name", commands[i].name));
	}
	fake_reply_json(q->fake, "query-commands", names);
	fake_reply(q->fake, "query-name", "{\"name\": \"web1\"}");
	fake_reply(q->fake, "query-uuid", "{\"UUID\": \"00000000-0000-0000-0000-000000000001\"}");
}

static void make_file(const struct fake_qemu *q, struct fake_drive *d, const char *name)
{
	_autofree_ char *directory = str_directory(fake_path(q->fake));
	FILE *f;

	snprintf(d->file, sizeof(d->file), "%s/%s", directory, name);
	f = fopen(d->file, "w");
	ck_assert(f != NULL);
	fclose(f);
}

void fake_qemu_init(struct fake_qemu *q, struct loop *loop, bool destination)
{
	*q = (struct fake_qemu){
		.state = destination ? "inmigrate" : "running",
		.hold = destination,
		.migration = "",
		.nbd_fd = -1,
		.ram_fd = -1,
		.fds = json_object(),
		.objects = json_object(),
		.qom = json_object(),
		.loop = loop,
		.fake = fake_new(loop, destination ? "destination" : "source"),
		.jobs = json_object(),
		.nodes = json_object(),
		.exports = json_object(),
		.capabilities =
			json_pack("{s:b, s:b, s:b, s:b}", "events", 0, "pause-before-switchover", 0,
				  "late-block-activate", 0, "return-path", 0),
		.parameters = json_pack("{s:i, s:i, s:s, s:s}", "max-bandwidth", 134217728,
					"downtime-limit", 300, "tls-creds", "", "tls-hostname", ""),
	};
	q->drives[0] = (struct fake_drive){
		.device = "virtio0",
		.qdev = "/machine/peripheral/vd0/virtio-backend",
		.type = "virtio-blk-device",
		.node = destination ? "#block222" : "#block111",
		.driver = "raw",
		.size = 1 << 20,
	};
	q->drives[1] = (struct fake_drive){
		.device = "",
		.qdev = "sd1",
		.type = "scsi-hd",
		.node = "data",
		.driver = "qcow2",
		.size = 2 << 20,
	};
	make_file(q, &q->drives[0], "a.img");
	make_file(q, &q->drives[1], "b.img");
	q->at_start = json_pack("{s:o, s:o}", "capabilities", json_copy(q->capabilities),
				"parameters", json_copy(q->parameters));
	set_answers(q);
}

void fake_qemu_pair(struct fake_qemu *src, struct fake_qemu *dst)
{
	src->peer = dst;
	dst->peer = src;
}

void fake_qemu_deinit(struct fake_qemu *q)
{
	_autofree_ char *directory = str_directory(fake_path(q->fake));
	_autofree_ char *a = str_printf("%s/a.img", directory);
	_autofree_ char *b = str_printf("%s/b.img", directory);

	stop_nbd(q);
	close_fd(&q->ram_fd);
	unlink(a);
	unlink(b);
	fake_free(q->fake);
	json_decref(q->capabilities);
	json_decref(q->parameters);
	json_decref(q->jobs);
	json_decref(q->nodes);
	json_decref(q->fds);
	json_decref(q->objects);
	json_decref(q->qom);
	json_decref(q->more_drive);
	json_decref(q->exports);
	json_decref(q->at_start);
}

void fake_qemu_cannot(struct fake_qemu *q, const char *name)
{
	json_t *names = json_array();

	for (size_t i = 0; i < COUNT_OF(commands); i++)
		if (!is(commands[i].name, name))
			json_array_append_new(names, json_pack("{s:s}", "name", commands[i].name));
	fake_reply_json(q->fake, "query-commands", names);
	json_object_del(q->capabilities, name);
	json_object_del(json_object_get(q->at_start, "capabilities"), name);
}

const char *fake_qemu_changed(const struct fake_qemu *q)
{
	if (q->gone)
		return NULL;
	if (q->nbd_fd >= 0)
		return "the NBD server runs";
	if (json_object_size(q->exports))
		return "there is an export";
	if (json_object_size(q->jobs))
		return "there is a job";
	if (json_object_size(q->fds))
		return "there is a descriptor nobody uses";
	if (json_object_size(q->nodes))
		return "there is a node";
	if (json_object_size(q->objects))
		return "there is an object";
	if (!json_equal(q->capabilities, json_object_get(q->at_start, "capabilities")))
		return "a capability is not as it was";
	if (!json_equal(q->parameters, json_object_get(q->at_start, "parameters")))
		return "a parameter is not as it was";
	return q->incoming ? "it waits for RAM" : NULL;
}
