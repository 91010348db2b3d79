/* What the two halves of logging in share: the user's agent (auth.c) and key files
 * (auth_files.c). */
#ifndef VMFERRY_SSH_LOGIN_H
#define VMFERRY_SSH_LOGIN_H

#include "ssh/agent.h"
#include "ssh/internal.h"

/* The attempt to log in. */
struct login {
	struct ssh *ssh;
	const struct ssh_target *target;
	struct buf tried;         /* "agent: no keys; /root/.ssh/id_rsa: refused by the server" */
	struct ssh_names refused; /* base64 of the keys that were */
	struct ssh_names locked;  /* key files that want a passphrase */
	size_t file_keys;         /* keys of our own agent that had their turn */
	bool asked;               /* the user has given a passphrase */
	bool done;
};

/* Of ssh.h: an agent of our own that goes on. */
struct ssh_keys {
	struct keyagent *agent; /* NULL: nobody was asked for anything */
};

/* Adds to what is told when nothing helps. */
void login_note(struct login *l, const char *what, const char *how);

#define LOGIN_WOULD_DO 1

/* Tries a key, once; @what is it for words. With @agent NULL the server is only asked, and
 * LOGIN_WOULD_DO says that it would take a signature. Errors: the connection's. */
int login_try_key(struct login *l, struct agent *agent, const struct agent_key *key,
		  const char *what, struct err *err);

/* Keys of files that were opened for an earlier session. */
int login_try_kept(struct login *l, struct err *err);

int login_try_files(struct login *l, struct err *err);

#endif
