/* How an agent's signature gets into a request of libssh2.
 *
 * libssh2 1.10.0 knows ssh-rsa for RSA keys only, that is SHA-1, which OpenSSH 8.8 and later
 * refuse. It takes the algorithm from the first string of the public key and writes it
 * into the request and the signature (_libssh2_userauth_publickey() in src/userauth.c). So
 * for those versions the public key's first string is changed to rsa-sha2-512, and the
 * agent is asked for that kind of signature; OpenSSH takes such a key for what it is (seen
 * with 9.2). libssh2 1.11 and later do it themselves. */
#include "ssh/trial.h"

#include <string.h>

#include "ssh/wire.h"

#define LIBSSH2_WITH_RSA_SHA2 0x010b00

struct trial {
	struct agent *agent;
	const struct agent_key *key;
	struct buf blob; /* as it is shown to libssh2 */
	bool asked;
	bool unsigned_; /* the agent would not sign */
	int rc;
};

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
	if (!t->agent) {
		t->unsigned_ = true;
		return -1;
	}
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

int trial_run(struct ssh *ssh, struct agent *agent, const struct agent_key *key,
	      enum trial_result *result, struct err *err)
{
	struct trial t = {.agent = agent, .key = key};
	int ret;

	make_blob(key, &t.blob);
	ret = ssh_io_run(ssh, "the server to accept a key", trial_step, &t, err);
	buf_deinit(&t.blob);
	if (ret < 0)
		return -1;
	if (t.rc != 0 && ssh_io_lost(ssh, t.rc))
		return ssh_io_closed(ssh, err);
	*result = t.rc == 0 ? TRIAL_LOGGED_IN : t.unsigned_ ? TRIAL_UNSIGNED : TRIAL_REFUSED;
	return 0;
}
