"""--scope, on a host where systemd seems to run: its systemd-run and loginctl are stand-ins, which
note what they are told. What a real systemd does is seen in test_systemd.py, where one can be had."""

import os
import unittest

import hosts
from rig import Disk
from test_clone import CloneTest, SOCKETS
from test_faults import FAILED, INTERRUPTED, REFUSED

PROGRAMS = "/usr/local/bin"  # what a login over there finds first
STAND_INS = {
    "systemd-run": """echo "$@" >>/run/systemd-run.log
[ ! -e /run/systemd-run.fails ] || { echo 'Failed to start transient scope unit: busy' >&2; exit 1; }
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
""",
    "loginctl": "cat /run/logind.$1 2>/dev/null\n",
    "grep": """case $* in *session-*) exec /bin/grep "$1" "$2" /run/cgroup ;; esac
exec /bin/grep "$@"
""",
}
MANAGER = "KillUserProcesses={}\nKillOnlyUsers={}\nKillExcludeUsers={}\n"


class Scope(CloneTest):
    def setUp(self):
        super().setUp()
        self.b.shell(f"mount -t tmpfs tmpfs {PROGRAMS}; mkdir -p /run/systemd/system", cwd="/")
        for name, script in STAND_INS.items():
            self.write(f"{PROGRAMS}/{name}", "#!/bin/sh\n" + script)
            self.b.run(["chmod", "+x", f"{PROGRAMS}/{name}"])
        self.write("/run/cgroup", "0::/user.slice/user-0.slice/session-3.scope\n")
        self.logind("no", "", "root")

    def write(self, path, text):
        with open(self.b.outside(path), "w") as file:
            file.write(text)

    def logind(self, *settings):
        self.write("/run/logind.show-session", MANAGER.format(*settings))

    def prepare_one(self):
        return self.prepare_clone(disks=[Disk(dst_image=False)])

    def words(self):
        with open(self.b.outside("/run/systemd-run.log")) as file:
            return file.read().splitlines()

    def source_in(self, move, cgroup):
        self.a.shell(f"echo '0::{cgroup}' >/run/cgroup; "
                     f"mount --bind /run/cgroup /proc/{move.source.process.pid}/cgroup", cwd="/")

    def refused(self, move, words, *options):
        done = self.migrate(move, *options, check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn(words, done.stderr)
        self.no_images(move)
        move.check_stayed()

    def test_in_a_scope_like_the_source_s(self):
        move = self.prepare_one()
        self.source_in(move, "/machine.slice/web1.scope")
        self.migrate(move, "--scope")
        (line,) = self.words()
        self.assertRegex(line, r"^--scope --quiet --collect --unit web1 --slice machine.slice -- "
                         r"/\S*qemu\S* -name vm1 .*-incoming defer")
        move.check_moved([r"/run/systemd-run\.log$", r"/run/cgroup$"])

    def test_in_any_scope_where_the_source_has_none(self):
        move = self.prepare_one()
        self.source_in(move, "/user.slice/user-0.slice/session-7.scope")
        self.migrate(move, "--scope")
        (line,) = self.words()
        self.assertRegex(line, r"^--scope --quiet --collect -- /\S*qemu")
        move.check_moved([r"/run/systemd-run\.log$", r"/run/cgroup$"])

    def test_not_without_the_option(self):
        move = self.prepare_one()
        self.migrate(move)
        self.assertFalse(os.path.exists(self.b.outside("/run/systemd-run.log")))
        move.check_moved()

    def test_undone(self):
        """What runs in it is the guard's to end all the same."""
        move = self.prepare_one()
        process = self.start_vmferry(*self.arguments_of("migrate", move, "--scope"),
                                     env={"VMFERRY_TEST_HALT_BEFORE": "copy"},
                                     stdout=-1, stderr=-1, text=True)
        self.wait_for_halt(process, "copy")
        process.send_signal(2)
        self.goes_on(process, INTERRUPTED)
        self.assertTrue(self.no_qemu())
        self.no_images(move)
        move.check_stayed(allowed_litter=[*SOCKETS, r"/run/systemd-run\.log$"])

    def test_systemd_s_refusal_is_told(self):
        move = self.prepare_one()
        self.write("/run/systemd-run.fails", "")
        done = self.migrate(move, "--scope", check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn("hostb: Failed to start transient scope unit: busy", done.stderr)
        self.no_images(move)

    def test_refused_where_the_session_s_end_would_end_it(self):
        for settings in (("yes", "", ""), ("yes", "root", "me"), ("yes", "me root", "you")):
            with self.subTest(settings=settings):
                self.doCleanups()
                self.setUp()
                self.logind(*settings)
                self.refused(self.prepare_one(), "KillUserProcesses=yes), and the guest would end "
                             "with our SSH session; give --scope")

    def test_with_a_scope_there(self):
        self.logind("yes", "", "")
        move = self.prepare_one()
        self.migrate(move, "--scope")
        move.check_moved([r"/run/systemd-run\.log$", r"/run/cgroup$"])

    def test_not_refused_where_it_would_not(self):
        for settings in (("yes", "", "root"), ("yes", "me", ""), ("no", "root", "")):
            with self.subTest(settings=settings):
                self.logind(*settings)
                move = self.prepare_one()
                self.check(move)
                move.close()

    def test_not_refused_where_a_login_is_no_session(self):
        self.write("/run/cgroup", "0::/system.slice/ssh.service\n")
        self.logind("yes", "", "")
        self.check(self.prepare_one())

    def test_no_systemd(self):
        self.b.run(["rmdir", "/run/systemd/system"], cwd="/")
        self.refused(self.prepare_one(), "hostb: no systemd runs there; leave --scope out",
                     "--scope")


if __name__ == "__main__":
    unittest.main(verbosity=2)
