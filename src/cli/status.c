/* status: the moves that are on record, and what both sides of an abandoned one are like. */
#include <inttypes.h>
#include <time.h>

#include "base/str.h"
#include "cli/journals.h"
#include "cli/show.h"
#include "migrate/recover.h"

struct status {
	const struct record *record;
	pid_t holder;
	const char *src_words, *dst_words; /* NULL: not asked */
};

static void time_words(int64_t seconds, char *text, size_t size)
{
	time_t when = (time_t)seconds;
	struct tm tm;

	if (!localtime_r(&when, &tm) || !strftime(text, size, "%Y-%m-%d %H:%M:%S", &tm))
		snprintf(text, size, "?");
}

static void print_text(const struct status *s)
{
	const struct record *r = s->record;
	_autofree_ char *who =
		s->holder ? record_holder_words(s->holder)
			  : str_printf("abandoned: `vmferry recover %s`", journals_guest(r));
	char since[32];

	time_words(r->since, since, sizeof(since));
	journals_say(stdout, "%s: to %s, step \"%s\" %s since %s, %s", journals_guest(r),
		     journals_destination(r), r->step, record_state_name(r->state), since, who);
	if (s->src_words)
		journals_say(stdout, "  %s", s->src_words);
	if (s->dst_words)
		journals_say(stdout, "  %s", s->dst_words);
}

static void add_string(struct buf *b, const char *key, const char *value)
{
	buf_printf(b, ",\"%s\":", key);
	buf_json_string(b, value);
}

static void print_json(const struct status *s)
{
	const struct record *r = s->record;
	_cleanup_buf_ struct buf b = {0};

	buf_printf(&b, "{\"vmferry\":1,\"type\":\"migration\"");
	add_string(&b, "guest", r->guest);
	add_string(&b, "uuid", r->uuid);
	add_string(&b, "source", r->source);
	add_string(&b, "host", r->dst_host);
	add_string(&b, "destination", r->dst_socket);
	add_string(&b, "step", r->step);
	add_string(&b, "state", record_state_name(r->state));
	buf_printf(&b, ",\"begun\":%" PRId64 ",\"since\":%" PRId64 ",\"pid\":%d,\"abandoned\":%s",
		   r->begun, r->since, (int)s->holder, s->holder ? "false" : "true");
	add_string(&b, "source_seen", s->src_words);
	add_string(&b, "destination_seen", s->dst_words);
	printf("%s}\n", b.data);
}

static void print_status(const struct cmdline *cmd, const struct status *s)
{
	if (cmd->json)
		print_json(s);
	else
		print_text(s);
}

/* A monitor serves one client: while vmferry works on it, nobody else can ask. */
static void ask_and_print(struct cmdline *cmd, struct loop *loop, struct journal_entry *entry)
{
	struct show *show = show_new(cmd, loop);
	struct migration *m = migration_new(loop, &cmd->options, &show->report);
	struct found found;

	record_take(m, NULL, &entry->record);
	recover_look(m, &found);
	print_status(cmd, &(struct status){.record = &m->record,
					   .src_words = found.src_words,
					   .dst_words = found.dst_words});
	fflush(stdout);
	found_deinit(&found);
	migration_free(m);
	show_free(show);
}

static int status_of(struct cmdline *cmd, struct loop *loop, struct journal_entry *entry)
{
	struct options own = cmd->options;

	if (!entry->readable)
		return journals_complain_of(entry);
	if (entry->holder) {
		print_status(cmd,
			     &(struct status){.record = &entry->record, .holder = entry->holder});
		return EXIT_DONE;
	}
	cmd->options = journals_options(cmd, &entry->record);
	ask_and_print(cmd, loop, entry);
	cmd->options = own;
	return EXIT_DONE;
}

static int status_of_all(struct cmdline *cmd, struct loop *loop, struct journal_list *list)
{
	int code = EXIT_DONE;
	bool any = !cmd->vm;

	for (size_t i = 0; i < list->count; i++) {
		int one;

		if (cmd->vm && !journals_is_named(&list->list[i], cmd->vm))
			continue;
		any = true;
		one = status_of(cmd, loop, &list->list[i]);
		if (one != EXIT_DONE)
			code = one;
	}
	return any ? code : journals_unknown(list, cmd->vm);
}

static int run_status(struct cmdline *cmd)
{
	struct journal_list list;
	struct err err;
	struct loop *loop = loop_new(&err);
	int code;

	if (!loop)
		return journals_complain(EXIT_REFUSED, err.text);
	if (journals_read(&list) < 0) {
		loop_free(loop);
		return EXIT_HUMAN;
	}
	code = status_of_all(cmd, loop, &list);
	journal_list_deinit(&list);
	loop_free(loop);
	return code;
}

const struct command command_status = {
	.name = "status",
	.summary = "what is on record of moves, and what both sides are like",
	.bit = FOR_STATUS,
	.operands = "[VM]",
	.run = run_status,
};
