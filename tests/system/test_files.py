"""The files that vmferry makes on hostb: known as its own at every moment, and nobody else's.

In hostb `stat` can be made to wait (Gate): vmferry has then made its files, and not yet given
them their names.
"""

import os
import pathlib
import signal
import time
import unittest

import hosts
from rig import Disk
from test_clone import CloneTest
from test_faults import FAILED, INTERRUPTED
from test_start import StartTest

TWO = [Disk(dst_image=False), Disk(dst_image=False)]


class Gate:
    """Instead of hostb's stat: waits before it tells inodes, until it is opened."""

    def __init__(self, host):
        self.host = host
        self.reached = pathlib.Path(host.outside(f"{hosts.WORK}/reached"))
        host.shell(f"cd {hosts.WORK} && cp /usr/bin/stat stat.real && mkfifo gate && "
                   f"{{ echo '#!/bin/sh'; "
                   f"echo '[ \"$2\" != \"%i %W\" ] || {{ : >{hosts.WORK}/reached; "
                   f"read -r _ <{hosts.WORK}/gate; }}'; "
                   f"echo 'exec {hosts.WORK}/stat.real \"$@\"'; }} >stat.gate && "
                   f"chmod +x stat.gate")
        host.run(["mount", "--bind", f"{hosts.WORK}/stat.gate", "/usr/bin/stat"], cwd="/")

    def wait(self):
        hosts.wait_until(self.reached.exists, "vmferry asks for the inodes")

    def open(self):
        """For all that ask from now on."""
        self.host.run(["umount", "-l", "/usr/bin/stat"], cwd="/")
        with open(self.host.outside(f"{hosts.WORK}/gate"), "w", encoding="ascii") as gate:
            gate.write("\n")


class FilesTest:
    """What is there, and a file of somebody else."""

    def names(self, move):
        """The files that are there for images, or to become some."""
        directory = pathlib.Path(self.b.outside(move.guest.directory))
        return sorted(path.name for path in directory.iterdir() if ".img" in path.name)

    def stranger(self, path):
        pathlib.Path(path).write_text("precious", encoding="ascii")

    def assert_precious(self, path):
        self.assertEqual(pathlib.Path(path).read_text(encoding="ascii"), "precious")


class Start(FilesTest, StartTest):
    def gated(self, move):
        gate = Gate(self.b)
        process = self.start_vmferry(
            *self.arguments_of("migrate", move, "--start", self.command(move)),
            stdout=-1, stderr=-1, text=True)
        gate.wait()
        return gate, process

    def test_killed_in_between_only_what_carries_its_id_is_there(self):
        move = self.prepare_start(disks=[*TWO, Disk(format="qcow2", dst_image=False)])
        _, process = self.gated(move)
        process.kill()
        process.communicate()
        names = self.names(move)
        self.assertEqual(len(names), 3)
        for number, name in enumerate(names):
            image = os.path.basename(move.guest.image(number))
            self.assertRegex(name, rf"^\.{image}\.vmferry-[0-9a-f]{{32}}$")

    def test_a_name_that_is_taken_meanwhile(self):
        """The first file has its name already, and goes again."""
        move = self.prepare_start(disks=TWO)
        gate, process = self.gated(move)
        taken = self.images(self.b, move)[1]
        self.stranger(taken)
        gate.open()
        said = self.goes_on(process, FAILED)
        self.assertIn(f"{move.guest.image(1)}: that already exists", said)
        self.assert_precious(taken)
        self.assertEqual(self.names(move), [os.path.basename(taken)])

    def test_a_name_that_is_taken_before(self):
        move = self.prepare_start(disks=TWO)
        process = self.halted_start(move, "create")
        taken = self.images(self.b, move)[0]
        self.stranger(taken)
        self.goes_on(process, FAILED)
        self.assert_precious(taken)
        self.assertEqual(self.names(move), [os.path.basename(taken)])

    def test_a_file_put_in_the_place_of_ours_is_not_removed(self):
        move = self.prepare_start()
        process = self.halted_start(move, "start")
        image = self.images(self.b, move)[0]
        os.rename(image, image + ".away")
        self.stranger(image)
        process.send_signal(signal.SIGINT)
        self.goes_on(process, INTERRUPTED)
        self.assert_precious(image)

    def test_a_file_that_got_the_inode_of_ours_is_not_removed(self):
        """As the next one does on ext4, when ours was removed by somebody."""
        move = self.prepare_start()
        process = self.halted_start(move, "start")
        image = self.images(self.b, move)[0]
        ours = os.stat(image)
        hosts.wait_until(lambda: time.time() > ours.st_ctime + 1.1, "another second")
        os.unlink(image)
        others = []
        while self.born(image) != ours.st_ino and len(others) < 10000:  # some never give it again
            others.append(f"{image}.{len(others)}")
            os.rename(image, others[-1])
        self.stranger(image)
        process.send_signal(signal.SIGINT)
        self.goes_on(process, INTERRUPTED)
        self.assert_precious(image)

    @staticmethod
    def born(path):
        with open(path, "x", encoding="ascii") as file:
            return os.fstat(file.fileno()).st_ino

    def test_where_no_birth_is_told(self):
        """busybox has no %W."""
        move = self.prepare_start()
        self.b.shell(f"printf '#!/bin/sh\nexec busybox stat \"$@\"\n' >{hosts.WORK}/stat; "
                     f"chmod +x {hosts.WORK}/stat; mount --bind {hosts.WORK}/stat /usr/bin/stat",
                     cwd="/")
        process = self.halted_start(move, "start")
        process.send_signal(signal.SIGINT)
        self.goes_on(process, INTERRUPTED)
        self.assertEqual(self.names(move), [])

    def test_ssh_cut_in_between(self):
        move = self.prepare_start(disks=TWO)
        gate, process = self.gated(move)
        self.cut_ssh()
        gate.open()
        self.goes_on(process, FAILED)
        self.assertEqual(self.names(move), [])
        move.check_stayed(allowed_litter=[rf"{hosts.WORK}/(reached|gate|stat\..*)$"])

    def test_sigint_in_between(self):
        move = self.prepare_start(disks=TWO)
        gate, process = self.gated(move)
        process.send_signal(signal.SIGINT)
        gate.open()
        self.goes_on(process, INTERRUPTED)
        self.assertEqual(self.names(move), [])

    def test_no_hard_links(self):
        """An `ln` that cannot: such a file system's rename might overwrite."""
        move = self.prepare_start(disks=TWO)
        self.b.run(["mount", "--bind", "/bin/false", "/usr/bin/ln"], cwd="/")
        done = self.migrate(move, check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn("no hard links", done.stderr)
        self.assertIn(move.guest.image(0), done.stderr)
        self.assertEqual(self.names(move), [])
        move.check_stayed()

    def test_a_name_as_long_as_can_be(self):
        move = self.prepare_start()
        name = "d" * 251 + ".img"
        directory = f"{hosts.WORK}/elsewhere"
        self.b.run(["mkdir", directory])
        start = self.command(move).replace(move.guest.image(0), f"{directory}/{name}")
        self.vmferry(*self.arguments_of("migrate", move, "--start", start,
                                        "--disk", f"disk0={directory}/{name}"))
        self.assertEqual(os.listdir(self.b.outside(directory)), [name])
        move.attach_destination()
        move.destination.quit()


class Clone(FilesTest, CloneTest):
    def test_killed_in_between_the_guard_removes_them(self):
        move = self.prepare_clone()
        gate = Gate(self.b)
        process = self.start_vmferry(*self.arguments_of("migrate", move),
                                     stdout=-1, stderr=-1, text=True)
        gate.wait()
        self.assertEqual(len(self.names(move)), len(move.guest.disks))
        process.kill()
        process.communicate()
        hosts.wait_until(lambda: not self.names(move), "its files go")
        self.assertEqual(move.source.watch.status(), "running")


if __name__ == "__main__":
    unittest.main(verbosity=2)
