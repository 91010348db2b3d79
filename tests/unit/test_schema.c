/* Every command that src/qmp sends, with every shape of its arguments, against the schemas
 * of real QEMUs (data/schema-*.json, made by data/record.py). */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "fake_qmp.h"
#include "qmp/block.h"
#include "qmp/call.h"
#include "qmp/drives.h"
#include "qmp/machine.h"
#include "qmp/migration.h"
#include "qmp/tls.h"
#include "qmp/tree.h"
#include "unit.h"

/* --- the schema --- */

static json_t *schema;

static json_t *entry_of(const char *name)
{
	json_t *entry;
	size_t i;

	json_array_foreach (schema, i, entry) {
		if (str_eq(qmp_str(entry, "name"), name))
			return entry;
	}
	return NULL;
}

static bool fits(const char *type, json_t *value, struct buf *why);

static bool fits_builtin(const char *json_type, json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_STRING:
		return str_eq(json_type, "string");
	case JSON_INTEGER:
		return str_eq(json_type, "int") || str_eq(json_type, "number");
	case JSON_REAL:
		return str_eq(json_type, "number");
	case JSON_TRUE:
	case JSON_FALSE:
		return str_eq(json_type, "boolean");
	case JSON_NULL:
		return str_eq(json_type, "null");
	default:
		return false;
	}
}

static bool fits_enum(const json_t *entry, const json_t *value)
{
	json_t *name;
	size_t i;

	json_array_foreach (json_object_get(entry, "values"), i, name) {
		if (json_equal(name, value))
			return true;
	}
	return false;
}

static bool fits_array(const json_t *entry, const json_t *value, struct buf *why)
{
	json_t *item;
	size_t i;

	json_array_foreach (value, i, item) {
		if (!fits(qmp_str(entry, "element-type"), item, why))
			return false;
	}
	return json_is_array(value);
}

static bool fits_any(const json_t *entry, json_t *value)
{
	json_t *member;
	size_t i;

	json_array_foreach (json_object_get(entry, "members"), i, member) {
		_cleanup_buf_ struct buf unused = {0};

		if (fits(qmp_str(member, "type"), value, &unused))
			return true;
	}
	return false;
}

/* Checks the members of @entry that @object has, takes them out, and tells when one that
 * is required is not there. */
static bool take_members(const json_t *entry, json_t *object, struct buf *why)
{
	json_t *member;
	size_t i;

	json_array_foreach (json_object_get(entry, "members"), i, member) {
		const char *name = qmp_str(member, "name");
		json_t *value = json_object_get(object, name);

		if (!value && json_object_get(member, "default"))
			continue;
		if (!value || !fits(qmp_str(member, "type"), value, why)) {
			buf_printf(why, " %s %s", value ? "in" : "missing", name);
			return false;
		}
		json_object_del(object, name);
	}
	return true;
}

static const char *variant_type(const json_t *entry, const char *tag)
{
	json_t *variant;
	size_t i;

	json_array_foreach (json_object_get(entry, "variants"), i, variant) {
		if (str_eq(qmp_str(variant, "case"), tag))
			return qmp_str(variant, "type");
	}
	return NULL;
}

static bool fits_object(const json_t *entry, json_t *value, struct buf *why)
{
	_cleanup_json_ json_t *rest = json_copy(value);
	const char *tag = qmp_str(entry, "tag");
	_autofree_ char *chosen = tag ? str_dup(qmp_str(value, tag)) : NULL;
	const char *variant = variant_type(entry, chosen);

	if (!json_is_object(value) || !take_members(entry, rest, why) ||
	    (variant && !take_members(entry_of(variant), rest, why)))
		return false;
	if (json_object_size(rest))
		buf_printf(why, " unknown %s", json_object_iter_key(json_object_iter(rest)));
	return !json_object_size(rest);
}

static bool fits(const char *type, json_t *value, struct buf *why)
{
	const json_t *entry = entry_of(type);
	const char *kind = qmp_str(entry, "meta-type");

	ck_assert_msg(entry != NULL, "the schema was cut too short: no type %s", type);
	if (str_eq(kind, "object"))
		return fits_object(entry, value, why);
	if (str_eq(kind, "array"))
		return fits_array(entry, value, why);
	if (str_eq(kind, "alternate"))
		return fits_any(entry, value);
	if (str_eq(kind, "enum"))
		return fits_enum(entry, value);
	return fits_builtin(qmp_str(entry, "json-type"), value);
}

/* --- what src/qmp sends --- */

static struct loop *loop;
static struct fake *fake;
static struct qmp *qmp;
static struct err err;

static void accept_all(struct fake *f, json_t *args, void *arg)
{
	(void)args;
	fake_answer(f, arg ? json_loads(arg, 0, NULL) : NULL);
}

/* Is this the exit-on-error that QEMU before 9.1 refuses, to be asked again without? */
static bool refused_at_first(const char *command, const json_t *args)
{
	const json_t *entry, *member;
	size_t i;

	if (!schema || !str_eq(command, "migrate-incoming") ||
	    !json_object_get(args, "exit-on-error"))
		return false;
	entry = entry_of(qmp_str(entry_of(command), "arg-type"));
	json_array_foreach (json_object_get(entry, "members"), i, member) {
		if (str_eq(qmp_str(member, "name"), "exit-on-error"))
			return false;
	}
	return true;
}

static void migrate_incoming(struct fake *f, json_t *args, void *arg)
{
	(void)arg;
	if (refused_at_first("migrate-incoming", args))
		fake_refuse(f, "Parameter 'exit-on-error' is unexpected");
	else
		fake_answer(f, NULL);
}

static void begin(void)
{
	static const char *const commands[] = {
		"nbd-server-start",
		"nbd-server-stop",
		"nbd-server-add",
		"block-export-add",
		"block-export-del",
		"block_resize",
		"blockdev-add",
		"blockdev-del",
		"blockdev-mirror",
		"drive-mirror",
		"block-job-change",
		"block-job-set-speed",
		"block-job-resume",
		"block-job-cancel",
		"job-dismiss",
		"cont",
		"stop",
		"quit",
		"migrate-set-capabilities",
		"query-status",
		"query-name",
		"migrate-set-parameters",
		"migrate",
		"migrate_cancel",
		"migrate-continue",
		"query-uuid",
		"query-migrate",
		"query-block-jobs",
		"query-migrate-capabilities",
		"query-named-block-nodes",
		"query-migrate-parameters",
		"query-block-exports",
		"qom-get",
		"query-commands",
		"getfd",
		"closefd",
		"query-memory-size-summary",
		"query-cpus-fast",
		"blockdev-set-active",
		"query-pci",
		"yank",
		"blockdev-reopen",
		"object-add",
		"object-del",
	};
	struct stream *stream;

	loop = loop_new(NULL);
	fake = fake_new(loop, "fake");
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		fake_call_fn(fake, commands[i], accept_all, NULL);
	fake_call_fn(fake, "migrate-incoming", migrate_incoming, NULL);
	fake_reply(fake, "qom-list", "[{\"name\": \"a\", \"type\": \"child<b>\"}]");
	fake_reply(fake, "query-block", "[{\"device\": \"d\", \"qdev\": \"/machine/x\"}]");
	stream = stream_unix(loop, fake_path(fake), 1000, &err);
	qmp = qmp_open(loop, stream, "fake", NULL, 20000, 20000, &err);
	ck_assert_msg(qmp != NULL, "%s", err.text);
}

static void end(void)
{
	qmp_close(qmp);
	fake_free(fake);
	fake_calls_forget();
	loop_free(loop);
}

static void say_block(const struct qmp_caps *caps)
{
	size_t count;
	bool there;

	ck_assert_ok(qmp_nbd_start(qmp, "127.0.0.1", 49152, NULL, &err), &err);
	ck_assert_ok(qmp_nbd_start(qmp, "127.0.0.1", 49152, "k", &err), &err);
	ck_assert_ok(qmp_nbd_start_unix(qmp, "/run/nbd", &err), &err);
	ck_assert_ok(qmp_finish(qmp_nbd_stop_send(qmp), &err), &err);
	ck_assert_ok(qmp_export_add(qmp, caps, "#block123", "vmferry-disk-0", &err), &err);
	ck_assert_ok(qmp_export_del(qmp, "vmferry-disk-0", &err), &err);
	ck_assert_ok(qmp_export_count(qmp, caps, &count, &err), &err);
	ck_assert_ok(qmp_node_resize(qmp, "n", 1ull << 42, &err), &err);
	ck_assert_ok(qmp_node_del(qmp, "n", &err), &err);
	ck_assert_ok(qmp_node_exists(qmp, "n", &there, &err), &err);
}

static void say_target(void)
{
	struct qmp_target target = {.nbd_node = "n", .fd_name = "f", .export = "e"};

	ck_assert_ok(qmp_target_add(qmp, "t", &target, &err), &err);
	target.limit_bytes = 1ull << 42;
	ck_assert_ok(qmp_target_add(qmp, "t", &target, &err), &err);
	ck_assert_ok(qmp_target_replug(qmp, "t", &target, &err), &err);
	target.fd_name = NULL;
	target.address = "192.0.2.1";
	target.port = 49152;
	ck_assert_ok(qmp_target_add(qmp, "t", &target, &err), &err);
	ck_assert_ok(qmp_finish(qmp_node_yank_send(qmp, "n"), &err), &err);
}

/* Each way of connecting, with what goes with TLS in it. */
static void say_encrypted(void)
{
	struct qmp_target target = {
		.nbd_node = "n", .fd_name = "f", .export = "e", .tls = "k", .tls_name = "host"};
	struct qmp_tls tls = {.id = "k", .directory = "/run/k"};

	ck_assert_ok(qmp_target_add(qmp, "t", &target, &err), &err);
	target.fd_name = NULL;
	target.address = "fd00::1";
	target.port = 49152;
	ck_assert_ok(qmp_target_add(qmp, "t", &target, &err), &err);
	for (int kind = 0; kind < 4; kind++) {
		tls.certificates = kind & 1;
		tls.server = kind & 2;
		ck_assert_ok(qmp_tls_add(qmp, &tls, &err), &err);
	}
	ck_assert_ok(qmp_tls_remove(qmp, "a", &err), &err);
	ck_assert_ok(qmp_tls_for_ram(qmp, "k", &err), &err);
	ck_assert_ok(qmp_tls_for_ram(qmp, "", &err), &err);
}

static void say_jobs(void)
{
	const char *id = "j";
	struct qmp_job job;
	char *any;

	ck_assert_ok(qmp_job_set_speed(qmp, "j", 1ull << 30, &err), &err);
	ck_assert_ok(qmp_finish(qmp_job_cancel_send(qmp, "j", false), &err), &err);
	ck_assert_ok(qmp_finish(qmp_job_cancel_send(qmp, "j", true), &err), &err);
	ck_assert_ok(qmp_job_resume(qmp, "j", &err), &err);
	ck_assert_ok(qmp_job_dismiss(qmp, "j", &err), &err);
	ck_assert_ok(qmp_jobs_query(qmp, &id, &job, 1, &err), &err);
	ck_assert_ok(qmp_any_job(qmp, &any, &err), &err);
}

/* Every member set, and none. */
static void say_mirrors(const struct qmp_caps *caps)
{
	struct qmp_mirror mirror = {
		.job = "j",
		.node = "#block123",
		.target_node = "t",
		.buf_size = 256 << 20,
		.speed = 1 << 30,
		.target = {.nbd_node = "n", .fd_name = "f", .export = "e", .limit_bytes = 5},
	};

	ck_assert_ok(qmp_mirror_start(qmp, caps, &mirror, &err), &err);
	mirror.target_node = NULL;
	ck_assert_ok(qmp_mirror_start(qmp, caps, &mirror, &err), &err);
	mirror.buf_size = mirror.speed = 0;
	mirror.top = true;
	ck_assert_ok(qmp_mirror_start(qmp, caps, &mirror, &err), &err);
	mirror.target_node = "t";
	ck_assert_ok(qmp_mirror_start(qmp, caps, &mirror, &err), &err);
}

static void say_run_state(void)
{
	struct qmp_status status;
	struct qmp_identity identity;

	ck_assert_ok(qmp_status_query(qmp, &status, &err), &err);
	ck_assert_ok(qmp_finish(qmp_cont_send(qmp), &err), &err);
	ck_assert_ok(qmp_stop(qmp, &err), &err);
	ck_assert_ok(qmp_identity_query(qmp, &identity, &err), &err);
	ck_assert_ok(qmp_quit(qmp, &err), &err);
}

static void say_migration(void)
{
	struct qmp_migration migration;
	struct qmp_parameters parameters = {.max_bandwidth = 1ull << 40, .downtime_limit_ms = 300};
	bool on;

	ck_assert_ok(qmp_migration_query(qmp, &migration, &err), &err);
	ck_assert_ok(qmp_capability_get(qmp, "events", &on, &err), &err);
	for (int cap = QMP_MIG_EVENTS; cap < QMP_MIG_BLOCK; cap++) {
		ck_assert_ok(qmp_capability_set(qmp, qmp_cap_name(cap), true, &err), &err);
		ck_assert_ok(qmp_capability_set(qmp, qmp_cap_name(cap), false, &err), &err);
	}
	ck_assert_ok(qmp_parameters_set(qmp, &parameters, false, &err), &err);
	ck_assert_ok(qmp_parameters_set(qmp, &parameters, true, &err), &err);
	ck_assert_ok(qmp_parameters_get(qmp, &parameters, &err), &err);
	ck_assert_ok(qmp_migrate_incoming(qmp, "0.0.0.0", 1, 65535, &err), &err);
	ck_assert_ok(qmp_migrate_incoming_unix(qmp, "/run/ram", &err), &err);
	ck_assert_ok(qmp_pass_fd(qmp, "f", 0, &err), &err);
	qmp_drop_fd(qmp, "f");
	ck_assert_ok(qmp_migrate(qmp, "f", QMP_STREAM_RAM, &err), &err);
	ck_assert_ok(qmp_migrate_cancel(qmp, &err), &err);
	ck_assert_ok(qmp_finish(qmp_migrate_continue_send(qmp), &err), &err);
}

static void say_everything(const struct qmp_caps *caps)
{
	struct qmp_drives drives;
	struct qmp_machine machine;
	struct qmp_tree tree;
	struct qmp_caps unused;

	say_block(caps);
	say_target();
	say_encrypted();
	say_jobs();
	say_mirrors(caps);
	if (qmp_can(caps, QMP_BLOCK_JOB_CHANGE))
		ck_assert_ok(qmp_job_write_blocking(qmp, "j", &err), &err);
	if (qmp_can(caps, QMP_SET_ACTIVE))
		ck_assert_ok(qmp_nodes_activate(qmp, &err), &err);
	say_run_state();
	say_migration();
	if (qmp_can(caps, QMP_MIG_BLOCK)) {
		ck_assert_ok(qmp_migrate(qmp, "f", QMP_STREAM_DISKS, &err), &err);
		ck_assert_ok(qmp_migrate(qmp, "f", QMP_STREAM_DISK_TOPS, &err), &err);
	}
	ck_assert_ok(qmp_machine_query(qmp, &machine, &err), &err);
	ck_assert_ok(qmp_drives_query(qmp, &drives, &err), &err);
	ck_assert_ok(qmp_tree_query(qmp, &tree, &err), &err);
	ck_assert_ok(qmp_caps_query(qmp, &unused, &err), &err);
	qmp_tree_deinit(&tree);
	qmp_drives_deinit(&drives);
}

/* --- the comparison --- */

static void load(const char *version)
{
	_autofree_ char *path = str_printf("%s/schema-%s.json", UNIT_DATA, version);
	json_error_t error;

	schema = json_load_file(path, 0, &error);
	ck_assert_msg(schema != NULL, "%s: %s", path, error.text);
}

/* Lets the fake be the QEMU of the schema, as far as its abilities go. */
static void query_caps(struct qmp_caps *caps)
{
	json_t *commands = json_array(), *capabilities = json_array(), *name, *entry;
	size_t i;

	json_array_foreach (schema, i, entry) {
		if (str_eq(qmp_str(entry, "meta-type"), "command"))
			json_array_append_new(commands,
					      json_pack("{s:s}", "name", qmp_str(entry, "name")));
	}
	entry = entry_of(qmp_str(entry_of("migrate-set-capabilities"), "arg-type"));
	entry = entry_of(qmp_str(json_array_get(json_object_get(entry, "members"), 0), "type"));
	entry = entry_of(qmp_str(entry, "element-type")); /* MigrationCapabilityStatus */
	entry = entry_of(qmp_str(json_array_get(json_object_get(entry, "members"), 0), "type"));
	json_array_foreach (json_object_get(entry, "values"), i, name) {
		json_array_append_new(capabilities,
				      json_pack("{s:O, s:b}", "capability", name, "state", 0));
	}
	fake_reply_json(fake, "query-commands", commands);
	fake_reply_json(fake, "query-migrate-capabilities", capabilities);
	fake_reply_json(fake, "query-qmp-schema", json_incref(schema));
	ck_assert_ok(qmp_caps_query(qmp, caps, &err), &err);
}

static void check_call(const struct fake_call *call, const char *version)
{
	const json_t *entry = entry_of(call->command);
	_cleanup_json_ json_t *none = json_object();
	_cleanup_buf_ struct buf why = {0};
	char *args = call->args ? json_dumps(call->args, 0) : str_dup("");

	ck_assert_msg(entry && str_eq(qmp_str(entry, "meta-type"), "command"),
		      "QEMU %s has no command %s", version, call->command);
	buf_printf(&why, " ");
	ck_assert_msg(fits(qmp_str(entry, "arg-type"), call->args ? call->args : none, &why),
		      "QEMU %s does not take %s %s:%s", version, call->command, args, why.data);
	free(args);
}

static void check_version(const char *version)
{
	struct qmp_caps caps;

	begin();
	load(version);
	query_caps(&caps);
	say_everything(&caps);
	ck_assert_uint_gt(fake_calls_count, 40);
	for (size_t i = 0; i < fake_calls_count; i++)
		if (!refused_at_first(fake_calls[i].command, fake_calls[i].args))
			check_call(&fake_calls[i], version);
	json_decref(schema);
	end();
}

START_TEST(qemu_7_2_takes_what_is_sent)
{
	check_version("7.2");
}
END_TEST

START_TEST(qemu_10_0_takes_what_is_sent)
{
	check_version("10.0");
}
END_TEST

START_TEST(qemu_11_1_takes_what_is_sent)
{
	check_version("11.1");
}
END_TEST

/* --- what each can --- */

START_TEST(what_a_qemu_can_is_seen)
{
	static const struct {
		const char *version;
		bool change, set_active, block, accelerators;
	} wanted[] = {
		{"7.2", false, false, true, false},
		{"10.0", true, true, false, false},
		{"11.1", true, true, false, true},
	};

	for (size_t i = 0; i < COUNT_OF(wanted); i++) {
		struct qmp_caps caps;

		begin();
		load(wanted[i].version);
		query_caps(&caps);
		ck_assert_int_eq(qmp_can(&caps, QMP_BLOCK_JOB_CHANGE), wanted[i].change);
		ck_assert_int_eq(qmp_can(&caps, QMP_SET_ACTIVE), wanted[i].set_active);
		ck_assert_int_eq(qmp_can(&caps, QMP_MIG_BLOCK), wanted[i].block);
		ck_assert_int_eq(qmp_can(&caps, QMP_ACCELERATORS), wanted[i].accelerators);
		for (int cap = 0; cap < QMP_CAP_COUNT; cap++)
			if (cap != QMP_ACCELERATORS && cap != QMP_BLOCK_JOB_CHANGE &&
			    cap != QMP_SET_ACTIVE && cap != QMP_MIG_BLOCK)
				ck_assert_msg(qmp_can(&caps, cap), "%s: %s", wanted[i].version,
					      qmp_cap_name(cap));
		json_decref(schema);
		end();
	}
}
END_TEST

START_TEST(nothing_is_taken_for_granted)
{
	struct qmp_caps caps;

	begin();
	memset(&caps, 1, sizeof(caps));
	fake_reply(fake, "query-commands", "[{}, 5, {\"name\": 5}, {\"name\": \"\"}]");
	fake_reply(fake, "query-migrate-capabilities", "[{\"state\": true}]");
	ck_assert_ok(qmp_caps_query(qmp, &caps, &err), &err);
	for (int cap = 0; cap < QMP_CAP_COUNT; cap++)
		ck_assert_msg(!qmp_can(&caps, cap), "%s", qmp_cap_name(cap));
	end();
}
END_TEST

START_TEST(every_ability_has_a_name)
{
	for (int cap = 0; cap < QMP_CAP_COUNT; cap++)
		ck_assert_ptr_nonnull(qmp_cap_name(cap));
	ck_assert_str_eq(qmp_cap_name(QMP_MIG_PAUSE), "pause-before-switchover");
}
END_TEST

/* --- the shapes, word for word, where the schema leaves open what is meant --- */

static void sent(const char *command, const char *wanted)
{
	_cleanup_json_ json_t *json = json_loads(wanted, 0, NULL);
	char *got = json_dumps(fake_last(fake, command), 0);

	ck_assert_msg(json_equal(fake_last(fake, command), json), "%s %s", command, got);
	free(got);
}

START_TEST(a_larger_target_is_limited)
{
	struct qmp_target target = {
		.nbd_node = "n", .fd_name = "f", .export = "e", .limit_bytes = 1024};

	begin();
	ck_assert_ok(qmp_target_add(qmp, "t", &target, &err), &err);
	sent("blockdev-add",
	     "{\"node-name\": \"t\", \"driver\": \"raw\", \"size\": 1024, \"discard\": \"unmap\", "
	     "\"file\": {\"driver\": \"nbd\", \"node-name\": \"n\", \"export\": \"e\", "
	     "\"discard\": \"unmap\", \"server\": {\"type\": \"fd\", \"str\": \"f\"}}}");
	target.limit_bytes = 0;
	ck_assert_ok(qmp_target_add(qmp, "t", &target, &err), &err);
	ck_assert_ptr_null(json_object_get(fake_last(fake, "blockdev-add"), "size"));
	end();
}
END_TEST

START_TEST(a_target_that_comes_back_is_qemus_own)
{
	struct qmp_target target = {
		.nbd_node = "n", .address = "192.0.2.1", .port = 10809, .export = "e"};

	begin();
	ck_assert_ok(qmp_target_add(qmp, "t", &target, &err), &err);
	sent("blockdev-add",
	     "{\"node-name\": \"t\", \"driver\": \"raw\", \"discard\": \"unmap\", "
	     "\"file\": {\"driver\": \"nbd\", \"node-name\": \"n\", \"export\": \"e\", "
	     "\"discard\": \"unmap\", \"server\": {\"type\": \"inet\", "
	     "\"host\": \"192.0.2.1\", \"port\": \"10809\"}}}");
	end();
}
END_TEST

START_TEST(a_key_is_named_and_never_said)
{
	struct qmp_tls tls = {.id = "k", .directory = "/run/k"};

	begin();
	ck_assert_ok(qmp_tls_add(qmp, &tls, &err), &err);
	sent("object-add", "{\"qom-type\": \"tls-creds-psk\", \"id\": \"k\", \"dir\": \"/run/k\", "
			   "\"endpoint\": \"client\", "
			   "\"priority\": \"NORMAL:-CIPHER-ALL:+AES-128-GCM:+CHACHA20-POLY1305\", "
			   "\"username\": \"vmferry\"}");
	tls.server = true;
	ck_assert_ok(qmp_tls_add(qmp, &tls, &err), &err);
	sent("object-add", "{\"qom-type\": \"tls-creds-psk\", \"id\": \"k\", \"dir\": \"/run/k\", "
			   "\"endpoint\": \"server\", "
			   "\"priority\": \"NORMAL:-CIPHER-ALL:+AES-128-GCM:+CHACHA20-POLY1305\"}");
	tls.certificates = true;
	ck_assert_ok(qmp_tls_add(qmp, &tls, &err), &err);
	sent("object-add", "{\"qom-type\": \"tls-creds-x509\", \"id\": \"k\", \"dir\": \"/run/k\", "
			   "\"endpoint\": \"server\", \"verify-peer\": true}");
	end();
}
END_TEST

START_TEST(a_target_is_replugged)
{
	struct qmp_target target = {
		.nbd_node = "p", .fd_name = "p", .export = "e", .limit_bytes = 1024};

	begin();
	ck_assert_ok(qmp_target_replug(qmp, "t", &target, &err), &err);
	sent("blockdev-add", "{\"driver\": \"nbd\", \"node-name\": \"p\", \"export\": \"e\", "
			     "\"discard\": \"unmap\", \"server\": {\"type\": \"fd\", "
			     "\"str\": \"p\"}}");
	sent("blockdev-reopen",
	     "{\"options\": [{\"node-name\": \"t\", \"driver\": \"raw\", \"size\": 1024, "
	     "\"discard\": \"unmap\", \"file\": \"p\"}]}");
	fake_error(fake, "blockdev-add", "no such export");
	ck_assert_int_eq(qmp_target_replug(qmp, "t", &target, &err), -1);
	ck_assert_uint_eq(fake_count(fake, "blockdev-reopen"), 1);
	end();
}
END_TEST

/* Before 5.0. */
static void only_nested(struct fake *f, json_t *args, void *arg)
{
	(void)arg;
	if (json_object_get(args, "props"))
		fake_answer(f, NULL);
	else
		fake_refuse(f, "Parameter 'dir' is unexpected");
}

START_TEST(an_old_qemu_has_its_key_nested)
{
	struct qmp_tls tls = {.id = "k", .directory = "/run/k", .server = true};

	begin();
	fake_call_fn(fake, "object-add", only_nested, NULL);
	ck_assert_ok(qmp_tls_add(qmp, &tls, &err), &err);
	sent("object-add",
	     "{\"qom-type\": \"tls-creds-psk\", \"id\": \"k\", \"props\": "
	     "{\"dir\": \"/run/k\", \"endpoint\": \"server\", "
	     "\"priority\": \"NORMAL:-CIPHER-ALL:+AES-128-GCM:+CHACHA20-POLY1305\"}}");
	end();
}
END_TEST

START_TEST(the_newer_form_of_a_key_tells_why)
{
	struct qmp_tls tls = {.id = "k", .directory = "/run/k"};

	begin();
	fake_error(fake, "object-add", "Unable to access credentials");
	ck_assert_int_eq(qmp_tls_add(qmp, &tls, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "Unable to access credentials"));
	end();
}
END_TEST

START_TEST(an_ipv6_address_has_brackets_in_a_uri_only)
{
	begin();
	ck_assert_ok(qmp_migrate_incoming(qmp, "fd00::1", 5, 9, &err), &err);
	sent("migrate-incoming", "{\"uri\": \"tcp:[fd00::1]:5,to=9\", \"exit-on-error\": false}");
	ck_assert_ok(qmp_migrate_incoming(qmp, "10.0.0.2", 6, 6, &err), &err);
	sent("migrate-incoming", "{\"uri\": \"tcp:10.0.0.2:6,to=6\", \"exit-on-error\": false}");
	ck_assert_ok(qmp_nbd_start(qmp, "fd00::1", 5, NULL, &err), &err);
	sent("nbd-server-start",
	     "{\"addr\": {\"type\": \"inet\", \"data\": {\"host\": \"fd00::1\", "
	     "\"port\": \"5\"}}}");
	ck_assert_ok(qmp_migrate(qmp, "f", QMP_STREAM_RAM, &err), &err);
	sent("migrate", "{\"uri\": \"fd:f\"}");
	end();
}
END_TEST

START_TEST(an_export_is_writable_the_new_way_and_the_old)
{
	struct qmp_caps caps = {0};

	begin();
	ck_assert_ok(qmp_export_add(qmp, &caps, "n", "e", &err), &err);
	sent("nbd-server-add", "{\"device\": \"n\", \"name\": \"e\", \"writable\": true}");
	caps.can[QMP_BLOCK_EXPORT_ADD] = true;
	ck_assert_ok(qmp_export_add(qmp, &caps, "n", "e", &err), &err);
	sent("block-export-add",
	     "{\"type\": \"nbd\", \"id\": \"e\", \"node-name\": \"n\", \"name\": "
	     "\"e\", \"writable\": true}");
	end();
}
END_TEST

START_TEST(exports_are_not_asked_for_where_that_cannot_be)
{
	struct qmp_caps caps = {0};
	size_t count = 5;

	begin();
	ck_assert_ok(qmp_export_count(qmp, &caps, &count, &err), &err);
	ck_assert_uint_eq(count, 0);
	ck_assert_uint_eq(fake_count(fake, "query-block-exports"), 0);
	caps.can[QMP_QUERY_EXPORTS] = true;
	fake_reply(fake, "query-block-exports", "[{}, {}]");
	ck_assert_ok(qmp_export_count(qmp, &caps, &count, &err), &err);
	ck_assert_uint_eq(count, 2);
	end();
}
END_TEST

START_TEST(a_mirror_is_full_and_waits_to_be_dismissed)
{
	struct qmp_caps caps = {0};
	struct qmp_mirror mirror = {.job = "j", .node = "n", .target_node = "t", .speed = 7};

	begin();
	ck_assert_ok(qmp_mirror_start(qmp, &caps, &mirror, &err), &err);
	sent("blockdev-mirror", "{\"job-id\": \"j\", \"device\": \"n\", \"sync\": \"full\", "
				"\"on-target-error\": \"stop\", "
				"\"target\": \"t\", \"speed\": 7}");
	mirror.top = true;
	ck_assert_ok(qmp_mirror_start(qmp, &caps, &mirror, &err), &err);
	ck_assert_str_eq(qmp_str(fake_last(fake, "blockdev-mirror"), "sync"), "top");
	caps.can[QMP_JOB_DISMISS] = true;
	mirror.target_node = NULL;
	mirror.speed = 0;
	mirror.target = (struct qmp_target){.nbd_node = "n", .fd_name = "f", .export = "e"};
	ck_assert_ok(qmp_mirror_start(qmp, &caps, &mirror, &err), &err);
	ck_assert(json_is_false(json_object_get(fake_last(fake, "drive-mirror"), "auto-dismiss")));
	ck_assert_str_eq(qmp_str(fake_last(fake, "drive-mirror"), "mode"), "existing");
	ck_assert(str_starts(qmp_str(fake_last(fake, "drive-mirror"), "target"),
			     "json:{\"driver\":\"raw\""));
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		qemu_7_2_takes_what_is_sent,
		qemu_10_0_takes_what_is_sent,
		qemu_11_1_takes_what_is_sent,
		what_a_qemu_can_is_seen,
		nothing_is_taken_for_granted,
		every_ability_has_a_name,
		a_larger_target_is_limited,
		a_target_that_comes_back_is_qemus_own,
		a_target_is_replugged,
		a_key_is_named_and_never_said,
		an_old_qemu_has_its_key_nested,
		the_newer_form_of_a_key_tells_why,
		an_ipv6_address_has_brackets_in_a_uri_only,
		an_export_is_writable_the_new_way_and_the_old,
		exports_are_not_asked_for_where_that_cannot_be,
		a_mirror_is_full_and_waits_to_be_dismissed,
	};

	return unit_run("schema", tests, COUNT_OF(tests));
}
