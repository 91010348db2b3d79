/* For programs: one JSON object a line on stdout, each with "vmferry": 1 (the version of
 * this form) and "type". The man page lists the types and their members; members may be
 * added, none is taken away within a version.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/show.h"
#include "migrate/keys.h"
#include "migrate/tunnel.h"

struct show_json {
	struct show show;
	struct out *out;
};

static void begin(struct buf *b, const char *type)
{
	buf_printf(b, "{\"vmferry\":1,\"type\":");
	buf_json_string(b, type);
}

static void add_string(struct buf *b, const char *key, const char *value)
{
	buf_printf(b, ",\"%s\":", key);
	buf_json_string(b, value);
}

static void add_number(struct buf *b, const char *key, int64_t value)
{
	buf_printf(b, ",\"%s\":%" PRId64, key, value);
}

static void add_bool(struct buf *b, const char *key, bool value)
{
	buf_printf(b, ",\"%s\":%s", key, value ? "true" : "false");
}

static void print_line(struct out *out, enum out_kind kind, struct buf *b)
{
	buf_printf(b, "}\n");
	out_add(out, kind, b->data);
}

static void text_line(struct out *out, const char *type, const char *text)
{
	_cleanup_buf_ struct buf b = {0};

	begin(&b, type);
	add_string(&b, "text", text);
	print_line(out, OUT_MESSAGE, &b);
}

static void tell_lost(struct buf *line, size_t count)
{
	_autofree_ char *text = show_lost_text(count);

	begin(line, "note");
	add_string(line, "text", text);
	buf_printf(line, "}\n");
}

static void on_step(void *arg, const struct step *step, enum step_state state)
{
	static const char *const names[] = {"begun", "done", "failed", "undoing", "undone"};
	struct show_json *j = arg;
	_cleanup_buf_ struct buf b = {0};

	begin(&b, "step");
	add_string(&b, "step", step->name);
	add_string(&b, "phase", phase_name(step->phase));
	add_string(&b, "state", names[state]);
	print_line(j->out, OUT_MESSAGE, &b);
}

static void on_progress(void *arg, const struct progress *items, size_t count)
{
	struct show_json *j = arg;

	for (size_t i = 0; i < count; i++) {
		_cleanup_buf_ struct buf b = {0};

		begin(&b, "progress");
		add_string(&b, "name", items[i].name);
		add_number(&b, "done_bytes", (int64_t)items[i].done_bytes);
		add_number(&b, "total_bytes", (int64_t)items[i].total_bytes);
		add_bool(&b, "finished", items[i].finished);
		print_line(j->out, OUT_CHATTER, &b);
	}
}

static void on_note(void *arg, const char *text)
{
	struct show_json *j = arg;

	text_line(j->out, "note", text);
}

static void on_line(void *arg, const char *name, bool out, const char *text, size_t len)
{
	struct show_json *j = arg;
	_cleanup_buf_ struct buf b = {0};
	_autofree_ char *line = str_printf("%.*s", (int)len, text);

	begin(&b, "qmp");
	add_string(&b, "side", name);
	add_string(&b, "direction", out ? "sent" : "received");
	add_string(&b, "text", line);
	print_line(j->out, OUT_CHATTER, &b);
}

static void plan_disk(struct out *out, const struct disk *disk)
{
	_cleanup_buf_ struct buf b = {0};

	begin(&b, "disk");
	add_string(&b, "name", disk->name);
	add_string(&b, "format", disk->src->driver);
	add_string(&b, "source", disk->src_path);
	add_string(&b, "destination", disk->dst_path);
	add_number(&b, "size_bytes", (int64_t)disk->src->virtual_size);
	add_number(&b, "allocated_bytes", (int64_t)disk->src->actual_size);
	add_bool(&b, "create", disk->fate == DISK_CREATE);
	print_line(out, OUT_MESSAGE, &b);
}

static void plan_step(struct out *out, const struct step *step)
{
	_cleanup_buf_ struct buf b = {0};

	begin(&b, "planned_step");
	add_string(&b, "step", step->name);
	add_string(&b, "phase", phase_name(step->phase));
	add_string(&b, "meaning", step->meaning);
	add_bool(&b, "cancellable", step->cancellable);
	print_line(out, OUT_MESSAGE, &b);
}

static void plan_extra(struct out *out, const struct extra *extra)
{
	_cleanup_buf_ struct buf b = {0};

	begin(&b, "extra");
	add_string(&b, "source", extra->file->src_path);
	add_string(&b, "destination", extra->file->path);
	add_number(&b, "size_bytes", (int64_t)extra->size_bytes);
	print_line(out, OUT_MESSAGE, &b);
}

static void plan_argument(struct out *out, const char *text, bool changed)
{
	_cleanup_buf_ struct buf b = {0};

	begin(&b, "argument");
	add_string(&b, "text", text);
	add_bool(&b, "changed", changed);
	print_line(out, OUT_MESSAGE, &b);
}

/* What a QEMU has told of itself; nothing of one that was not asked. */
static void plan_abilities(struct out *out, const struct side *side)
{
	for (int cap = 0; side->qmp && cap < QMP_CAP_COUNT; cap++) {
		_cleanup_buf_ struct buf b = {0};

		begin(&b, "ability");
		add_string(&b, "side", side->name);
		add_string(&b, "name", qmp_cap_name(cap));
		add_bool(&b, "can", qmp_can(&side->caps, cap));
		print_line(out, OUT_MESSAGE, &b);
	}
}

static void on_plan(struct show *show, const struct migration *m)
{
	struct out *out = ((struct show_json *)show)->out;
	_cleanup_buf_ struct buf b = {0};

	begin(&b, "plan");
	add_string(&b, "guest", m->guest.name);
	add_string(&b, "uuid", m->guest.uuid);
	add_string(&b, "state", m->src.status.state);
	add_string(&b, "method", m->in_stream ? "stream" : "mirror");
	add_string(&b, "encryption", keys_method_name(keys_method(m)));
	add_string(&b, "data_address", m->listening.address);
	add_number(&b, "port_low", tunnel_is_used(m) ? 0 : m->opt->port_low);
	add_number(&b, "port_high", tunnel_is_used(m) ? 0 : m->opt->port_high);
	add_string(&b, "start", m->opt->start);
	add_bool(&b, "keep_source", m->opt->keep_source);
	add_bool(&b, "incremental", m->incremental);
	print_line(out, OUT_MESSAGE, &b);
	for (size_t i = 0; i < m->disks.count; i++)
		plan_disk(out, &m->disks.list[i]);
	for (size_t i = 0; i < m->left_out.count; i++)
		text_line(out, "left_out", m->left_out.list[i]);
	for (size_t i = 0; i < m->extras.count; i++)
		if (m->extras.list[i].ram)
			text_line(out, "ram_file", m->extras.list[i].file->path);
		else
			plan_extra(out, &m->extras.list[i]);
	for (size_t i = 0; i < steps_count; i++)
		if (step_applies(&steps[i], m))
			plan_step(out, &steps[i]);
	for (size_t i = 0; i < m->clone.count; i++)
		plan_argument(out, m->clone.argv[i], m->clone.changed[i]);
	for (size_t i = 0; i < m->repairs.count; i++)
		text_line(out, "repair", m->repairs.list[i]);
	plan_abilities(out, &m->src);
	plan_abilities(out, &m->dst);
}

static void on_end(struct show *show, const struct migration *m, const struct err *err, int code)
{
	static const char *const names[] = {
		"done", "", "usage", "refused", "undone", "interrupted", "needs_human"};
	struct out *out = ((struct show_json *)show)->out;
	_cleanup_buf_ struct buf b = {0};

	for (size_t i = 0; i < m->problems.count; i++)
		text_line(out, "objection", m->problems.list[i]);
	for (size_t i = 0; i < m->left_behind.count; i++)
		text_line(out, "left_behind", m->left_behind.list[i]);
	for (size_t i = 0; i < m->seen.count; i++)
		text_line(out, "seen", m->seen.list[i]);
	for (size_t i = 0; i < m->choices.count; i++)
		text_line(out, "choice", m->choices.list[i]);
	begin(&b, "result");
	add_string(&b, "result", names[code]);
	add_number(&b, "exit_code", code);
	add_string(&b, "error", err ? err->text : NULL);
	if (m->switched && m->was_running && !m->by_hand && !m->resumed)
		add_number(&b, "stopped_ms", m->resumed_ms - m->stopped_ms);
	print_line(out, OUT_MESSAGE, &b);
}

static void on_free(struct show *show)
{
	struct show_json *j = (struct show_json *)show;

	out_finish(j->out, SHOW_FINISH_MS);
	out_free(j->out);
	free(j);
}

struct show *show_json_new(const struct cmdline *cmd, struct loop *loop)
{
	struct show_json *j = mem_zalloc(1, sizeof(*j));

	j->out = out_new(loop, cmd->cookie_on_stdout ? STDERR_FILENO : STDOUT_FILENO, tell_lost);
	j->show = (struct show){
		.report = {.step = on_step,
			   .progress = on_progress,
			   .note = on_note,
			   .line = cmd->verbosity == VERBOSE ? on_line : NULL,
			   .arg = j},
		.plan = on_plan,
		.end = on_end,
		.free = on_free,
	};
	return &j->show;
}
