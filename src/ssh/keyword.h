/* What each keyword of ssh_config(5) means here. */
#ifndef VMFERRY_SSH_KEYWORD_H
#define VMFERRY_SSH_KEYWORD_H

#include <stdbool.h>

#include "ssh/config.h"

/* Takes in one line of `ssh -G` for @host: @name and @value, which may be changed. Refused is what
 * cannot be honoured and must not be passed over; unknown names are passed over. */
int keyword_take(struct ssh_config *config, const char *host, const char *name, char *value,
		 struct err *err);

/* Whether the table has it. */
bool keyword_is_known(const char *name);

/* The value of IdentityAgent, whose names "none", "SSH_AUTH_SOCK" and "$NAME" are not files. */
void keyword_set_agent(struct ssh_config *config, const char *value);

#endif
