/* The probe against one server of TCP, in a thread. */
#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/nbd_probe.h"
#include "unit.h"

static struct loop *loop;
static struct err err;

/* A server for one client: what it says, and what it was told. */
static struct server {
	int listener, port;
	const char *greeting;
	size_t len;
	bool closes; /* when it has said that */
	char told[64];
	size_t told_len;
	pthread_t thread;
} server;

static void *serve(void *arg)
{
	int fd = accept(server.listener, NULL, NULL);
	ssize_t n;

	(void)arg;
	if (fd < 0)
		return NULL;
	if (server.len && send(fd, server.greeting, server.len, MSG_NOSIGNAL) < 0)
		server.len = 0;
	while (!server.closes && server.told_len < 20 &&
	       (n = recv(fd, server.told + server.told_len, sizeof(server.told) - server.told_len,
			 0)) > 0)
		server.told_len += (size_t)n;
	close(fd);
	return NULL;
}

static void begin(const char *greeting, size_t len, bool closes)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);

	loop = loop_new(&err);
	ck_assert_ptr_nonnull(loop);
	server = (struct server){.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
				 .closes = closes,
				 .greeting = greeting,
				 .len = len};
	ck_assert_int_eq(bind(server.listener, (struct sockaddr *)&address, size), 0);
	ck_assert_int_eq(listen(server.listener, 1), 0);
	ck_assert_int_eq(getsockname(server.listener, (struct sockaddr *)&address, &size), 0);
	server.port = ntohs(address.sin_port);
	ck_assert_int_eq(pthread_create(&server.thread, NULL, serve, NULL), 0);
}

static void end(void)
{
	shutdown(server.listener, SHUT_RDWR);
	pthread_join(server.thread, NULL);
	close(server.listener);
	loop_free(loop);
}

static int probe(int64_t timeout_ms)
{
	return nbd_probe(loop, "127.0.0.1", server.port, timeout_ms, &err);
}

START_TEST(a_server_is_greeted_and_left)
{
	begin("NBDMAGICIHAVEOPT\0\3", 18, false);
	ck_assert_ok(probe(20000), &err);
	end();
	ck_assert_uint_eq(server.told_len, 20);
	ck_assert_mem_eq(server.told, "\0\0\0\1IHAVEOPT\0\0\0\2\0\0\0\0", 20);
}
END_TEST

START_TEST(something_else_is_told)
{
	begin("SSH-2.0-OpenSSH_9.2p1\r\n", 23, false);
	ck_assert_int_eq(probe(20000), -1);
	end();
	ck_assert_str_eq(err.text, "what listens there is no NBD server");
}
END_TEST

START_TEST(one_that_hangs_up_is_told)
{
	begin("NBDMAGIC", 8, true);
	ck_assert_int_eq(probe(20000), -1);
	end();
	ck_assert_int_ne(err.kind, ERR_TIMEOUT);
}
END_TEST

START_TEST(one_that_is_silent_has_a_deadline)
{
	begin("", 0, false);
	ck_assert_int_eq(probe(100), -1);
	end();
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_server_is_greeted_and_left,
		something_else_is_told,
		one_that_hangs_up_is_told,
		one_that_is_silent_has_a_deadline,
	};

	return unit_run("nbd_probe", tests, COUNT_OF(tests));
}
