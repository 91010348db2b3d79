/* KexAlgorithms, Ciphers and MACs of ssh_config(5): of what the user allows, the library gets
 * what it has, in the user's order. Never more than that: who has shortened a list had a reason.
 *
 * Only names that the library has are given to it: libssh2_session_method_pref() of 1.10.0 takes
 * the others out with an overlapping memcpy(3). */
#include <string.h>

#include "ssh/internal.h"

static void add(struct buf *list, const char *name)
{
	buf_printf(list, "%s%s", list->len ? "," : "", name);
}

/* Those of @allowed, "a,b,c", that are among the @count of @supported. */
static void intersect(struct buf *list, const char *allowed, const char *const *supported,
		      int count)
{
	_autofree_ char *copy = str_dup(allowed);
	char *rest = NULL;

	for (char *a = strtok_r(copy, ",", &rest); a; a = strtok_r(NULL, ",", &rest))
		for (int i = 0; i < count; i++)
			if (strcmp(a, supported[i]) == 0)
				add(list, a);
}

static int refuse(struct ssh *ssh, const char *keyword, const char *allowed,
		  const char *const *supported, int count, struct err *err)
{
	struct buf has _cleanup_buf_ = {0};

	for (int i = 0; i < count; i++)
		add(&has, supported[i]);
	return err_set(err, ERR_REFUSED,
		       "%s: of the %s that ssh_config allows for it (%s) libssh2 %s has none; it "
		       "has %s",
		       ssh->host, keyword, allowed, libssh2_version(0), has.data ? has.data : "");
}

static int prefer(struct ssh *ssh, int method, const char *keyword, const char *allowed,
		  struct err *err)
{
	struct buf list _cleanup_buf_ = {0};
	const char **supported = NULL;
	int count, ret = 0;

	if (!allowed)
		return 0;
	count = libssh2_session_supported_algs(ssh->session, method, &supported);
	intersect(&list, allowed, supported, count);
	if (!list.len)
		ret = refuse(ssh, keyword, allowed, supported, count, err);
	else if (libssh2_session_method_pref(ssh->session, method, list.data) != 0)
		ret = err_set(err, ERR_FAILED, "%s: libssh2 takes no %s %s", ssh->host, keyword,
			      list.data);
	if (supported)
		libssh2_free(ssh->session, supported);
	return ret;
}

int ssh_algorithms_prefer(struct ssh *ssh, struct err *err)
{
	const struct ssh_config *c = &ssh->config;
	const struct {
		int method;
		const char *keyword, *allowed;
	} lists[] = {
		{LIBSSH2_METHOD_KEX, "KexAlgorithms", c->kex_algorithms},
		{LIBSSH2_METHOD_CRYPT_CS, "Ciphers", c->ciphers},
		{LIBSSH2_METHOD_CRYPT_SC, "Ciphers", c->ciphers},
		{LIBSSH2_METHOD_MAC_CS, "MACs", c->macs},
		{LIBSSH2_METHOD_MAC_SC, "MACs", c->macs},
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (prefer(ssh, lists[i].method, lists[i].keyword, lists[i].allowed, err) < 0)
			return -1;
	return 0;
}
