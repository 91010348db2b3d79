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
	machine->cpus = (unsigned)json_array_size(cpus);
	return 0;
}
