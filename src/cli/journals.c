#include "cli/journals.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/record.h"
#include "migrate/urgency.h"

/* A guest's name, a path, a host may be any bytes: none of it reaches a terminal as it is. */
void journals_say(FILE *to, const char *fmt, ...)
{
	va_list ap;
	char text[4096];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	str_sanitize(text);
	fprintf(to, "%s\n", text);
}

const char *journals_guest(const struct record *r)
{
	return r->guest ? r->guest : r->source;
}

const char *journals_destination(const struct record *r)
{
	return r->dst_host ? r->dst_host : r->dst_socket;
}

/* A guest is named as it is known: by its name, its UUID, or its monitor on the source. */
bool journals_is_named(const struct journal_entry *entry, const char *vm)
{
	const struct record *r = &entry->record;
	_autofree_ char *path = realpath(vm, NULL);

	return str_eq(entry->path, vm) ||
	       (entry->readable && (str_eq(r->guest, vm) || str_eq(r->uuid, vm) ||
				    str_eq(r->source, vm) || str_eq(r->source, path)));
}

int journals_complain(enum exit_code code, const char *text)
{
	journals_say(stderr, "vmferry: %s", text);
	return code;
}

int journals_complain_of(const struct journal_entry *entry)
{
	journals_say(stderr,
		     "vmferry: %s: %s; remove it if nothing is left of that move, which only you "
		     "can see",
		     entry->path, entry->error);
	return EXIT_HUMAN;
}

int journals_read(struct journal_list *list)
{
	struct err err;
	_autofree_ char *directory = journal_directory(&err);

	*list = (struct journal_list){0};
	if (!directory || journal_list(directory, NULL, list, &err) < 0) {
		journals_complain(EXIT_HUMAN, err.text);
		return -1;
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct journal_entry *x = a, *y = b;
	enum urgency first = urgency_of(&x->record), second = urgency_of(&y->record);

	if (x->readable != y->readable)
		return x->readable ? -1 : 1;
	if (first != second)
		return first < second ? -1 : 1;
	if (x->record.begun != y->record.begun)
		return x->record.begun < y->record.begun ? -1 : 1;
	return strcmp(x->path, y->path);
}

void journals_sort(struct journal_list *list)
{
	if (list->count)
		qsort(list->list, list->count, sizeof(*list->list), compare);
}

int journals_unknown(const struct journal_list *list, const char *vm)
{
	_cleanup_buf_ struct buf there = {0};

	for (size_t i = 0; i < list->count; i++)
		buf_printf(&there, "%s %s", i ? "," : " are:",
			   list->list[i].readable ? journals_guest(&list->list[i].record)
						  : list->list[i].path);
	journals_say(stderr, "vmferry: no move of \"%s\" is on record; there%s", vm,
		     list->count ? there.data : " is none");
	return EXIT_USAGE;
}

/* What the user has said of another host says nothing of this one. */
static void forget_other_host(struct options *opt, const struct record *r)
{
	const char *wanted = opt->dst.host;

	if (!opt->dst.socket || !wanted || str_eq(wanted, r->dst_host))
		return;
	opt->ssh.identity = opt->ssh.config = opt->ssh.known_hosts = NULL;
	opt->ssh.sudo = false;
}

struct options journals_options(const struct cmdline *cmd, const struct record *record)
{
	struct options opt = cmd->options;

	forget_other_host(&opt, record);
	record_options(record, &opt);
	opt.ssh.connect_timeout_ms = opt.timeouts.connect_ms; /* else ssh_config's */
	cmdline_default_timeouts(&opt.timeouts);
	opt.ssh.answer_timeout_ms = opt.timeouts.answer_ms;
	opt.ssh.silence_ms = opt.timeouts.reconnect_ms;
	return opt;
}
