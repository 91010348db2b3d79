#include "qmp/machine.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "qmp/call.h"

/* As qmp_call, but QEMU's own refusal is no error: *@answer is NULL then. */
static int ask(struct qmp *qmp, const char *command, json_t *args, json_t **answer, struct err *err)
{
	return qmp_call(qmp, command, args, answer, err) < 0 && err->kind != ERR_QMP ? -1 : 0;
}

static int id_of(const json_t *props, const char *key)
{
	json_t *id = json_object_get(props, key);

	return json_is_integer(id) ? (int)json_integer_value(id) : -1;
}

static void parse_cpus(struct qmp_machine *machine, const json_t *list)
{
	machine->cpus = (unsigned)json_array_size(list);
	for (size_t i = 0; i < machine->cpus && i < QMP_CPUS_MAX; i++) {
		const json_t *props = json_object_get(json_array_get(list, i), "props");

		machine->cpu[i] = (struct qmp_cpu){.socket = id_of(props, "socket-id"),
						   .core = id_of(props, "core-id"),
						   .thread = id_of(props, "thread-id")};
	}
}

int qmp_machine_query(struct qmp *qmp, struct qmp_machine *machine, struct err *err)
{
	_cleanup_json_ json_t *type = NULL;
	_cleanup_json_ json_t *memory = NULL;
	_cleanup_json_ json_t *cpus = NULL;

	memset(machine, 0, sizeof(*machine));
	if (ask(qmp, "qom-get", json_pack("{s:s, s:s}", "path", "/machine", "property", "type"),
		&type, err) < 0 ||
	    ask(qmp, "query-memory-size-summary", NULL, &memory, err) < 0 ||
	    ask(qmp, "query-cpus-fast", NULL, &cpus, err) < 0)
		return -1;
	if (json_is_string(type))
		snprintf(machine->type, sizeof(machine->type), "%s", json_string_value(type));
	str_sanitize(machine->type);
	machine->memory = qmp_u64(memory, "base-memory");
	machine->plugged_memory = qmp_u64(memory, "plugged-memory");
	parse_cpus(machine, cpus);
	return 0;
}

int qmp_accelerator_query(struct qmp *qmp, char name[16], struct err *err)
{
	_cleanup_json_ json_t *kvm = NULL;
	_cleanup_json_ json_t *all = NULL;
	const char *enabled;

	name[0] = '\0';
	if (ask(qmp, "query-kvm", NULL, &kvm, err) < 0)
		return -1;
	if (!json_is_true(json_object_get(kvm, "enabled")) &&
	    ask(qmp, "query-accelerators", NULL, &all, err) < 0)
		return -1;
	enabled = json_is_true(json_object_get(kvm, "enabled")) ? "kvm" : qmp_str(all, "enabled");
	if (enabled || kvm)
		snprintf(name, 16, "%s", enabled ? enabled : "tcg");
	str_sanitize(name);
	return 0;
}
