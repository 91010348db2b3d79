/* Whether QEMU knows such an object is seen by making it. qom-list-types would tell, but it loads
 * all of QEMU's modules first: that takes 25 to 53 ms with the guest standing still (7.2), and
 * where the package was upgraded since the QEMU's start, it ends it (10.0, 11.1: assertion in
 * module_load_dso()). */
#include "qmp/tls.h"

#include "base/str.h"
#include "qmp/call.h"
#include "qmp/migration.h"

/* With a pre-shared key gnutls' own choice falls on ChaCha20: what it would take before has
 * another hash than the key's (TLS 1.3), and AES-128 comes last. Where the CPU has AES - every
 * server's - that takes six times the time: 256 MiB of a mirror cost either QEMU 0.58 s of its
 * CPU more than without TLS, and 0.1 s with this (7.2; AES-GCM 4.2 GB/s, ChaCha20 0.5 GB/s). */
#define PSK_PRIORITY "NORMAL:-CIPHER-ALL:+AES-128-GCM:+CHACHA20-POLY1305"

static json_t *properties(const struct qmp_tls *tls)
{
	json_t *object = json_pack("{s:s, s:s}", "dir", tls->directory, "endpoint",
				   tls->server ? "server" : "client");

	if (tls->certificates)
		json_object_set_new(object, "verify-peer", json_true());
	else
		json_object_set_new(object, "priority", json_string(PSK_PRIORITY));
	if (!tls->certificates && !tls->server)
		json_object_set_new(object, "username", json_string(QMP_TLS_USER));
	return object;
}

static json_t *object_of(const struct qmp_tls *tls)
{
	return json_pack("{s:s, s:s}", "qom-type",
			 tls->certificates ? "tls-creds-x509" : "tls-creds-psk", "id", tls->id);
}

/* The properties are at the top in QEMU 5.0 and newer; before, they were nested in "props". */
int qmp_tls_add(struct qmp *qmp, const struct qmp_tls *tls, struct err *err)
{
	_cleanup_json_ json_t *own = properties(tls);
	json_t *args = object_of(tls);
	struct err nested;

	json_object_update(args, own);
	if (qmp_call(qmp, "object-add", args, NULL, err) == 0)
		return 0;
	if (err->kind != ERR_QMP)
		return -1;
	args = object_of(tls);
	json_object_set(args, "props", own);
	return qmp_call(qmp, "object-add", args, NULL, &nested);
}

int qmp_tls_remove(struct qmp *qmp, const char *id, struct err *err)
{
	bool there;

	if (qmp_note_find(qmp, id, &there, err) < 0)
		return -1;
	return there ? qmp_note_remove(qmp, id, err) : 0;
}

int qmp_tls_for_ram(struct qmp *qmp, const char *id, struct err *err)
{
	return qmp_call(qmp, "migrate-set-parameters", json_pack("{s:s}", "tls-creds", id), NULL,
			err);
}
