/* What is asked of a host by its shell. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"
#include "migrate/host.h"
#include "unit.h"

static char directory[sizeof("/tmp/host.XXXXXX")];
static struct loop *loop;
static struct host *host;
static struct err err;

static void begin(void)
{
	memcpy(directory, "/tmp/host.XXXXXX", sizeof(directory));
	ck_assert(mkdtemp(directory) != NULL);
	ck_assert_int_eq(chdir(directory), 0);
	loop = loop_new(&err);
	ck_assert_msg(loop != NULL, "%s", err.text);
	host = host_local(loop, 10000);
}

static void end(void)
{
	host_close(host);
	loop_free(loop);
	unlink("qmp.sock");
	ck_assert_int_eq(rmdir(directory), 0);
}

static int bound(const char *name, int listens)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", name);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	if (listens)
		ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

static bool listens(const char *path)
{
	bool is;

	ck_assert_msg(host_listens(host, path, 10000, &is, &err) == 0, "%s", err.text);
	return is;
}

START_TEST(who_listens_is_found_by_its_path)
{
	_autofree_ char *path = NULL;
	_autofree_ char *other = NULL;
	int fd;

	begin();
	path = str_printf("%s/qmp.sock", directory);
	other = str_printf("%s/./qmp.sock", directory);
	ck_assert(!listens(path));
	fd = bound(path, 1);
	ck_assert(listens(path));
	ck_assert(listens(other));
	ck_assert(!listens("/tmp/another/qmp.sock"));
	unlink("qmp.sock"); /* as somebody's clean-up does */
	ck_assert(listens(path));
	close(fd);
	ck_assert(!listens(path));
	end();
}
END_TEST

/* As a QEMU does that was started in its directory, and one that is a daemon since. */
START_TEST(a_relative_name_counts_where_it_was_bound)
{
	_autofree_ char *path = NULL;
	_autofree_ char *other = NULL;
	int fd;

	begin();
	path = str_printf("%s/qmp.sock", directory);
	other = str_printf("%s/other", directory);
	fd = bound("qmp.sock", 1);
	ck_assert(listens(path));
	unlink("qmp.sock");
	ck_assert(listens(path));
	ck_assert_int_eq(mkdir(other, 0700), 0);
	ck_assert_int_eq(chdir(other), 0);
	ck_assert(!listens(path));
	ck_assert_int_eq(chdir(directory), 0);
	ck_assert_int_eq(rmdir(other), 0);
	close(fd);
	ck_assert(!listens(path));
	end();
}
END_TEST

START_TEST(a_socket_that_is_only_bound_does_not_listen)
{
	_autofree_ char *path = NULL;
	int fd;

	begin();
	path = str_printf("%s/qmp.sock", directory);
	fd = bound(path, 0);
	ck_assert(!listens(path));
	close(fd);
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		who_listens_is_found_by_its_path,
		a_relative_name_counts_where_it_was_bound,
		a_socket_that_is_only_bound_does_not_listen,
	};

	return unit_run("host", tests, COUNT_OF(tests));
}
