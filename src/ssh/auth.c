/* Who are we? By public key only: by the keys of the user's agent, then by key files, which
 * an agent of our own reads (keyagent.c). All signatures come from an agent, so there is
 * one way for all kinds of keys, and no private key in this process.
 *
 * libssh2 1.10.0 knows ssh-rsa for RSA keys only, that is SHA-1, which OpenSSH 8.8 and later
 * refuse. It takes the algorithm from the first string of the public key and writes it
 * into the request and the signature (_libssh2_userauth_publickey() in src/userauth.c). So
 * for those versions the public key's first string is changed to rsa-sha2-512, and the
 * agent is asked for that kind of signature; OpenSSH takes such a key for what it is (seen
 * with 9.2). libssh2 1.11 and later do it themselves.
 *
 * Not possible with libssh2's functions, so skipped with a word: certificates and FIDO keys
 * (their signatures have more fields than libssh2 writes). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssh/agent.h"
#include "ssh/internal.h"
#include "ssh/keyagent.h"
#include "ssh/wire.h"

#define LIBSSH2_WITH_RSA_SHA2 0x010b00

/* The attempt to log in. */
struct login {
	struct ssh *ssh;
	struct buf tried;         /* "agent: no keys; /root/.ssh/id_rsa: refused by the server" */
	struct ssh_names refused; /* base64 of the keys that were */
	size_t file_keys;         /* keys of our own agent that had their turn */
	bool done;
};

/* One key's try. */
struct trial {
	struct agent *agent;
	const struct agent_key *key;
	struct buf blob; /* as it is shown to libssh2 */
	bool asked;
	bool unsigned_; /* the agent would not sign */
	int rc;
};

static void note(struct login *l, const char *what, const char *how)
{
	buf_printf(&l->tried, "%s%s: %s", l->tried.len ? "; " : "", what, how);
}

static bool is_usable(const char *type)
{
	static const char *const types[] = {"ssh-ed25519", "ecdsa-sha2-nistp256",
					    "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
					    "ssh-rsa"};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(type, types[i]) == 0)
			return true;
	return false;
}

/* What is to be signed (RFC 4252, 7) names the algorithm. */
static uint32_t sign_flags(const unsigned char *data, size_t len)
{
	struct wire w = {.data = data, .len = len};
	struct wire word;

	if (!wire_string(&w, &word) || w.len < 1)
		return 0;
	w.data++; /* SSH_MSG_USERAUTH_REQUEST */
	w.len--;
	for (int i = 0; i < 3; i++) /* user, service, "publickey" */
		if (!wire_string(&w, &word))
			return 0;
	if (w.len < 1)
		return 0;
	w.data++; /* TRUE */
	w.len--;
	if (!wire_string(&w, &word) || word.len != strlen("rsa-sha2-512"))
		return 0;
	if (memcmp(word.data, "rsa-sha2-512", word.len) == 0)
		return AGENT_RSA_SHA2_512;
	return memcmp(word.data, "rsa-sha2-256", word.len) == 0 ? AGENT_RSA_SHA2_256 : 0;
}

/* libssh2 takes LIBSSH2_ERROR_EAGAIN from here as it does from the socket, and calls again
 * with the same data. It frees the signature, by free(3). */
static LIBSSH2_USERAUTH_PUBLICKEY_SIGN_FUNC(on_sign)
{
	struct trial *t = *abstract;
	struct buf signature = {0};

	(void)session;
	if (!t->asked) {
		t->asked = true;
		agent_sign(t->agent, &t->key->blob, data, data_len, sign_flags(data, data_len));
	}
	switch (agent_signature(t->agent, &signature)) {
	case AGENT_WAIT:
		return LIBSSH2_ERROR_EAGAIN;
	case AGENT_SIGNED:
		*sig = (unsigned char *)signature.data;
		*sig_len = signature.len;
		return 0;
	default:
		t->unsigned_ = true;
		return -1;
	}
}

static bool trial_step(struct ssh *ssh, void *arg)
{
	struct trial *t = arg;
	void *abstract = t;

	t->rc = libssh2_userauth_publickey(ssh->session, ssh->config.user,
					   (const unsigned char *)t->blob.data, t->blob.len,
					   on_sign, &abstract);
	return t->rc != LIBSSH2_ERROR_EAGAIN;
}

/* See the top of the file. */
static void make_blob(const struct agent_key *key, struct buf *blob)
{
	static const char name[] = "rsa-sha2-512";
	const size_t head = 4 + strlen("ssh-rsa");

	if (strcmp(key->type, "ssh-rsa") == 0 && !libssh2_version(LIBSSH2_WITH_RSA_SHA2)) {
		wire_add_string(blob, name, strlen(name));
		buf_add(blob, key->blob.data + head, key->blob.len - head);
	} else {
		buf_add(blob, key->blob.data, key->blob.len);
	}
}

static bool was_refused(const struct login *l, const char *key)
{
	for (size_t i = 0; i < l->refused.count; i++)
		if (strcmp(l->refused.name[i], key) == 0)
			return true;
	return false;
}

static int try_key(struct login *l, struct agent *agent, const struct agent_key *key,
		   const char *what, struct err *err)
{
	struct trial t = {.agent = agent, .key = key};
	_autofree_ char *text = wire_base64(key->blob.data, key->blob.len);
	int ret;

	if (!is_usable(key->type)) {
		note(l, what, "a kind of key that libssh2 cannot use");
		return 0;
	}
	if (was_refused(l, text)) {
		note(l, what, "the same key as before");
		return 0;
	}
	make_blob(key, &t.blob);
	ret = ssh_io_run(l->ssh, "the server to accept a key", trial_step, &t, err);
	buf_deinit(&t.blob);
	if (ret < 0)
		return -1;
	if (t.rc == 0) {
		l->done = true;
		return 0;
	}
	if (ssh_io_lost(l->ssh, t.rc))
		return ssh_io_closed(l->ssh, err);
	note(l, what, t.unsigned_ ? "the agent would not sign" : "refused by the server");
	l->refused.name = mem_grow(l->refused.name, l->refused.count + 1, sizeof(char *));
	l->refused.name[l->refused.count++] = str_take(&text);
	return 0;
}

/* Whether @key is the one of a key file, by the public part beside it. */
static bool is_of_file(const struct agent_key *key, const char *file)
{
	_autofree_ char *wanted = wire_base64(key->blob.data, key->blob.len);
	_autofree_ char *public_name = str_printf("%s.pub", file);
	const char *const names[] = {public_name, file};
	bool found = false;

	for (size_t i = 0; i < 2 && !found; i++) {
		_autofree_ char *line = NULL;
		size_t cap = 0;
		FILE *f = fopen(names[i], "re");

		if (f && getline(&line, &cap, f) > 0)
			found = strstr(line, wanted) != NULL;
		if (f)
			fclose(f);
	}
	return found;
}

static bool is_of_files(const struct agent_key *key, const struct ssh_names *files)
{
	for (size_t i = 0; i < files->count; i++)
		if (is_of_file(key, files->name[i]))
			return true;
	return false;
}

/* All keys of an agent that are, or are not, those of the key files. */
static int try_agent_keys(struct login *l, struct agent *agent, const struct agent_keys *keys,
			  bool of_files, struct err *err)
{
	for (size_t i = 0; i < keys->count && !l->done; i++) {
		const struct agent_key *key = &keys->key[i];
		_autofree_ char *what = str_printf("agent's key %s", key->comment);

		if (is_of_files(key, &l->ssh->config.identities) == of_files &&
		    try_key(l, agent, key, what, err) < 0)
			return -1;
	}
	return 0;
}

/* As ssh(1): those of the key files first, the others unless IdentitiesOnly. */
static int try_agent(struct login *l, struct err *err)
{
	const struct ssh_config *c = &l->ssh->config;
	struct agent_keys keys = {0};
	struct agent *agent;
	struct err why = {0};
	int ret = 0;

	if (!c->agent)
		return 0;
	agent = agent_open(l->ssh->loop, c->agent, l->ssh->wait_ms, &why);
	if (!agent || agent_list(agent, l->ssh->wait_ms, &keys, &why) < 0)
		note(l, "agent", why.text);
	else if (!keys.count)
		note(l, "agent", "no keys");
	else
		ret = try_agent_keys(l, agent, &keys, true, err);
	if (ret == 0 && !l->done && !c->identities_only)
		ret = try_agent_keys(l, agent, &keys, false, err);
	agent_keys_deinit(&keys);
	agent_close(agent);
	return ret;
}

/* The agent lists its keys in the order in which they were added. */
static int try_file(struct login *l, struct keyagent *k, const char *file, struct err *err)
{
	struct agent_keys keys = {0};
	struct agent *agent;
	struct err why = {0};
	int ret = 0;

	if (keyagent_add(k, file, l->ssh->wait_ms, &why) < 0) {
		note(l, file, why.text);
		return why.kind == ERR_INTERRUPTED ? err_set(err, why.kind, "%s", why.text) : 0;
	}
	agent = agent_open(l->ssh->loop, keyagent_path(k), l->ssh->wait_ms, &why);
	if (!agent || agent_list(agent, l->ssh->wait_ms, &keys, &why) < 0)
		note(l, file, why.text);
	else if (keys.count == l->file_keys)
		note(l, file, "the same key as before");
	for (; l->file_keys < keys.count && ret == 0 && !l->done; l->file_keys++)
		ret = try_key(l, agent, &keys.key[l->file_keys], file, err);
	agent_keys_deinit(&keys);
	agent_close(agent);
	return ret;
}

static int try_files_by(struct login *l, struct keyagent *k, struct err *err)
{
	const struct ssh_names *files = &l->ssh->config.identities;

	for (size_t i = 0; i < files->count && !l->done; i++)
		if (access(files->name[i], F_OK) == 0 && try_file(l, k, files->name[i], err) < 0)
			return -1;
	return 0;
}

/* ssh -G names a handful of files, of which most never exist. */
static bool note_absent(struct login *l)
{
	const struct ssh_names *files = &l->ssh->config.identities;
	struct buf names _cleanup_buf_ = {0};

	for (size_t i = 0; i < files->count; i++) {
		if (access(files->name[i], F_OK) == 0)
			return false;
		buf_printf(&names, "%s%s", i ? ", " : "", files->name[i]);
	}
	if (names.len)
		note(l, names.data, "no such file");
	return true;
}

static int try_files(struct login *l, struct err *err)
{
	struct keyagent *k;
	struct err why = {0};
	int ret;

	if (note_absent(l))
		return 0;
	k = keyagent_start(l->ssh->loop, l->ssh->wait_ms, &why);
	if (!k) {
		note(l, "key files", why.text);
		return why.kind == ERR_INTERRUPTED ? err_set(err, why.kind, "%s", why.text) : 0;
	}
	ret = try_files_by(l, k, err);
	keyagent_stop(k);
	return ret;
}

struct methods {
	const char *list;
	int rc;
};

static bool methods_step(struct ssh *ssh, void *arg)
{
	struct methods *m = arg;

	m->list = libssh2_userauth_list(ssh->session, ssh->config.user,
					(unsigned)strlen(ssh->config.user));
	m->rc = m->list ? 0 : libssh2_session_last_errno(ssh->session);
	return m->rc != LIBSSH2_ERROR_EAGAIN;
}

/* Asks what the server wants; it may want nothing. */
static int ask_methods(struct login *l, struct err *err)
{
	struct ssh *ssh = l->ssh;
	struct methods m = {0};

	if (ssh_io_run(ssh, "the server to name its ways to log in", methods_step, &m, err) < 0)
		return -1;
	if (!m.list && libssh2_userauth_authenticated(ssh->session)) {
		l->done = true;
		return 0;
	}
	if (ssh_io_lost(ssh, m.rc))
		return ssh_io_closed(ssh, err);
	if (m.list && !strstr(m.list, "publickey"))
		return err_set(err, ERR_REFUSED,
			       "%s: the server lets %s log in by %s only, not by a key; set "
			       "PubkeyAuthentication yes in its sshd_config",
			       ssh->host, ssh->config.user, m.list);
	return 0;
}

static int refused(const struct login *l, struct err *err)
{
	return err_set(err, ERR_REFUSED,
		       "%s: no key lets %s log in (%s); add a public key to the "
		       "authorized_keys of %s there, or name another key by -i",
		       l->ssh->host, l->ssh->config.user,
		       l->tried.len ? l->tried.data : "there is no agent and no key file",
		       l->ssh->config.user);
}

/* A server ends the connection after MaxAuthTries keys. */
static void explain_closed(const struct login *l, struct err *err)
{
	char lost[ERR_TEXT_MAX];

	if (!err || err->kind != ERR_CLOSED)
		return;
	memcpy(lost, err->text, sizeof(lost));
	err_set(err, ERR_CLOSED,
		"%s, while logging in as %s (tried: %s); if these were too many keys, "
		"name one by -i",
		lost, l->ssh->config.user, l->tried.len ? l->tried.data : "nothing");
}

int ssh_auth(struct ssh *ssh, struct err *err)
{
	struct login l = {.ssh = ssh};
	int ret = ask_methods(&l, err);

	if (ret == 0 && !l.done)
		ret = try_agent(&l, err);
	if (ret == 0 && !l.done)
		ret = try_files(&l, err);
	if (ret < 0)
		explain_closed(&l, err);
	else if (!l.done)
		ret = refused(&l, err);
	for (size_t i = 0; i < l.refused.count; i++)
		free(l.refused.name[i]);
	free(l.refused.name);
	buf_deinit(&l.tried);
	return ret;
}
