/* The way to a host that no TCP connection of ours reaches: a program whose stdin and stdout are
 * the connection (ssh_config(5), ProxyCommand and ProxyJump). */
#ifndef VMFERRY_SSH_PROXY_H
#define VMFERRY_SSH_PROXY_H

#include "base/err.h"
#include "base/loop.h"
#include "ssh/config.h"

struct proxy;

/* The command line, of a POSIX shell, that ssh(1) would run to reach the host of @config, whose
 * proxy_command or proxy_jump is set. Refused: what ssh(1) refuses, and names that a shell would
 * read as more than a name. Caller frees; NULL with @err. */
char *proxy_command_line(const struct ssh_config *config, const struct ssh_target *target,
			 struct err *err);

/* Starts @command by /bin/sh in a session of its own: no terminal, and no Ctrl-C that was meant
 * for us. @fd becomes our end of its stdin and stdout, the caller's to close. What it writes to
 * stderr is told to the target, line by line, as long as the loop goes on. */
struct proxy *proxy_start(struct loop *loop, const char *command, const struct ssh_target *target,
			  int *fd, struct err *err);

/* The last line it wrote to stderr, cleaned; "" when it said nothing. */
const char *proxy_words(struct proxy *proxy);

/* Ends it with all it has started in its session, and waits for its end: at most a second, then
 * it is killed. @fd should have been closed before, by which most end. NULL is accepted. */
void proxy_stop(struct proxy *proxy);

#endif
