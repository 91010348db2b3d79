/* A short conversation over TCP, to see whether a port can be reached and who is there. */
#ifndef VMFERRY_BASE_TCP_H
#define VMFERRY_BASE_TCP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"

struct tcp_talk {
	const char *address; /* numeric */
	int port;
	size_t hello_len; /* bytes to read first, into `hello` */
	void *hello;
	const void *goodbye; /* bytes to send then; what the peer answers is thrown away */
	size_t goodbye_len;
};

/* Connects, reads, sends, waits until the peer closes. ERR_TIMEOUT when nothing answers,
 * as behind a firewall that swallows; @timeout_ms holds for the whole. */
int tcp_talk(struct loop *loop, const struct tcp_talk *talk, int64_t timeout_ms, struct err *err);

#endif
