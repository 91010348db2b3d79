/* -cpu host and -cpu max are the CPU of the host that the guest was started on. On another CPU it
 * is told to have what is not there, or to lack what is: QEMU notices little of that, and the
 * guest dies of an unknown instruction some time later. That is told, not refused: who has hosts
 * that differ in a model name only moves guests between them every day. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/clone_options.h"
#include "migrate/look.h"

/* Flags that are named; of more only how many. */
#define NAMED_MAX 12

/* The last argument of the source's option @name, or NULL. */
static const char *argument_of(const struct migration *m, const char *name)
{
	const char *found = NULL;

	for (char **arg = m->process.argv; *arg; arg++) {
		const struct clone_option *option = clone_option_find(*arg);

		if (!option || !option->has_argument || !arg[1])
			continue;
		arg++;
		if (str_eq(option->name, name))
			found = *arg;
	}
	return found;
}

struct cpu {
	char *model; /* "" where the kernel tells none */
	char *flags; /* with a space before and behind each */
};

static void cpu_deinit(struct cpu *cpu)
{
	free(cpu->model);
	free(cpu->flags);
}

static int cpu_read(struct migration *m, struct host *host, struct cpu *cpu)
{
	static const char command[] =
		"for n in 'model name' flags; do grep -m 1 \"^$n\" /proc/cpuinfo | "
		"sed 's/^[^:]*: *//' | grep . || echo; done";
	struct process_output output = {0};
	int ret = host_command(host, command, m->opt->timeouts.answer_ms, &output, NULL);
	const char *text = output.out.data ? output.out.data : "";
	size_t len = strcspn(text, "\n");
	const char *flags = text[len] ? text + len + 1 : "";

	cpu->model = str_printf("%.*s", (int)len, text);
	cpu->flags = str_printf(" %.*s ", (int)strcspn(flags, "\n"), flags);
	process_output_deinit(&output);
	return ret;
}

/* What of @a is not in @b: "", or ", GLUE: x y z and 3 more". */
static char *difference(const struct cpu *a, const struct cpu *b, const char *glue)
{
	_autofree_ char *list = str_dup(a->flags);
	char *rest = NULL;
	struct buf named = {0};
	size_t count = 0;

	buf_add(&named, "", 0);
	for (char *flag = strtok_r(list, " ", &rest); flag; flag = strtok_r(NULL, " ", &rest)) {
		_autofree_ char *word = str_printf(" %s ", flag);

		if (strstr(b->flags, word) || count++ >= NAMED_MAX)
			continue;
		if (count == 1)
			buf_printf(&named, ", %s:", glue);
		buf_printf(&named, " %s", flag);
	}
	if (count > NAMED_MAX)
		buf_printf(&named, " and %zu more", count - NAMED_MAX);
	return named.data;
}

static void compare(struct migration *m, const struct cpu *here, const struct cpu *there)
{
	_autofree_ char *lacks = difference(here, there, "which lacks");
	_autofree_ char *has = difference(there, here, "and has besides");

	if (str_eq(here->model, there->model) && !*lacks && !*has)
		return;
	migration_note(
		m,
		"the guest has the CPU of the host it was started on (-cpu %s): %s here, %s "
		"on %s%s%s; it may die there of what is another; a named -cpu model that both "
		"have is safe, from the guest's next start on",
		argument_of(m, "-cpu"), *here->model ? here->model : "an unknown one",
		*there->model ? there->model : "an unknown one", m->dst.name, lacks, has);
}

void look_at_cpu(struct migration *m)
{
	const char *model = argument_of(m, "-cpu");
	size_t len = model ? strcspn(model, ",") : 0;
	struct cpu here = {0}, there = {0};

	/* Without KVM a CPU is QEMU's own work on every host. */
	if (!((len == 4 && str_starts(model, "host")) || (len == 3 && str_starts(model, "max"))) ||
	    !str_eq(m->accelerator, "kvm"))
		return;
	if (cpu_read(m, m->here, &here) == 0 && cpu_read(m, m->host, &there) == 0)
		compare(m, &here, &there);
	cpu_deinit(&here);
	cpu_deinit(&there);
}
