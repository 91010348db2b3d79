/* For people, on stderr: on a terminal the step under way and a line for each disk and RAM,
 * rewritten in place; otherwise plain lines, progress at most every few seconds. The plan
 * of `check` is what was asked for, so it goes to stdout.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/show.h"
#include "cli/words.h"
#include "migrate/keys.h"
#include "migrate/tunnel.h"

#define PLAIN_EVERY_MS 5000

struct show_text {
	struct show show;
	struct out *err, *out; /* stderr; stdout, for the plan */
	enum verbosity verbosity;
	const struct step *step; /* under way; NULL: none */
	bool terminal;
	bool steps;       /* shown as they begin */
	int64_t plain_ms; /* when progress was last printed as plain lines */
	int64_t begun_ms;
};

/* In place of the progress lines of a terminal. Paths and names in it may be any bytes. */
static void say_as(struct show_text *t, enum out_kind kind, const char *text)
{
	_autofree_ char *clean = str_dup(text);
	_autofree_ char *line = NULL;

	str_sanitize(clean);
	line = str_printf("vmferry: %s\n", clean);
	out_set_foot(t->err, NULL, 0);
	out_add(t->err, kind, line);
}

static void say(struct show_text *t, const char *text)
{
	say_as(t, OUT_MESSAGE, text);
}

static void tell_lost(struct buf *line, size_t count)
{
	_autofree_ char *text = show_lost_text(count);

	buf_printf(line, "vmferry: %s\n", text);
}

/* The step under way, above the progress lines of a terminal. */
static void add_step(struct buf *foot, const struct step *step)
{
	buf_printf(foot, "%s: %s\n", step->name, step->meaning);
}

static void on_step(void *arg, const struct step *step, enum step_state state)
{
	struct show_text *t = arg;
	_cleanup_buf_ struct buf foot = {0};
	_autofree_ char *text = NULL;

	if (t->verbosity == QUIET || !t->steps)
		return;
	t->step = state == STEP_BEGUN ? step : NULL;
	if (state == STEP_BEGUN)
		text = str_printf("%s: %s", step->name, step->meaning);
	else if (state == STEP_UNDOING)
		text = str_printf("undo: %s", step->name);
	else
		return;
	if (t->terminal && t->verbosity != VERBOSE && state == STEP_BEGUN) {
		add_step(&foot, step);
		out_set_foot(t->err, foot.data, 1);
	} else {
		say(t, text);
	}
}

static void add_item(struct buf *b, const struct progress *item)
{
	char done[32], total[32];
	double percent = item->total_bytes
				 ? 100.0 * (double)item->done_bytes / (double)item->total_bytes
				 : 100.0;

	buf_printf(b, "  %-16s %5.1f %%  %s of %s%s\n", item->name, percent,
		   str_size(done, sizeof(done), item->done_bytes),
		   str_size(total, sizeof(total), item->total_bytes),
		   item->finished ? ", in steady state" : "");
}

static void show_foot(struct show_text *t, const struct progress *items, size_t count)
{
	_cleanup_buf_ struct buf foot = {0};

	if (t->step)
		add_step(&foot, t->step);
	for (size_t i = 0; i < count; i++)
		add_item(&foot, &items[i]);
	out_set_foot(t->err, foot.data, count + (t->step ? 1 : 0));
}

static void show_plain(struct show_text *t, const struct progress *items, size_t count)
{
	int64_t now = loop_now_ms();

	if (t->plain_ms && now - t->plain_ms < PLAIN_EVERY_MS)
		return;
	t->plain_ms = now;
	for (size_t i = 0; i < count; i++) {
		_cleanup_buf_ struct buf line = {0};

		add_item(&line, &items[i]);
		out_add(t->err, OUT_CHATTER, line.data);
	}
}

static void on_progress(void *arg, const struct progress *items, size_t count)
{
	struct show_text *t = arg;

	if (t->verbosity == QUIET || !count)
		return;
	if (t->terminal)
		show_foot(t, items, count);
	else
		show_plain(t, items, count);
}

static void on_note(void *arg, const char *text)
{
	struct show_text *t = arg;

	if (t->verbosity != QUIET)
		say(t, text);
}

static void on_line(void *arg, const char *name, bool out, const char *text, size_t len)
{
	_autofree_ char *line = str_printf("%s %s %.*s", name, out ? "<-" : "->", (int)len, text);

	str_sanitize(line);
	say_as(arg, OUT_CHATTER, line);
}

static void plan_disk(struct buf *b, const struct disk *disk, const struct migration *m)
{
	char size[32], allocated[32];

	buf_printf(b, "  %s: %s, %s, %s allocated\n", disk->name, disk->src->driver,
		   str_size(size, sizeof(size), disk->src->virtual_size),
		   str_size(allocated, sizeof(allocated), disk->src->actual_size));
	buf_printf(b, "    from %s\n", disk->src_path ? disk->src_path : disk->src->url);
	buf_printf(b, "    to   %s:%s (%s)\n", m->dst.name, disk->dst_path ? disk->dst_path : "?",
		   disk->fate == DISK_CREATE ? "will be created"
		   : disk->dst_size > disk->src->virtual_size
			   ? "exists, larger; its contents are replaced"
		   : disk->dst_size && disk->dst_size < disk->src->virtual_size
			   ? "exists, will be grown; its contents are replaced"
			   : "exists; its contents are replaced");
}

static const char *method_of(const struct migration *m)
{
	if (m->in_stream)
		return m->incremental
			       ? "the migration's own stream (`migrate` inc), disks with RAM"
			       : "the migration's own stream (`migrate` blk), disks with RAM";
	if (m->opt->mirror == MIRROR_DRIVE || !qmp_can(&m->src.caps, QMP_BLOCKDEV_MIRROR))
		return "drive-mirror over NBD, then RAM";
	return "blockdev-mirror over NBD, then RAM";
}

static void add_extras(struct buf *b, const struct migration *m)
{
	char size[32];

	for (size_t i = 0; i < m->extras.count; i++) {
		const struct extra *extra = &m->extras.list[i];

		if (extra->ram)
			buf_printf(b, "made first, for RAM: %s:%s\n", m->dst.name,
				   extra->file->path);
		else
			buf_printf(b, "copied first: %s (%s)\n  to %s:%s\n", extra->file->src_path,
				   str_size(size, sizeof(size), extra->size_bytes), m->dst.name,
				   extra->file->path);
	}
}

/* One argument a line; '*' marks what is not as the source's. */
static void add_command_line(struct buf *b, const struct migration *m)
{
	buf_printf(b,
		   "start on %s, by a guard that ends it if we die before the guest runs there:\n",
		   m->dst.name);
	for (size_t i = 0; i < m->repairs.count; i++)
		buf_printf(b, "  since the source's start: %s\n", m->repairs.list[i]);
	for (size_t i = 0; i < m->clone.count; i++) {
		_autofree_ char *word = str_shell_quote(m->clone.argv[i]);

		str_sanitize(word);
		buf_printf(b, "  %c %s\n", m->clone.changed[i] ? '*' : ' ', word);
	}
}

static void add_plan(struct buf *b, const struct migration *m)
{
	buf_printf(b, "guest: %s, %s\n", m->guest.name[0] ? m->guest.name : "(without a name)",
		   m->src.status.state[0] ? m->src.status.state : "not seen");
	buf_printf(b, "disks:%s\n", m->disks.count ? "" : " none");
	for (size_t i = 0; i < m->disks.count; i++)
		plan_disk(b, &m->disks.list[i], m);
	for (size_t i = 0; i < m->left_out.count; i++)
		buf_printf(b, "not moved: %s\n", m->left_out.list[i]);
	buf_printf(b, "method: %s\n", method_of(m));
	if (m->incremental)
		buf_printf(b, "incremental: the top image of each disk; backing images %s\n",
			   m->opt->trust_backing ? "are trusted to be the same" : "are compared");
	if (tunnel_is_used(m))
		buf_printf(b, "data: to %s, through SSH: no port is opened\n", m->dst.name);
	else
		buf_printf(b, "data: to %s, %s of %d to %d, %s\n",
			   m->listening.address ? m->listening.address : "?",
			   m->in_stream || !m->disks.count ? "a port" : "two ports",
			   m->opt->port_low, m->opt->port_high, keys_words(m));
	if (m->opt->start)
		buf_printf(b, "start on %s: %s\n", m->dst.name, m->opt->start);
	add_extras(b, m);
	if (m->opt->clone)
		add_command_line(b, m);
	buf_printf(b, "steps:\n");
	for (size_t i = 0; i < steps_count; i++)
		if (step_applies(&steps[i], m))
			buf_printf(b, "  %-8s %-11s %s\n", phase_name(steps[i].phase),
				   steps[i].name, steps[i].meaning);
}

/* What a QEMU has told of itself; nothing of one that was not asked. */
static void add_abilities(struct buf *b, const struct side *side)
{
	if (!side->qmp)
		return;
	for (int can = 1; can >= 0; can--) {
		buf_printf(b, "%s %s:", side->name, can ? "can" : "cannot");
		for (int cap = 0; cap < QMP_CAP_COUNT; cap++)
			if (qmp_can(&side->caps, cap) == can)
				buf_printf(b, " %s", qmp_cap_name(cap));
		buf_printf(b, "\n");
	}
}

static void on_plan(struct show *show, const struct migration *m)
{
	struct show_text *t = (struct show_text *)show;
	_cleanup_buf_ struct buf plan = {0};

	add_plan(&plan, m);
	if (t->verbosity == VERBOSE) {
		add_abilities(&plan, &m->src);
		add_abilities(&plan, &m->dst);
	}
	out_add(t->out, OUT_MESSAGE, plan.data);
}

static void say_all(struct show_text *t, const char *prefix, const struct problems *problems)
{
	for (size_t i = 0; i < problems->count; i++) {
		_autofree_ char *text = str_printf("%s%s", prefix, problems->list[i]);

		say(t, text);
	}
}

/* Takes @text over; NULL says nothing. */
static void say_text(struct show_text *t, char *text)
{
	if (text)
		say(t, text);
	free(text);
}

static void on_end(struct show *show, const struct migration *m, const struct err *err, int code)
{
	struct show_text *t = (struct show_text *)show;

	out_finish(t->out, SHOW_FINISH_MS); /* the plan comes first */
	out_set_foot(t->err, NULL, 0);
	say_all(t, "", &m->problems);
	say_all(t, "left behind: ", &m->left_behind);
	say_all(t, "seen: ", &m->seen);
	say_all(t, "", &m->choices);
	if (err)
		say_text(t, words_failed(m, err, code));
	else if (t->verbosity != QUIET)
		say_text(t, words_done(m, loop_now_ms() - t->begun_ms));
}

static void on_free(struct show *show)
{
	struct show_text *t = (struct show_text *)show;

	out_finish(t->err, SHOW_FINISH_MS);
	out_free(t->err);
	out_free(t->out);
	free(t);
}

struct show *show_text_new(const struct cmdline *cmd, struct loop *loop)
{
	struct show_text *t = mem_zalloc(1, sizeof(*t));

	t->err = out_new(loop, STDERR_FILENO, tell_lost);
	t->out = out_new(loop, STDOUT_FILENO, tell_lost);
	t->verbosity = cmd->verbosity;
	t->terminal = isatty(STDERR_FILENO);
	t->steps = !cmd->only_check;
	t->begun_ms = loop_now_ms();
	t->show = (struct show){
		.report = {.step = on_step,
			   .progress = on_progress,
			   .note = on_note,
			   .line = cmd->verbosity == VERBOSE ? on_line : NULL,
			   .arg = t},
		.plan = on_plan,
		.end = on_end,
		.free = on_free,
	};
	return &t->show;
}
