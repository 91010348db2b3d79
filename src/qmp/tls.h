/* TLS for what QEMUs send one another: the object that holds what they know one another by
 * (QEMU's qapi/crypto.json), and the migration parameters that name it. */
#ifndef VMFERRY_QMP_TLS_H
#define VMFERRY_QMP_TLS_H

#include <stdbool.h>

#include "qmp/qmp.h"

/* The user name of a pre-shared key, before the ':' in its file. */
#define QMP_TLS_USER "vmferry"

struct qmp_tls {
	const char *id; /* of the object */
	/* Where that QEMU finds keys.psk (a pre-shared key, as psktool(1) writes it), or
	 * ca-cert.pem and the other certificates. */
	const char *directory;
	bool certificates; /* else a pre-shared key */
	bool server;       /* the destination's: NBD and RAM come in there */
};

/* object-add. Whoever connects has to prove who he is, too (verify-peer). */
int qmp_tls_add(struct qmp *qmp, const struct qmp_tls *tls, struct err *err);

/* object-del; none of that name is no error. */
int qmp_tls_remove(struct qmp *qmp, const char *id, struct err *err);

/* migrate-set-parameters: the migration goes through TLS by object @id, "" for none. */
int qmp_tls_for_ram(struct qmp *qmp, const char *id, struct err *err);

#endif
