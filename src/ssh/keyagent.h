/* An ssh-agent of our own, for as long as it takes to log in: it reads the key files, so
 * that every kind and format of key works that ssh(1) itself reads, and no private key is
 * ever in this process. */
#ifndef VMFERRY_SSH_KEYAGENT_H
#define VMFERRY_SSH_KEYAGENT_H

#include "base/err.h"
#include "base/loop.h"

struct keyagent;

/* Starts it. NULL with @err, for example when there is no ssh-agent program. */
struct keyagent *keyagent_start(struct loop *loop, int64_t timeout_ms, struct err *err);

/* Ends it and waits for its end; its directory is gone then. NULL is accepted. */
void keyagent_stop(struct keyagent *k);

/* Its socket, as long as @k. */
const char *keyagent_path(const struct keyagent *k);

/* Of keyagent_add; and -1. */
enum keyagent_result {
	KEYAGENT_ADDED,
	KEYAGENT_LOCKED, /* it wants a passphrase, another one than was given */
};

/* Adds the key of @file for a minute; with a passphrase, for as long as the agent lives.
 * @passphrase NULL: nobody is asked. @err says in a few words what is wrong with the file. */
int keyagent_add(struct keyagent *k, const char *file, const char *passphrase, int64_t timeout_ms,
		 struct err *err);

#endif
