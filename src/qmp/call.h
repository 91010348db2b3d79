/* The inside of the layer: commands with their arguments and results as JSON. */
#ifndef VMFERRY_QMP_CALL_H
#define VMFERRY_QMP_CALL_H

#include <jansson.h>

#include "qmp/qmp.h"

/* The longest line taken from a QEMU: room for query-block of a thousand drives with long
 * chains of backing images. */
#define QMP_LINE_MAX (8u << 20)

/* Sends a command; takes over @args (NULL: none). The request ends with qmp_finish()
 * or qmp_take(), which every one needs. */
struct qmp_request *qmp_send(struct qmp *qmp, const char *command, json_t *args);

/* The same for a command that QEMU can execute out of band: at once, whatever its main loop waits
 * for (docs/interop/qmp-spec.rst). Where this monitor cannot, in its turn. */
struct qmp_request *qmp_send_oob(struct qmp *qmp, const char *command, json_t *args);

/* As qmp_finish(); *@result is the caller's to json_decref. */
int qmp_take(struct qmp_request *request, json_t **result, struct err *err);

/* qmp_send and qmp_take; @result may be NULL. */
int qmp_call(struct qmp *qmp, const char *command, json_t *args, json_t **result, struct err *err);

/* The member @key of @object as a string, or NULL. Borrowed. */
static inline const char *qmp_str(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* The member @key of @object as a number of bytes; 0 when absent or negative. */
static inline uint64_t qmp_u64(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n > 0 ? (uint64_t)n : 0;
}

/* jansson has json_decrefp() for this. */
#define _cleanup_json_ __attribute__((cleanup(json_decrefp)))

#endif
