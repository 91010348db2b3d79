/* How a run is shown: for people on stderr (show_text.c), for programs on stdout
 * (show_json.c). */
#ifndef VMFERRY_CLI_SHOW_H
#define VMFERRY_CLI_SHOW_H

#include "cli/cli.h"

/* The first member of both kinds. */
struct show {
	struct report report; /* what the migration calls while it runs */
	/* The plan: what `check` tells besides the objections. */
	void (*plan)(struct show *show, const struct migration *m);
	/* The end: objections, what was left behind, the error (NULL: none), the exit code. */
	void (*end)(struct show *show, const struct migration *m, const struct err *err, int code);
	void (*free)(struct show *show);
};

struct show *show_text_new(const struct cmdline *cmd);
struct show *show_json_new(const struct cmdline *cmd);

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
