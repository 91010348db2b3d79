/* Who are we? By public key only: by the keys of the user's agent, then by key files, which
 * an agent of our own reads (keyagent.c). All signatures come from an agent, so there is
 * one way for all kinds of keys, and no private key in this process.
 *
 * Not possible with libssh2's functions, so skipped with a word: certificates and FIDO keys
 * (their signatures have more fields than libssh2 writes). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssh/login.h"
#include "ssh/trial.h"
#include "ssh/wire.h"

void login_note(struct login *l, const char *what, const char *how)
{
	buf_printf(&l->tried, "%s%s: %s", l->tried.len ? "; " : "", what, how);
}

/* PubkeyAcceptedAlgorithms; RSA keys sign with SHA-2 (trial.c). */
static bool is_allowed(const struct ssh_config *c, const char *type)
{
	const char *algorithm = strcmp(type, "ssh-rsa") == 0 ? "rsa-sha2-512" : type;

	return !c->key_algorithms || names_in_list(c->key_algorithms, algorithm);
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

static bool was_refused(const struct login *l, const char *key)
{
	for (size_t i = 0; i < l->refused.count; i++)
		if (strcmp(l->refused.name[i], key) == 0)
			return true;
	return false;
}

int login_try_key(struct login *l, struct agent *agent, const struct agent_key *key,
		  const char *what, struct err *err)
{
	enum trial_result result = TRIAL_REFUSED;
	_autofree_ char *text = wire_base64(key->blob.data, key->blob.len);

	if (!is_usable(key->type)) {
		login_note(l, what, "a kind of key that libssh2 cannot use");
		return 0;
	}
	if (!is_allowed(&l->ssh->config, key->type)) {
		login_note(l, what, "not among PubkeyAcceptedAlgorithms of ssh_config");
		return 0;
	}
	if (was_refused(l, text)) {
		login_note(l, what, "the same key as before");
		return 0;
	}
	if (trial_run(l->ssh, agent, key, &result, err) < 0)
		return -1;
	l->done = result == TRIAL_LOGGED_IN;
	if (l->done) {
		l->ssh->key = str_printf("%s %s", key->type, text);
		return 0;
	}
	if (result == TRIAL_UNSIGNED && !agent)
		return LOGIN_WOULD_DO;
	login_note(l, what,
		   result == TRIAL_UNSIGNED ? "the agent would not sign" : "refused by the server");
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
		    login_try_key(l, agent, key, what, err) < 0)
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
		login_note(l, "agent", why.text);
	else if (!keys.count)
		login_note(l, "agent", "no keys");
	else
		ret = try_agent_keys(l, agent, &keys, true, err);
	if (ret == 0 && !l->done && !c->identities_only)
		ret = try_agent_keys(l, agent, &keys, false, err);
	agent_keys_deinit(&keys);
	agent_close(agent);
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

int ssh_auth(struct ssh *ssh, const struct ssh_target *target, struct err *err)
{
	struct login l = {.ssh = ssh, .target = target};
	int ret = ask_methods(&l, err);

	if (ret == 0 && !l.done)
		ret = login_try_kept(&l, err);
	if (ret == 0 && !l.done)
		ret = try_agent(&l, err);
	if (ret == 0 && !l.done)
		ret = login_try_files(&l, err);
	for (size_t i = 0; i < ssh->config.useless.count; i++)
		buf_printf(&l.tried, "%s%s", l.tried.len ? "; " : "", ssh->config.useless.name[i]);
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
