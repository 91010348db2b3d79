/* Keys of files: first those that are open, then those that a passphrase opens, for which the
 * user is asked - if he can be, and only if the server would take the key at all, which it says
 * for the public part in FILE.pub. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssh/keyagent.h"
#include "ssh/login.h"
#include "ssh/wire.h"

#define ASK_TIMES 3
#define SECRET_MAX 1024

static void add_locked(struct login *l, const char *file)
{
	l->locked.name = mem_grow(l->locked.name, l->locked.count + 1, sizeof(char *));
	l->locked.name[l->locked.count++] = str_dup(file);
}

/* What went wrong with a file is noted, and others may help; but not when it was a signal. */
static int fail_file(struct login *l, const char *file, const struct err *why, struct err *err)
{
	if (why->kind == ERR_INTERRUPTED)
		return err_set(err, why->kind, "%s: %s", l->ssh->host, why->text);
	login_note(l, file, why->text);
	return 0;
}

/* The keys that came into our agent with @file; it lists them in the order in which they were
 * added. */
static int try_new_keys(struct login *l, const struct keyagent *k, const char *file,
			struct err *err)
{
	struct agent_keys keys = {0};
	struct agent *agent;
	struct err why = {0};
	int ret = 0;

	agent = agent_open(l->ssh->loop, keyagent_path(k), l->ssh->wait_ms, &why);
	if (!agent || agent_list(agent, l->ssh->wait_ms, &keys, &why) < 0)
		login_note(l, file, why.text);
	else if (keys.count == l->file_keys)
		login_note(l, file, "the same key as before");
	for (; l->file_keys < keys.count && ret == 0 && !l->done; l->file_keys++)
		ret = login_try_key(l, agent, &keys.key[l->file_keys], file, err);
	agent_keys_deinit(&keys);
	agent_close(agent);
	return ret;
}

static int try_open_file(struct login *l, struct keyagent *k, const char *file, struct err *err)
{
	struct err why = {0};

	switch (keyagent_add(k, file, NULL, l->ssh->wait_ms, &why)) {
	case KEYAGENT_ADDED:
		return try_new_keys(l, k, file, err);
	case KEYAGENT_LOCKED:
		add_locked(l, file);
		return 0;
	default:
		return fail_file(l, file, &why, err);
	}
}

/* The public key beside @file, "ssh-ed25519 AAAA... comment". False: none that can be read. */
static bool read_public(const char *file, struct agent_key *key)
{
	_autofree_ char *name = str_printf("%s.pub", file);
	_autofree_ char *line = NULL;
	FILE *f = fopen(name, "re");
	char *rest = NULL;
	const char *text;
	size_t cap = 0;

	if (!f)
		return false;
	if (getline(&line, &cap, f) > 0 && strtok_r(line, " \t", &rest)) {
		text = strtok_r(NULL, " \t\r\n", &rest);
		if (text && wire_from_base64(text, &key->blob))
			key->type = wire_key_type(key->blob.data, key->blob.len);
	}
	fclose(f);
	return key->type != NULL;
}

/* 0: asking for the passphrase would be in vain, and why is noted. */
static int is_worth_asking(struct login *l, const char *file, struct err *err)
{
	struct agent_key key = {0};
	int ret = LOGIN_WOULD_DO;

	if (read_public(file, &key))
		ret = login_try_key(l, NULL, &key, file, err);
	buf_deinit(&key.blob);
	free(key.type);
	return ret;
}

/* 0 with the passphrase, "" when there is none to be had, which is noted; -1: give up. */
static int ask(struct login *l, const char *file, char *secret, struct err *err)
{
	const struct ssh_config *c = &l->ssh->config;
	_autofree_ char *prompt =
		str_printf("passphrase of %s, for %s@%s: ", file, c->user, l->ssh->host);
	struct err why = {0};

	*secret = '\0';
	str_sanitize(prompt);
	if (l->target->ask(l->ssh->loop, prompt, secret, SECRET_MAX, &why) < 0) {
		explicit_bzero(secret, SECRET_MAX);
		return fail_file(l, file, &why, err);
	}
	if (!*secret)
		login_note(l, file, "no passphrase was given");
	return l->ssh->closed ? ssh_io_closed(l->ssh, err) : 0;
}

static int unlock(struct login *l, struct keyagent *k, const char *file, struct err *err)
{
	char secret[SECRET_MAX];
	struct err why = {0};
	int ret;

	for (int i = 0; i < ASK_TIMES; i++) {
		if (ask(l, file, secret, err) < 0)
			return -1;
		if (!*secret)
			return 0;
		ret = keyagent_add(k, file, secret, l->ssh->wait_ms, &why);
		explicit_bzero(secret, sizeof(secret));
		if (ret < 0)
			return fail_file(l, file, &why, err);
		l->asked = ret == KEYAGENT_ADDED;
		if (l->asked)
			return try_new_keys(l, k, file, err);
	}
	login_note(l, file, "wrong passphrase");
	return 0;
}

static int try_locked_file(struct login *l, struct keyagent *k, const char *file, struct err *err)
{
	int ret;

	if (!l->target->ask || l->ssh->config.batch) {
		_autofree_ char *words = str_printf("needs a passphrase, and nobody is asked "
						    "here: add it to the agent (ssh-add %s)",
						    file);

		login_note(l, file, words);
		return 0;
	}
	ret = is_worth_asking(l, file, err);
	return ret == LOGIN_WOULD_DO ? unlock(l, k, file, err) : ret;
}

static int try_files_by(struct login *l, struct keyagent *k, struct err *err)
{
	const struct ssh_names *files = &l->ssh->config.identities;

	for (size_t i = 0; i < files->count && !l->done; i++)
		if (access(files->name[i], F_OK) == 0 &&
		    try_open_file(l, k, files->name[i], err) < 0)
			return -1;
	for (size_t i = 0; i < l->locked.count && !l->done; i++)
		if (try_locked_file(l, k, l->locked.name[i], err) < 0)
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
		login_note(l, names.data, "no such file");
	return true;
}

struct ssh_keys *ssh_keys_new(void)
{
	return mem_zalloc(1, sizeof(struct ssh_keys));
}

void ssh_keys_free(struct ssh_keys *keys)
{
	if (keys)
		keyagent_stop(keys->agent);
	free(keys);
}

int login_try_kept(struct login *l, struct err *err)
{
	const struct ssh_keys *kept = l->target->keys;
	int ret = kept && kept->agent ? try_new_keys(l, kept->agent, "key of before", err) : 0;

	l->file_keys = 0;
	return ret;
}

/* The agent has done its work, or is kept. */
static void leave(const struct login *l, struct keyagent *k)
{
	struct ssh_keys *keys = l->target->keys;

	if (!l->done || !l->asked || !keys) {
		keyagent_stop(k);
		return;
	}
	keyagent_stop(keys->agent);
	keys->agent = k;
}

int login_try_files(struct login *l, struct err *err)
{
	struct keyagent *k;
	struct err why = {0};
	int ret;

	if (note_absent(l))
		return 0;
	k = keyagent_start(l->ssh->loop, l->ssh->wait_ms, &why);
	if (!k)
		return fail_file(l, "key files", &why, err);
	ret = try_files_by(l, k, err);
	leave(l, k);
	for (size_t i = 0; i < l->locked.count; i++)
		free(l->locked.name[i]);
	free(l->locked.name);
	l->locked = (struct ssh_names){0};
	return ret;
}
