/* One public key shown to the server, and the signature if it would take it. */
#ifndef VMFERRY_SSH_TRIAL_H
#define VMFERRY_SSH_TRIAL_H

#include "ssh/agent.h"
#include "ssh/internal.h"

enum trial_result {
	TRIAL_LOGGED_IN,
	TRIAL_REFUSED,  /* by the server */
	TRIAL_UNSIGNED, /* the server would take it, but the agent would not sign */
};

/* @agent NULL: nobody signs, the server is only asked. Errors: the connection's. */
int trial_run(struct ssh *ssh, struct agent *agent, const struct agent_key *key,
	      enum trial_result *result, struct err *err);

#endif
