/* Unix sockets of this host that lead to Unix sockets of the other one, for programs that are to
 * have the bytes themselves: by a program ssh(1) of its own, logged in as a session of ours is.
 */
#ifndef VMFERRY_SSH_FORWARD_H
#define VMFERRY_SSH_FORWARD_H

#include "ssh/ssh.h"

struct ssh_forward;

/* Who connects to @here, on this host, gets to @there; both are absolute, plain paths. What is to
 * listen there may come to be later. */
struct ssh_forwarded {
	const char *here, *there;
};

/* What ssh_forward_start() puts into its directory, besides the sockets. The names are nobody
 * else's: what is removed by them is ours. */
#define SSH_FORWARD_CONFIG "vmferry.ssh_config"
#define SSH_FORWARD_KNOWN_HOSTS "vmferry.known_hosts"

/* Starts ssh(1), to the host that @ssh has reached, as that session's login, and returns when all
 * of @sockets listen here. @directory, of this host, is ours alone, and empty but for what an
 * earlier one has left there. @target is the one of ssh_open(). It ends with us, however we end.
 * NULL with @err. */
struct ssh_forward *ssh_forward_start(struct ssh *ssh, const struct ssh_target *target,
				      const char *directory, const struct ssh_forwarded *sockets,
				      size_t count, struct err *err);

/* The login that connects to the sockets over there, where commands and files are those of
 * another one (ssh_target.sudo); else NULL. Valid as long as @ssh. */
const char *ssh_forward_login(const struct ssh *ssh);

/* Whether ssh(1) has ended, and with it all connections; and what it said last, "" nothing. */
bool ssh_forward_ended(const struct ssh_forward *forward);
const char *ssh_forward_words(struct ssh_forward *forward);

/* Ends it and waits for its end. Its files stay. NULL is accepted. */
void ssh_forward_stop(struct ssh_forward *forward);

#endif
