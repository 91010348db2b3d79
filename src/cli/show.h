/* How a run is shown: for people on stderr (show_text.c), for programs on stdout
 * (show_json.c). */
#ifndef VMFERRY_CLI_SHOW_H
#define VMFERRY_CLI_SHOW_H

#include "base/str.h"
#include "cli/cli.h"
#include "cli/out.h"

/* How long, at the end, is waited for who does not read: not for ever, cron has others to
 * start. */
#define SHOW_FINISH_MS 10000

/* The first member of both kinds. */
struct show {
	struct report report; /* what the migration calls while it runs */
	/* The plan: what `check` tells besides the objections. */
	void (*plan)(struct show *show, const struct migration *m);
	/* The end: objections, what was left behind, the error (NULL: none), the exit code. */
	void (*end)(struct show *show, const struct migration *m, const struct err *err, int code);
	/* Waits for who reads, see SHOW_FINISH_MS: nothing may be held up by it any more. */
	void (*free)(struct show *show);
};

struct show *show_text_new(const struct cmdline *cmd, struct loop *loop);
struct show *show_json_new(const struct cmdline *cmd, struct loop *loop);

/* The one that was asked for, which is also told what SSH has to say. */
static inline struct show *show_new(struct cmdline *cmd, struct loop *loop)
{
	struct show *show = cmd->json ? show_json_new(cmd, loop) : show_text_new(cmd, loop);

	cmd->options.ssh.said = show->report.note;
	cmd->options.ssh.said_arg = show->report.arg;
	return show;
}

/* The words for lines that a reader came too late for. */
static inline char *show_lost_text(size_t count)
{
	return str_printf("%zu line%s of progress and QMP left out here: nobody read them", count,
			  count == 1 ? "" : "s");
}

static inline void show_plan(struct show *show, const struct migration *m)
{
	show->plan(show, m);
}

static inline void show_end(struct show *show, const struct migration *m, const struct err *err,
			    int code)
{
	show->end(show, m, err, code);
}

static inline void show_free(struct show *show)
{
	show->free(show);
}

#endif
