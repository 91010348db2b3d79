/* Is this the host that the user means?
 *
 * Always strict, whatever StrictHostKeyChecking says: nobody may be there to ask, and a
 * guest's memory and disks go to whoever answers. The way to trust a host is ssh(1)'s own.
 *
 * libssh2 1.10.0 verifies host keys of the types ssh-ed25519 and ecdsa-sha2-*; of RSA only
 * ssh-rsa with SHA-1, which OpenSSH 8.8 and later do not offer and which is not asked for
 * here. (From 1.11 on it has rsa-sha2-*.) */
#include <ctype.h>
#include <string.h>

#include "ssh/internal.h"
#include "ssh/knownhosts.h"
#include "ssh/wire.h"

#define SHA256_LEN 32

/* The algorithms of a type of key, the best first. */
static const struct {
	const char *type;
	const char *label; /* as ssh-keygen -l calls it */
	const char *algorithm[2];
} kinds[] = {
	{"ssh-ed25519", "ED25519", {"ssh-ed25519"}},
	{"ecdsa-sha2-nistp256", "ECDSA", {"ecdsa-sha2-nistp256"}},
	{"ecdsa-sha2-nistp384", "ECDSA", {"ecdsa-sha2-nistp384"}},
	{"ecdsa-sha2-nistp521", "ECDSA", {"ecdsa-sha2-nistp521"}},
	{"ssh-rsa", "RSA", {"rsa-sha2-512", "rsa-sha2-256"}},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const char *label_of(const char *type)
{
	for (size_t i = 0; i < KINDS; i++)
		if (strcmp(kinds[i].type, type) == 0)
			return kinds[i].label;
	return type;
}

/* The name in known_hosts, in lower case (which matters to hashed ones). Caller frees. */
static char *key_name(const struct ssh *ssh, bool with_port)
{
	const struct ssh_config *c = &ssh->config;
	char *name;

	if (c->key_name)
		return str_dup(c->key_name);
	name = with_port && c->port != 22 ? str_printf("[%s]:%d", c->hostname, c->port)
					  : str_dup(c->hostname);
	for (char *p = name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return name;
}

/* Also ssh(1) accepts the key of the name without the port when the one with the port is
 * not known at all. */
static int find(struct ssh *ssh, const char *type, const char *key, struct knownhosts *known,
		struct err *err)
{
	_autofree_ char *name = key_name(ssh, true);
	_autofree_ char *plain = key_name(ssh, false);
	struct knownhosts fallback = {0};
	int ret = knownhosts_find(ssh->session, &ssh->config.known_hosts, name, type, key, known,
				  err);

	if (ret == 0 && !known->type_count && strcmp(name, plain) != 0) {
		ret = knownhosts_find(ssh->session, &ssh->config.known_hosts, plain, type, key,
				      &fallback, err);
		known->match = fallback.match;
		known->revoked |= fallback.revoked;
		if (!type || fallback.match) {
			memcpy(known->types, fallback.types, sizeof(known->types));
			known->type_count = fallback.type_count;
		}
		knownhosts_deinit(&fallback);
	}
	if (ret < 0)
		err_wrap(err, "%s: known host keys", ssh->host);
	return ret;
}

static bool supported(const char *algorithm, const char **algorithms, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(algorithms[i], algorithm) == 0)
			return true;
	return false;
}

/* By HostKeyAlgorithms. */
static bool allowed(const struct ssh *ssh, const char *algorithm)
{
	const char *list = ssh->config.host_key_algorithms;

	return !list || names_in_list(list, algorithm);
}

static bool is_known(const struct knownhosts *known, const char *type)
{
	for (int i = 0; i < known->type_count; i++)
		if (strcmp(known->types[i], type) == 0)
			return true;
	return false;
}

/* Adds to the list the algorithms of the kinds that are @known, or of those that are not. */
static void add_algorithms(const struct ssh *ssh, struct buf *list, const struct knownhosts *known,
			   bool of_known, const char **algorithms, int count)
{
	for (size_t i = 0; i < KINDS; i++) {
		if (is_known(known, kinds[i].type) != of_known)
			continue;
		for (size_t j = 0; j < 2; j++) {
			const char *a = kinds[i].algorithm[j];

			if (a && supported(a, algorithms, count) && allowed(ssh, a))
				buf_printf(list, "%s%s", list->len ? "," : "", a);
		}
	}
}

/* As OpenSSH does: a host whose ed25519 key is known is not refused since the server would
 * rather have shown its ecdsa key. Only algorithms that the library has are named:
 * libssh2_session_method_pref of 1.10.0 strips the others with an overlapping memcpy. */
int ssh_hostkey_prefer(struct ssh *ssh, struct err *err)
{
	struct knownhosts known = {0};
	struct buf list _cleanup_buf_ = {0};
	const char **algorithms = NULL;
	int count =
		libssh2_session_supported_algs(ssh->session, LIBSSH2_METHOD_HOSTKEY, &algorithms);
	int ret = find(ssh, NULL, NULL, &known, err);

	if (ret == 0 && count > 0) {
		add_algorithms(ssh, &list, &known, true, algorithms, count);
		add_algorithms(ssh, &list, &known, false, algorithms, count);
		if (!list.len || libssh2_session_method_pref(ssh->session, LIBSSH2_METHOD_HOSTKEY,
							     list.data) != 0)
			ret = err_set(err, ERR_REFUSED,
				      "%s: libssh2 %s supports no safe kind of host key that "
				      "HostKeyAlgorithms of ssh_config allows (%s)",
				      ssh->host, libssh2_version(0),
				      ssh->config.host_key_algorithms
					      ? ssh->config.host_key_algorithms
					      : "all");
	}
	if (algorithms)
		libssh2_free(ssh->session, algorithms);
	knownhosts_deinit(&known);
	return ret;
}

/* "ED25519 SHA256:..." as ssh-keygen -l shows it. Caller frees. */
static char *fingerprint(struct ssh *ssh, const char *type)
{
	const char *hash = libssh2_hostkey_hash(ssh->session, LIBSSH2_HOSTKEY_HASH_SHA256);
	_autofree_ char *text = hash ? wire_base64(hash, SHA256_LEN) : NULL;

	if (!text)
		return str_dup(label_of(type));
	text[strcspn(text, "=")] = '\0';
	return str_printf("%s SHA256:%s", label_of(type), text);
}

static int refuse_changed(struct ssh *ssh, const struct knownhosts *known, const char *print,
			  struct err *err)
{
	_autofree_ char *name = key_name(ssh, true);

	return err_set(err, ERR_REFUSED,
		       "%s: ITS HOST KEY HAS CHANGED: somebody may be listening in right now "
		       "(man-in-the-middle attack), or the host was installed anew; it showed %s, "
		       "but %s has another one in line %d; if the change is expected: "
		       "ssh-keygen -R '%s' -f %s",
		       ssh->host, print, known->changed_file, known->changed_line, name,
		       known->changed_file);
}

static int refuse_unknown(struct ssh *ssh, const struct knownhosts *known, const char *type,
			  const char *print, struct err *err)
{
	const struct ssh_names *files = &ssh->config.known_hosts;
	const char *file = files->count ? files->name[0] : "the known_hosts file";
	_autofree_ char *why = NULL;

	if (known->type_count)
		why = str_printf("; only its %s key is there, and the server and libssh2 %s "
				 "agree on none of that kind",
				 label_of(known->types[0]), libssh2_version(0));
	else if (known->authority)
		why = str_dup("; a @cert-authority for it is there, but libssh2 cannot check "
			      "certificates of hosts: the host's own key has to be there as well");
	else if (ssh->config.not_strict)
		why = str_printf("; StrictHostKeyChecking %s of ssh_config does not count here, as "
				 "a guest goes to whoever answers",
				 ssh->config.not_strict);
	else
		why = str_dup("");
	if (ssh->proxy)
		return err_set(err, ERR_REFUSED,
			       "%s: its host key is not in %s (%s)%s; compare the fingerprint with "
			       "the host's own and connect once with ssh",
			       ssh->host, file, print, why);
	return err_set(err, ERR_REFUSED,
		       "%s: its host key is not in %s (%s)%s; compare the fingerprint with the "
		       "host's own and add it: ssh-keyscan -t %s -p %d %s >> %s, or connect once "
		       "with ssh",
		       ssh->host, file, print, why,
		       str_starts(type, "ecdsa-") ? "ecdsa"
		       : str_starts(type, "ssh-") ? type + 4
						  : type,
		       ssh->config.port, ssh->config.hostname, file);
}

int ssh_hostkey_check(struct ssh *ssh, struct err *err)
{
	struct knownhosts known = {0};
	size_t len = 0;
	int unused;
	const char *raw = libssh2_session_hostkey(ssh->session, &len, &unused);
	_autofree_ char *type = wire_key_type(raw, len);
	_autofree_ char *key = type ? wire_base64(raw, len) : NULL;
	_autofree_ char *print = type ? fingerprint(ssh, type) : NULL;
	int ret;

	if (!type)
		return err_set(err, ERR_REFUSED, "%s: the server showed no host key", ssh->host);
	ret = find(ssh, type, key, &known, err);
	if (ret == 0 && known.revoked)
		ret = err_set(err, ERR_REFUSED, "%s: its host key is marked as revoked (%s)",
			      ssh->host, print);
	else if (ret == 0 && !known.match && known.changed_file)
		ret = refuse_changed(ssh, &known, print, err);
	else if (ret == 0 && !known.match)
		ret = refuse_unknown(ssh, &known, type, print, err);
	knownhosts_deinit(&known);
	return ret;
}
