"""--scope where a real systemd runs on the destination, with sessions of a real logind.

    ctest -C systemd -L systemd

Not in the default run: a machine may not let a systemd be booted in namespaces. Where it cannot
be booted this fails."""

import os
import unittest

import hosts
from rig import Disk, Guest
from systemd import LITTER, Systemd
from test_clone import WRITING, CloneTest
from test_faults import REFUSED

USER, UID = "vmferry-test", 4242


class SystemdTest(CloneTest):
    login = "root"
    logind = ""

    def setUp(self):
        super().setUp()
        self.systemd = Systemd(self.b, self.logind)
        self.addCleanup(self.systemd.close)

    def prepare_one(self):
        return self.prepare_clone(disks=[Disk(dst_image=False)])

    def arguments_of(self, command, move, *options):
        *arguments, _ = super().arguments_of(command, move, *options)
        return [*arguments, f"{self.login}@hostb"]

    def source_in(self, move, cgroup):
        self.a.shell(f"echo '0::{cgroup}' >/run/cgroup; "
                     f"mount --bind /run/cgroup /proc/{move.source.process.pid}/cgroup", cwd="/")

    def no_session(self):
        """All that a login has left there is gone."""
        hosts.wait_until(lambda: not self.systemd.run(
            ["loginctl", "list-sessions", "--no-legend"]).stdout, "the session ends")

    def lives_in(self, move, unit):
        """The guest does, also when the session that started it has ended."""
        move.attach_destination()
        self.assertRegex(self.systemd.unit_of(move.destination.process.pid), unit)
        self.no_session()
        self.guard_goes()
        self.assertRegex(self.systemd.unit_of(move.destination.process.pid), unit)
        move.check_moved(LITTER)


class Scope(SystemdTest):
    def test_like_the_source_s(self):
        move = self.prepare_one()
        self.source_in(move, "/machine.slice/web1.scope")
        self.migrate(move, "--scope")
        state = ["systemctl", "show", "-p", "ActiveState", "-p", "LoadState", "web1.scope"]
        self.assertIn("ActiveState=active", self.systemd.run(state).stdout)
        self.lives_in(move, r"^/machine\.slice/web1\.scope$")
        hosts.wait_until(lambda: "LoadState=not-found" in self.systemd.run(state).stdout,
                         "the scope goes with its QEMU")

    def test_any(self):
        move = self.prepare_one()
        self.source_in(move, "/user.slice/user-0.slice/session-7.scope")
        self.migrate(move, "--scope")
        self.lives_in(move, r"^/system\.slice/run-\w+\.scope$")

    def test_none(self):
        move = self.prepare_one()
        self.migrate(move)
        move.attach_destination()
        self.assertRegex(self.systemd.unit_of(move.destination.process.pid),
                         r"^/user\.slice/user-0\.slice/session-\w+\.scope$")
        move.check_moved(LITTER)

    def test_its_name_is_taken(self):
        move = self.prepare_one()
        self.source_in(move, "/web1.scope")
        self.systemd.run(["systemd-run", "--quiet", "--unit", "web1.scope", "--scope", "--",
                          "sh", "-c", "sleep 1000 >/dev/null 2>&1 &"])
        done = self.migrate(move, "--scope", check=False)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertRegex(done.stderr, "hostb: .*web1.scope")
        self.assertTrue(self.no_qemu())
        self.no_images(move)

    def test_undone(self):
        move = self.prepare_one()
        process = self.start_vmferry(*self.arguments_of("migrate", move, "--scope"),
                                     env={"VMFERRY_TEST_HALT_BEFORE": "copy"},
                                     stdout=-1, stderr=-1, text=True)
        self.wait_for_halt(process, "copy")
        process.send_signal(2)
        self.goes_on(process, 5)
        self.assertTrue(self.no_qemu())
        self.no_images(move)
        self.assertEqual(self.systemd.run(["systemctl", "list-units", "--no-legend", "--type=scope",
                                           "run-*"]).stdout, "")

    def test_killed(self):
        """vmferry's death: what is in the scope goes, too."""
        move = self.prepare_one()
        process = self.start_vmferry(*self.arguments_of("migrate", move, "--scope"),
                                     env={"VMFERRY_TEST_HALT_BEFORE": "copy"},
                                     stdout=-1, stderr=-1, text=True)
        self.wait_for_halt(process, "copy")
        process.kill()
        process.communicate()
        hosts.wait_until(self.no_qemu, "the QEMU over there ends")
        image = self.b.outside(move.guest.image(0))
        hosts.wait_until(lambda: not os.path.exists(image), "its disk goes")


class Killing(SystemdTest):
    logind = r"KillUserProcesses=yes\nKillExcludeUsers=\n"

    def test_the_session_s_end_would_end_it(self):
        move = self.prepare_one()
        done = self.migrate(move, check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("KillUserProcesses=yes), and the guest would end with our SSH session; "
                      "give --scope", done.stderr)
        self.no_images(move)
        move.check_stayed(allowed_litter=LITTER)

    def test_with_a_scope_it_lives(self):
        move = self.prepare_one()
        self.migrate(move, "--scope")
        self.lives_in(move, r"^/system\.slice/run-\w+\.scope$")


class OfAUser(SystemdTest):
    """A login that is not root's, whose own manager has the scope."""
    login = USER
    logind = Killing.logind

    def setUp(self):
        self.pair = hosts.Pair()
        self.addCleanup(self.pair.close)
        self.a, self.b = self.pair.a, self.pair.b
        for host in (self.a, self.b):
            host.shell(f"""
                for file in passwd group shadow; do cp /etc/$file {hosts.ETC}/$file.new; done
                echo {USER}:x:{UID}:{UID}::{hosts.HOME}:/bin/sh >>{hosts.ETC}/passwd.new
                echo {USER}:x:{UID}: >>{hosts.ETC}/group.new
                echo '{USER}:*:19000::::::' >>{hosts.ETC}/shadow.new
                for file in passwd group shadow; do
                    mount --bind {hosts.ETC}/$file.new /etc/$file
                done
                [ ! -e /dev/kvm ] || {{ mknod -m 666 /run/kvm c 10 232
                    mount --bind /run/kvm /dev/kvm; }}""", cwd="/")
        self.systemd = Systemd(self.b, self.logind)
        self.addCleanup(self.systemd.close)

    def prepare_one(self):
        guest = Guest(disks=[Disk(dst_image=False)], **WRITING)
        give = f"chown -R {USER}: {guest.directory}"
        guest.qemu = ["sh", "-c", f'{give}; exec setpriv --reuid {UID} --regid {UID} '
                      '--clear-groups -- "$0" "$@"', "/usr/bin/qemu-system-x86_64"]
        move = self.prepare(guest, start_destination=False)
        self.b.shell(give)
        return move

    def test_that_does_not_linger(self):
        move = self.prepare_one()
        done = self.migrate(move, "--scope", check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn(f"let it linger (loginctl enable-linger {USER})", done.stderr)

    def test_that_lingers(self):
        self.systemd.run(["loginctl", "enable-linger", USER])
        move = self.prepare_one()
        self.migrate(move, "--scope")
        self.lives_in(move, rf"^/user\.slice/user-{UID}\.slice/user@{UID}\.service/.*run-\w+\.scope$")


if __name__ == "__main__":
    unittest.main(verbosity=2)
