"""--clone, by how the source was started: under which name, with which console, monitor and
accelerator. Most of these guests are stopped in their firmware and only looked at."""

import os
import re
import shutil
import subprocess
import unittest

import hosts
from program import accelerator
from qmp import Qmp
from test_clone import CloneTest
from test_faults import FAILED, REFUSED

QEMU = shutil.which("qemu-system-x86_64")
DIRECTORY = f"{hosts.WORK}/vm"
MONITOR = f"{DIRECTORY}/qmp.sock"
ELSEWHERE = f"{hosts.WORK}/elsewhere"

CONNECTS = """
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
while s.connect_ex(sys.argv[1]):
    time.sleep(0.05)
while s.recv(4096):
    pass
"""


class StartTest(CloneTest):
    def setUp(self):
        super().setUp()
        for host in (self.a, self.b):
            host.run(["mkdir", DIRECTORY, ELSEWHERE])

    def start_source(self, *arguments, program=QEMU, monitor=MONITOR, **options):
        for stream in ("stdout", "stderr"):
            options.setdefault(stream, subprocess.DEVNULL)
        source = self.a.popen([program, "-M", "pc", "-m", "32", "-nodefaults", "-S",
                               "-qmp", f"unix:{monitor},server=on,wait=off", *arguments],
                              **options)
        self.addCleanup(source.wait)
        self.addCleanup(source.kill)
        hosts.wait_until(lambda: monitor in self.a.unix_sockets(), "its monitor")
        return source

    def run_clone(self, command, *options, monitor=MONITOR, dst="root@hostb", check=False):
        return self.vmferry(command, "--clone", "-F", self.a.ssh_config, *options, monitor, dst,
                            check=check)

    def argv_there(self):
        """Of the QEMU over there, as it was started."""
        pid = next(pid for pid, line in self.b.processes().items() if "-incoming" in line)
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read().split("\0")[:-1]

    def there(self):
        watch = Qmp(self.b.outside(MONITOR))
        self.addCleanup(watch.close)
        return watch

    def assert_moved(self):
        """It was not started yet, so it is not running there either."""
        self.assertIn(self.there().status(), ("paused", "prelaunch"))

    @staticmethod
    def printed(said):
        """The arguments that check prints, and those that it marks."""
        return re.findall(r"(?m)^  [ *] '(.*)'$", said), re.findall(r"(?m)^  \* '(.*)'$", said)


class Program(StartTest):
    def test_kvm_by_its_name(self):
        """QEMU takes KVM by itself where it is called so, which it is not over there."""
        if accelerator() != "kvm":
            self.skipTest("no KVM")
        os.symlink(QEMU, self.a.outside(f"{ELSEWHERE}/kvm"))
        self.start_source("-display", "none", program="kvm",
                          env={"PATH": f"{ELSEWHERE}:{os.environ['PATH']}"})
        printed, marked = self.printed(self.run_clone("check", check=True).stdout)
        self.assertIn(QEMU, marked)
        self.assertIn("kvm", marked)
        self.run_clone("migrate", check=True)
        self.assertTrue(self.there().command("query-kvm")["enabled"])
        self.assertEqual(self.argv_there(), printed)

    def test_without_kvm_there(self):
        """It would end at once, after disks were made."""
        if not os.path.exists("/dev/kvm"):
            self.skipTest("no KVM")
        self.b.shell("mkdir /run/dev; cp -a /dev/null /dev/zero /dev/random /dev/urandom /run/dev; "
                     "mount --bind /run/dev /dev", cwd="/")
        self.start_source("-display", "none", "-accel", "kvm", "-accel", "tcg")
        done = self.run_clone("check")
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("hostb: there is no /dev/kvm, and the source's QEMU runs under KVM",
                      done.stderr)

    def test_mapped(self):
        """What is run is what is looked for."""
        self.start_source("-display", "none", "-accel", "tcg")
        mapped = f"{ELSEWHERE}/{os.path.basename(QEMU)}"
        options = ("--map", f"{os.path.dirname(QEMU)}={ELSEWHERE}")
        done = self.run_clone("check", *options)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn(f"hostb: there is no {mapped}, which is the source's QEMU", done.stderr)
        os.symlink(QEMU, self.b.outside(mapped))
        self.run_clone("migrate", *options, check=True)
        self.assertEqual(self.argv_there()[0], mapped)


class Monitor(StartTest):
    def test_through_a_link(self):
        """As /var/run is one to /run. Over there it is where the link led to."""
        os.symlink(DIRECTORY, self.a.outside(f"{hosts.WORK}/link"))
        monitor = f"{hosts.WORK}/link/qmp.sock"
        self.start_source("-display", "none", "-accel", "tcg", monitor=monitor)
        self.run_clone("migrate", monitor=monitor, check=True)
        self.assertIn(f"unix:{MONITOR},server=on,wait=off", self.argv_there())


class Console(StartTest):
    def test_on_a_screen(self):
        ours, its = os.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, its)
        self.start_source("-display", "curses", "-vga", "std", "-accel", "tcg", stdin=its,
                          stdout=its, stderr=its, env={"TERM": "xterm"})
        done = self.run_clone("check")
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("(-display curses), and there is none on hostb", done.stderr)
        self.assertIn("--start", done.stderr)

    def test_on_a_terminal(self):
        """It is told, and does no harm."""
        self.start_source("-accel", "tcg", "-nographic", "-serial", "mon:stdio")
        done = self.run_clone("migrate", check=True)
        self.assertIn("serial0 is the terminal that the source was started in", done.stderr)
        self.assert_moved()


class Waiting(StartTest):
    def test_for_somebody_who_connects(self):
        """There is somebody here, whom the source waits for, and nobody over there."""
        path = f"{DIRECTORY}/serial.sock"
        self.a.popen(["python3", "-c", CONNECTS, path])
        self.start_source("-accel", "tcg", "-display", "none", "-serial", f"unix:{path},server")
        _, marked = self.printed(self.run_clone("check", check=True).stdout)
        self.assertIn(f"unix:{path},server,wait=off", marked)
        self.run_clone("migrate", check=True)
        self.assert_moved()


class Words(StartTest):
    def test_a_qemu_that_does_not_start(self):
        """Its error, and what explains it on a line of its own."""
        config = f"{DIRECTORY}/vm.cfg"
        for host, text in ((self.a, ""), (self.b, '[machine]\n  type = "pc-i440fx-99.0"\n')):
            with open(host.outside(config), "w") as file:
                file.write(text)
        source = self.start_source("-accel", "tcg", "-display", "none", "-readconfig", config)
        done = self.run_clone("migrate", dst=f"root@hostb:{DIRECTORY}/qmp2.sock")
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertRegex(done.stderr, r"clone: hostb: qemu-system-x86_64: .*unsupported machine "
                         r"type; Use -machine help to list supported machines; undone")
        self.assertTrue(self.no_qemu())
        self.assertIsNone(source.poll())


if __name__ == "__main__":
    unittest.main(verbosity=2)
