/* Units as /proc/PID/cgroup names them. */
#include "base/str.h"
#include "migrate/scope.h"
#include "unit.h"

static void is(const char *text, const char *wanted, const char *cgroup)
{
	ck_assert_msg(wanted ? str_eq(text, wanted) : !text, "%s: %s", cgroup, text);
}

START_TEST(units_are_found)
{
	static const struct {
		const char *cgroup, *unit, *slice;
	} ones[] = {
		{"0::/machine.slice/web1.scope\n", "web1", "machine.slice"},
		{"0::/system.slice/qemu-web1.service\n", "qemu-web1", NULL},
		{"0::/machine.slice/machine-qemu\\x2d1\\x2dweb1.scope/libvirt/emulator\n",
		 "machine-qemu\\x2d1\\x2dweb1", "machine.slice"},
		{"0::/vms.slice/vms-gold.slice/web1.service\n", "web1", "vms-gold.slice"},
		{"0::/user.slice/user-0.slice/session-3.scope\n", NULL, NULL},
		{"0::/user.slice/user-1000.slice/user@1000.service/app.slice/web1.scope\n", "web1",
		 NULL},
		{"0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-r12.scope\n", NULL,
		 NULL},
		{"0::/system.slice/ssh.service\n", NULL, NULL},
		{"0::/init.scope\n", NULL, NULL},
		{"0::/\n", NULL, NULL},
		{"", NULL, NULL},
		{"4:memory:/x.slice\n1:name=systemd:/machine.slice/web1.scope\n0::/\n", "web1",
		 "machine.slice"},
		{"0::/docker/0123456789abcdef\n", NULL, NULL},
	};

	for (size_t i = 0; i < COUNT_OF(ones); i++) {
		_autofree_ char *unit = NULL;
		_autofree_ char *slice = NULL;

		scope_parse(ones[i].cgroup, &unit, &slice);
		is(unit, ones[i].unit, ones[i].cgroup);
		is(slice, ones[i].slice, ones[i].cgroup);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {units_are_found};

	return unit_run("scope", tests, COUNT_OF(tests));
}
