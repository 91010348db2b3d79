/* TCP connections that we open ourselves, so that their deadline is ours. */
#ifndef VMFERRY_BASE_TCP_H
#define VMFERRY_BASE_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"

/* Connects to a numeric @address. A non-blocking, close-on-exec descriptor, the caller's
 * to close; or -1, with ERR_TIMEOUT when nothing answers, as behind a firewall that
 * swallows. */
int tcp_connect(struct loop *loop, const char *address, int port, int64_t timeout_ms,
		struct err *err);

/* The numeric address of this host from which @host, a name or an address, is reached; the
 * caller's to free. Nothing is sent there; its name is looked up (getaddrinfo(3), which has
 * the resolver's own deadlines). NULL with @err. */
char *tcp_local_address(const char *host, struct err *err);

/* Copies of the descriptors that process @pid has of connections to @address:@port, into @fds;
 * how many, @max at most. None where we may not have them (pidfd_getfd(2), Linux 5.6: being
 * root, or the same user and nothing restricts ptrace(2)). The caller's to close. */
size_t tcp_connections_of(pid_t pid, const char *address, int port, int *fds, size_t max);

/* Whether tcp_connections_of() can find what process @pid has: of the socket @fd, which the process
 * was given a copy of, it is tried. */
bool tcp_can_copy(pid_t pid, int fd);

/* How a connection is: it stands, or one side has ended it; and for how many ms the other
 * side has not acknowledged what was sent again and again (tcp(7): TCP_INFO), 0 when it has. */
struct tcp_health {
	bool stands;
	int64_t silent_ms;
};

struct tcp_health tcp_health(int fd);

/* Ends a connection, for whoever else has it, too: what was sent and not acknowledged is dropped,
 * so that nothing of it arrives later (which shutdown(2) would have it do, for minutes). */
void tcp_disconnect(int fd);

/* Ends an idle connection @fd when nothing of the other side was heard for @ms (SO_KEEPALIVE). One
 * that is not idle is tcp_health()'s: TCP_USER_TIMEOUT would also end one whose other side takes
 * nothing in for so long because its disk is slow. */
void tcp_keep_alive(int fd, int64_t ms);

/* Lets the next segments that come in on @fd be acknowledged at once (TCP_QUICKACK, tcp(7);
 * the kernel falls back by itself after a while). */
void tcp_quickack(int fd);

#endif
