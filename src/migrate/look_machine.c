/* What QEMU itself notices only when it loads the guest, after all has been copied, and what
 * the destination then dies of: another machine, or migration settings of one side alone. */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/look.h"
#include "qmp/machine.h"

/* Capabilities that may be on: our own, and those that change how RAM is sent, not what the
 * other side must be told. */
static bool is_harmless(const char *capability)
{
	static const char *const harmless[] = {
		"events",          "pause-before-switchover",
		"return-path",     "late-block-activate",
		"xbzrle",          "auto-converge",
		"release-ram",     "validate-uuid",
		"rdma-pin-all",    "dirty-limit",
		"x-ignore-shared",
	};

	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (str_eq(capability, harmless[i]))
			return true;
	return false;
}

static void look_at_capabilities(struct migration *m, const char *who, char *names)
{
	char *rest = NULL;

	for (char *name = strtok_r(names, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
		if (!is_harmless(name))
			problems_add(
				&m->problems,
				"%s: its migration capability \"%s\" is on, with which vmferry "
				"cannot move a guest; switch it off (migrate-set-capabilities)",
				who, name);
}

void look_at_migration_settings(struct migration *m, struct side *side)
{
	_autofree_ char *names = NULL;
	struct qmp_parameters parameters;
	struct err err;

	if (qmp_capabilities_on(side->qmp, &names, &err) < 0 ||
	    qmp_parameters_get(side->qmp, &parameters, &err) < 0) {
		problems_add(&m->problems, "%s", err.text);
		return;
	}
	look_at_capabilities(m, side->name, names);
	if (parameters.tls[0])
		problems_add(&m->problems,
			     "%s: its migration parameter tls-creds is set, which vmferry does not "
			     "use; set it to \"\" (migrate-set-parameters)",
			     side->name);
}

static void compare_memory(struct migration *m, const char *what, uint64_t src, uint64_t dst)
{
	char a[32], b[32];

	if (src != dst)
		problems_add(&m->problems,
			     "%s: its QEMU has another %s (%s) than the source's (%s); start it "
			     "with the same",
			     m->dst.name, what, str_size(b, sizeof(b), dst),
			     str_size(a, sizeof(a), src));
}

static bool may_be_same(int a, int b)
{
	return a < 0 || b < 0 || a == b;
}

static bool has_cpu(const struct qmp_machine *machine, const struct qmp_cpu *cpu)
{
	for (size_t i = 0; i < machine->cpus && i < QMP_CPUS_MAX; i++)
		if (may_be_same(machine->cpu[i].socket, cpu->socket) &&
		    may_be_same(machine->cpu[i].core, cpu->core) &&
		    may_be_same(machine->cpu[i].thread, cpu->thread))
			return true;
	return false;
}

/* With as many CPUs in other places the destination dies of an unknown instance of "cpu_common"
 * (7.2) or "apic" (11.1), or QEMU notices nothing and the guest finds another topology. */
static void compare_places(struct migration *m, const struct qmp_machine *src,
			   const struct qmp_machine *dst)
{
	for (size_t i = 0; i < src->cpus && i < QMP_CPUS_MAX; i++) {
		const struct qmp_cpu *cpu = &src->cpu[i];

		if (has_cpu(dst, cpu))
			continue;
		problems_add(&m->problems,
			     "%s: its QEMU has no CPU in the place of the source's with "
			     "socket-id=%d,core-id=%d,thread-id=%d; start it with the same -smp, "
			     "and -device for a CPU plugged in since",
			     m->dst.name, cpu->socket, cpu->core, cpu->thread);
		return;
	}
}

static void compare_cpus(struct migration *m, const struct qmp_machine *src,
			 const struct qmp_machine *dst)
{
	if (!src->cpus || !dst->cpus)
		return;
	if (src->cpus != dst->cpus)
		problems_add(&m->problems,
			     "%s: its QEMU has %u CPUs, the source's %u; start it with the same",
			     m->dst.name, dst->cpus, src->cpus);
	else
		compare_places(m, src, dst);
}

bool look_at_machine(struct migration *m)
{
	struct qmp_machine src, dst;
	struct err err;
	bool same_type;

	if (qmp_machine_query(m->src.qmp, &src, &err) < 0 ||
	    qmp_machine_query(m->dst.qmp, &dst, &err) < 0) {
		problems_add(&m->problems, "%s", err.text);
		return false;
	}
	same_type = !src.type[0] || !dst.type[0] || str_eq(src.type, dst.type);
	if (!same_type)
		problems_add(
			&m->problems,
			"%s: its QEMU is another machine (%s) than the source's (%s); start it "
			"with -machine %.*s",
			m->dst.name, dst.type, src.type,
			(int)(strlen(src.type) - strlen("-machine")), src.type);
	if (src.memory && dst.memory) {
		compare_memory(m, "size of memory", src.memory, dst.memory);
		compare_memory(m, "size of plugged memory", src.plugged_memory, dst.plugged_memory);
	}
	compare_cpus(m, &src, &dst);
	return same_type;
}
