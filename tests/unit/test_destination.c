#include <string.h>

#include "base/str.h"
#include "migrate/destination.h"
#include "unit.h"

static void is(const char *text, const char *wanted)
{
	if (wanted)
		ck_assert_str_eq(text, wanted);
	else
		ck_assert_ptr_null(text);
}

START_TEST(good_destinations_are_understood)
{
	static const struct {
		const char *text, *user, *host;
		int port;
		const char *socket;
	} good[] = {
		{"/run/qmp.sock", NULL, NULL, 0, "/run/qmp.sock"},
		{"/run/a:/b@c", NULL, NULL, 0, "/run/a:/b@c"},
		{"hostb:/run/qmp.sock", NULL, "hostb", 0, "/run/qmp.sock"},
		{"root@hostb:/q", "root", "hostb", 0, "/q"},
		{"hostb.example.org:/q", NULL, "hostb.example.org", 0, "/q"},
		{"10.0.0.2:/q", NULL, "10.0.0.2", 0, "/q"},
		{"[fd00::1]:/q", NULL, "fd00::1", 0, "/q"},
		{"me@[fe80::1%eth0]:/q", "me", "fe80::1%eth0", 0, "/q"},
		{"a@b@hostb:/q", "a@b", "hostb", 0, "/q"},
		{"hostb:/with space/a:/b", NULL, "hostb", 0, "/with space/a:/b"},
		{"ssh://hostb/q", NULL, "hostb", 0, "/q"},
		{"ssh://hostb:22/q", NULL, "hostb", 22, "/q"},
		{"ssh://me@hostb:65535/a/b@c:d", "me", "hostb", 65535, "/a/b@c:d"},
		{"ssh://[fd00::1]/q", NULL, "fd00::1", 0, "/q"},
		{"ssh://me@[fd00::1]:2222/q", "me", "fd00::1", 2222, "/q"},
		{"ssh://hostb:1/q", NULL, "hostb", 1, "/q"},
	};

	for (size_t i = 0; i < COUNT_OF(good); i++) {
		struct destination dst;
		struct err err;

		ck_assert_ok(destination_parse(good[i].text, &dst, &err), &err);
		is(dst.user, good[i].user);
		is(dst.host, good[i].host);
		is(dst.socket, good[i].socket);
		ck_assert_int_eq(dst.port, good[i].port);
		destination_deinit(&dst);
		ck_assert_ptr_null(dst.socket);
	}
}
END_TEST

START_TEST(bad_destinations_are_refused_with_the_reason)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{"", "it has no path"},
		{"hostb", "it has no path"},
		{"hostb:", "its path is not absolute"},
		{"hostb:qmp.sock", "its path is not absolute"},
		{"hostb:22", "its path is not absolute"},
		{"hostb:22:/q", "a port into an ssh:// form"},
		{"fd00::1:/q", "an IPv6 address goes in brackets"},
		{"[fd00::1:/q", "an IPv6 address goes in brackets"},
		{"[fd00::1]x:/q", "an IPv6 address goes in brackets"},
		{":/q", "its user or host is empty"},
		{"@hostb:/q", "its user or host is empty"},
		{"me@:/q", "its user or host is empty"},
		{"[]:/q", "its user or host is empty"},
		{"-oProxyCommand=x:/q", "its user or host is empty or has characters"},
		{"-l@hostb:/q", "characters no name has"},
		{"me@-x:/q", "characters no name has"},
		{"host b:/q", "characters no name has"},
		{" hostb:/q", "characters no name has"},
		{"hostb\n:/q", "characters no name has"},
		{"hostb\177:/q", "characters no name has"},
		{"ho'st:/q", "characters no name has"},
		{"ho\"st:/q", "characters no name has"},
		{"$(id):/q", "characters no name has"},
		{"`id`@hostb:/q", "characters no name has"},
		{"a;b@hostb:/q", "characters no name has"},
		{"ssh://hostb", "it has no path"},
		{"ssh://", "it has no path"},
		{"ssh:///q", "its user or host is empty"},
		{"ssh://hostb:/q", "its port is not one of 1 to 65535"},
		{"ssh://hostb:0/q", "its port is not one of 1 to 65535"},
		{"ssh://hostb:65536/q", "its port is not one of 1 to 65535"},
		{"ssh://hostb:-1/q", "its port is not one of 1 to 65535"},
		{"ssh://hostb:+22/q", "its port is not one of 1 to 65535"},
		{"ssh://hostb: 22/q", "its port is not one of 1 to 65535"},
		{"ssh://hostb:22x/q", "its port is not one of 1 to 65535"},
		{"ssh://hostb:99999999999999999999/q", "its port is not one of 1 to 65535"},
		{"ssh://fd00::1/q", "its port is not one of 1 to 65535"},
		{"ssh://[fd00::1/q", "its host cannot be read"},
		{"ssh://[fd00::1]22/q", "its host cannot be read"},
		{"ssh://-x/q", "characters no name has"},
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct destination dst;
		struct err err = {0};

		ck_assert_msg(destination_parse(bad[i].text, &dst, &err) == -1, "\"%s\" was taken",
			      bad[i].text);
		ck_assert_int_eq(err.kind, ERR_USAGE);
		ck_assert_has(err.text, bad[i].why);
		ck_assert_has(err.text, "[user@]host:/path/qmp.sock");
		ck_assert(!dst.user && !dst.host && !dst.socket && !dst.port);
	}
}
END_TEST

START_TEST(a_path_that_no_socket_can_have_is_refused)
{
	_autofree_ char *fits = str_printf("hostb:/%0106d", 0);
	_autofree_ char *too_long = str_printf("hostb:/%0107d", 0);
	struct destination dst;
	struct err err = {0};

	ck_assert_ok(destination_parse(fits, &dst, &err), &err);
	destination_deinit(&dst);
	ck_assert_int_eq(destination_parse(too_long, &dst, &err), -1);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_has(err.text, "has 108 characters, and a Unix socket's at most 107");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		good_destinations_are_understood,
		bad_destinations_are_refused_with_the_reason,
		a_path_that_no_socket_can_have_is_refused,
	};

	return unit_run("destination", tests, COUNT_OF(tests));
}
