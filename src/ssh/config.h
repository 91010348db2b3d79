/* What ssh(1) would do for a host, as far as it matters here: the answer of `ssh -G`, so
 * that aliases, Match blocks and includes of ssh_config(5) mean the same to both. */
#ifndef VMFERRY_SSH_CONFIG_H
#define VMFERRY_SSH_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/loop.h"
#include "ssh/names.h"
#include "ssh/ssh.h"

struct ssh_config {
	char *hostname; /* to connect to */
	char *key_name; /* HostKeyAlias: the name in known_hosts; NULL: the hostname */
	char *user;
	int port;
	char *proxy_command; /* as ssh_config has it; at most one of the two */
	char *proxy_jump;
	int family;         /* AF_UNSPEC, AF_INET, AF_INET6 */
	char *bind_address; /* ours; NULL: the kernel chooses */
	int attempts;       /* ConnectionAttempts */
	int64_t connect_timeout_ms;
	bool tcp_keepalive;
	int64_t silence_ms;   /* with it: then the kernel ends the connection */
	int alive_interval_s; /* ServerAliveInterval; 0: none */
	int alive_count_max;
	bool batch;           /* nothing is asked */
	bool identities_only; /* of the agent's keys only those of `identities` */
	char *agent;          /* its socket; NULL: none is used */
	struct ssh_names identities;
	struct ssh_names known_hosts; /* the user's files, then the host's */
	struct ssh_names global_known_hosts;
	char *not_strict; /* StrictHostKeyChecking where it is less than strict; does not count */
	/* Lists of algorithms; NULL: as the library likes */
	char *host_key_algorithms, *kex_algorithms, *ciphers, *macs, *key_algorithms;
	struct ssh_names useless; /* words about keys that cannot be used */
};

/* Asks `ssh -G`, and puts what the user named in @target above it. What cannot be
 * honoured and would lead elsewhere is refused. */
int ssh_config_read(struct ssh_config *config, struct loop *loop, const struct ssh_target *target,
		    struct err *err);
void ssh_config_deinit(struct ssh_config *config);

#endif
