"""--clone, by how the source was started: under which name, with which console, monitor and
accelerator. Most of these guests are stopped in their firmware and only looked at."""

import os
import re
import shutil
import unittest

import hosts
from program import accelerator
from qmp import Qmp
from rig import Disk
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
        source = self.a.popen([program, "-M", "pc", "-m", "32", "-nodefaults", "-S",
                               "-qmp", f"unix:{monitor},server=on,wait=off", *arguments],
                              **options)
        self.addCleanup(source.wait)
        self.addCleanup(source.kill)
        hosts.wait_until(lambda: monitor in self.a.unix_sockets(), "its monitor")
        return source

    def run_clone(self, command, *options, monitor=MONITOR, check=False):
        return self.vmferry(command, "--clone", "-F", self.a.ssh_config, *options, monitor,
                            "root@hostb", check=check)

    def argv_there(self):
        """Of the QEMU over there, as it was started."""
        pid = next(pid for pid, line in self.b.processes().items() if "-incoming" in line)
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read().split("\0")[:-1]

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
        watch = Qmp(self.b.outside(MONITOR))
        self.addCleanup(watch.close)
        self.assertTrue(watch.command("query-kvm")["enabled"])
        self.assertEqual(self.argv_there(), printed)

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


class Waiting(CloneTest):
    def test_for_somebody_who_connects(self):
        """There is somebody here, whom the source waits for, and nobody over there."""
        path = f"{hosts.WORK}/serial.sock"
        self.a.popen(["python3", "-c", CONNECTS, path])
        move = self.prepare_clone(disks=[Disk(dst_image=False)],
                                  extra=["-serial", f"unix:{path},server"])
        self.assertIn(f"  * 'unix:{path},server,wait=off'\n", self.check(move).stdout)
        self.migrate(move)
        move.check_moved([r"serial\.sock$"])


class Words(CloneTest):
    def test_a_qemu_that_does_not_start(self):
        """Its error, and what explains it on a line of its own."""
        config = f"{hosts.WORK}/vm1.cfg"
        for host, text in ((self.a, ""), (self.b, '[machine]\n  type = "pc-i440fx-99.0"\n')):
            with open(host.outside(config), "w") as file:
                file.write(text)
        move = self.prepare_clone(disks=[Disk(dst_image=False)], extra=["-readconfig", config])
        done = self.migrate(move, check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertRegex(done.stderr, r"clone: hostb: qemu-system-x86_64\S*: .*unsupported machine "
                         r"type; Use -machine help to list supported machines; undone")
        self.no_images(move)
        move.check_stayed()


if __name__ == "__main__":
    unittest.main(verbosity=2)
