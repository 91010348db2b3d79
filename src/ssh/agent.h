/* The keys of an ssh-agent: which there are, and signatures by them (the agent protocol,
 * draft-miller-ssh-agent). */
#ifndef VMFERRY_SSH_AGENT_H
#define VMFERRY_SSH_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/str.h"

struct agent;

struct agent_key {
	struct buf blob; /* the public key as SSH sends it */
	char *type;      /* "ssh-ed25519" */
	char *comment;
};

struct agent_keys {
	struct agent_key *key;
	size_t count;
};

/* Connects to the agent's socket. NULL with @err. */
struct agent *agent_open(struct loop *loop, const char *path, int64_t timeout_ms, struct err *err);
void agent_close(struct agent *agent);

int agent_list(struct agent *agent, int64_t timeout_ms, struct agent_keys *keys, struct err *err);
void agent_keys_deinit(struct agent_keys *keys);

/* For RSA keys: sign with SHA-2 instead of SHA-1. */
#define AGENT_RSA_SHA2_256 2u
#define AGENT_RSA_SHA2_512 4u

/* Asks for a signature of @data. The answer is taken in by the loop. */
void agent_sign(struct agent *agent, const struct buf *blob, const void *data, size_t len,
		uint32_t flags);

enum agent_answer {
	AGENT_WAIT, /* not yet */
	AGENT_SIGNED,
	AGENT_REFUSED, /* the agent will not, or is gone */
};

/* Whether the signature is there: @signature is it without the algorithm's name, for the
 * caller to deinit. */
enum agent_answer agent_signature(struct agent *agent, struct buf *signature);

#endif
