/* The words by which a user names the destination. */
#ifndef VMFERRY_MIGRATE_DESTINATION_H
#define VMFERRY_MIGRATE_DESTINATION_H

#include <stdbool.h>

#include "base/err.h"

struct destination {
	char *user;   /* NULL: ssh's default */
	char *host;   /* without the brackets of an IPv6 literal; NULL: this host */
	int port;     /* 0: ssh's default */
	char *socket; /* absolute path of the QMP socket */
};

/* Takes `[user@]host:/path`, `[user@][v6]:/path`, `ssh://[user@]host[:port]/path` or
 * `/path`. */
int destination_parse(const char *text, struct destination *dst, struct err *err);
/* As destination_parse, but "[user@]host" alone or "ssh://[user@]host[:port]" will do: the path is
 * that of @socket, made absolute, then. */
int destination_parse_host(const char *text, const char *socket, struct destination *dst,
			   struct err *err);

void destination_deinit(struct destination *dst);

#endif
