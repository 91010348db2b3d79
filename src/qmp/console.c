#include "qmp/console.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "qmp/call.h"

/* QEMU lets one character device at most have them. Its file name is that word from 5.2 to 11.1,
 * also where several share it ("mon:stdio"), but then it is called "serial0-base". */
static const char *stdio_of(const json_t *devices)
{
	const json_t *device;
	size_t i;

	json_array_foreach (devices, i, device) {
		const char *name = qmp_str(device, "filename");

		if (name && str_eq(name, "stdio"))
			return qmp_str(device, "label");
	}
	return NULL;
}

static void without_end(char *s, const char *end)
{
	size_t len = strlen(s), end_len = strlen(end);

	if (len > end_len && str_eq(s + len - end_len, end))
		s[len - end_len] = '\0';
}

int qmp_console_query(struct qmp *qmp, struct qmp_console *console, struct err *err)
{
	_cleanup_json_ json_t *display = NULL;
	_cleanup_json_ json_t *devices = NULL;
	const char *type, *label;

	*console = (struct qmp_console){0};
	if ((qmp_call(qmp, "query-display-options", NULL, &display, err) < 0 &&
	     err->kind != ERR_QMP) ||
	    (qmp_call(qmp, "query-chardev", NULL, &devices, err) < 0 && err->kind != ERR_QMP))
		return -1;
	type = qmp_str(display, "type");
	label = stdio_of(devices);
	snprintf(console->display, sizeof(console->display), "%s", type ? type : "");
	snprintf(console->stdio, sizeof(console->stdio), "%s", label ? label : "");
	without_end(console->stdio, "-base");
	str_sanitize(console->display);
	str_sanitize(console->stdio);
	return 0;
}
