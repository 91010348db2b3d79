/* A real sshd on a port of its own, with keys, known_hosts and an ssh_config made for the
 * test, and an echo service on a Unix socket "over there". A guardian process holds it all
 * and takes it away when the test process ends, however it ends. */
#ifndef TEST_SSH_SERVER_H
#define TEST_SSH_SERVER_H

#include <check.h>
#include <sys/types.h>

#include "base/loop.h"
#include "ssh/ssh.h"

/* At the sight of these bytes the echo service closes the connection. */
#define SERVER_QUIT "please quit now"

struct server {
	char dir[32];    /* user, user.pub, known_hosts, ssh_config, sshd_config, ... */
	char echo[64];   /* the Unix socket: sends back what it is sent */
	char config[64]; /* ssh_config: "Host good" is this server */
	int port;
	pid_t guardian;
	int lifeline;
};

/* Starts it; @sshd_config is added to the server's configuration. */
void server_start(struct server *s, const char *sshd_config);

/* Ends it with all connections; once more is no harm. */
void server_stop(struct server *s);

/* Runs a shell command, which has to succeed. In it, $DIR and $PORT are the server's. */
void server_shell(const struct server *s, const char *command);

/* The server as ssh_open's target, with short timeouts. */
struct ssh_target server_target(const struct server *s);

/* ssh_open, which has to succeed. */
struct ssh *server_open(struct loop *loop, const struct server *s);

/* Runs them as one suite; the result is main's. @setup may be NULL. */
int server_run_tests(const char *name, const TTest *const *tests, size_t count, void (*setup)(void),
		     void (*teardown)(void));

#endif
