"""--incremental: only the top image of each disk is copied, over a backing image that the
destination has already."""

import os
import pathlib
import shlex
import signal
import unittest

import hosts
from guest import MIB
from rig import Disk, Guest
from test_faults import DONE, FAILED, INTERRUPTED, REFUSED, FaultTest
from test_phases import PhaseTest

WRITING = {"rate": 300, "sectors": 127}
REGION = 16 * MIB  # where the guest writes, see Disk


def overlay(**more):
    """With a backing image of 64 MiB and, over its data, a place zeroed and one discarded."""
    return Disk(format="qcow2", **{"backing": "raw", "zeroed": (25, 30), **more})


class IncrementalTest(FaultTest):
    def migrate(self, move, *options, **more):
        return self.vmferry(*self.arguments("migrate", move, "--incremental", *options), **more)

    def check_little_was_copied(self, move):
        """The images over there do not hold what their backing images do."""
        for number in range(len(move.guest.disks)):
            image = os.stat(self.b.outside(move.guest.image(number)))
            self.assertLess(image.st_blocks * 512, REGION + 4 * MIB)

    def move(self, guest, *options):
        move = self.prepare(guest)
        backing = [file for number in range(len(guest.disks))
                   for file in (self.a.outside(guest.backing(number)),
                                self.b.outside(guest.backing(number)))]
        before = [os.stat(file).st_mtime_ns for file in backing]
        done = self.migrate(move, *options)
        move.check_moved()
        self.check_little_was_copied(move)
        self.assertEqual([os.stat(file).st_mtime_ns for file in backing], before)
        return done


class Moves(IncrementalTest):
    def test_writing(self):
        done = self.move(Guest(disks=[overlay(), overlay(bus="scsi")], **WRITING))
        self.assertIn("the backing images are compared: 4 files, 256 MiB to read", done.stderr)

    def test_qcow2_on_qcow2(self):
        self.move(Guest(disks=[overlay(backing="qcow2")], **WRITING))

    def test_drive_mirror(self):
        self.move(Guest(disks=[overlay()], style="drive", **WRITING), "--mirror=drive")

    def test_idle_and_larger(self):
        self.move(Guest(disks=[overlay(dst_size=96 * MIB)], rate=0))

    def test_where_the_destination_keeps_no_holes(self):
        self.move(Guest(disks=[overlay()], discard="ignore", **WRITING))

    def test_the_old_way(self):
        done = self.move(Guest(disks=[overlay(), overlay(bus="scsi")], style="drive", **WRITING),
                         "--mirror=none")
        self.assertIn("the old way", done.stderr)

    def test_trust_backing_reads_nothing(self):
        move = self.prepare(Guest(disks=[overlay()], **WRITING))
        change(self.b, move.guest)
        done = self.migrate(move, "--trust-backing")
        self.assertNotIn("are compared", done.stderr)
        self.check_little_was_copied(move)
        move.destination.wait_for_beats()

    def test_again_after_a_failure(self):
        """What the first try has left over there is written over."""
        move = self.prepare(Guest(disks=[overlay()], rate=0))
        process = self.halted(move, "listen", "--incremental")
        process.send_signal(signal.SIGINT)
        self.goes_on(process, INTERRUPTED)
        self.migrate(move)
        move.check_moved()
        self.check_little_was_copied(move)

    def test_started_by_vmferry(self):
        guest = Guest(disks=[overlay()], **WRITING)
        move = self.prepare(guest, start_destination=False)
        start = shlex.join([*guest.argv(is_source=False), "-daemonize"])
        self.vmferry("migrate", "-F", self.a.ssh_config, "--incremental", "--start", start,
                     move.source.qmp_sock, f"hostb:{move.source.qmp_sock}")
        self.check_little_was_copied(move)
        move.check_moved(allowed_litter=["node: #block"])  # of the backing image

    def test_without_it_all_is_copied(self):
        """Onto an image whose backing image has nothing to do with ours, and must not show."""
        for style, options in (("blockdev", ()), ("drive", ("--mirror=drive",)),
                               ("drive", ("--mirror=none",))):
            with self.subTest(options=options):
                self.doCleanups()
                self.setUp()
                move = self.prepare(Guest(disks=[overlay(dst_backing="noise")], style=style,
                                          **WRITING))
                self.vmferry(*self.arguments("migrate", move, *options))
                move.check_moved()

    def test_plain_onto_an_overlay(self):
        move = self.prepare(Guest(disks=[Disk(format="qcow2", dst_backing="noise")], **WRITING))
        self.vmferry(*self.arguments("migrate", move))
        move.check_moved()


def change(host, guest, number=0):
    """One byte of a backing image, with its times as before."""
    path = host.outside(guest.backing(number))
    stat = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(40 * MIB)
        byte = file.read(1)
        file.seek(40 * MIB)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


class Refused(IncrementalTest):
    def refused(self, guest, *words, prepared=lambda _: None, after=lambda _: None, options=()):
        move = self.prepare(guest)
        prepared(move)
        done = self.migrate(move, *options, check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        after(move)
        move.check_stayed()
        return done

    def test_one_byte_differs(self):
        self.refused(Guest(disks=[overlay(), overlay()], rate=0),
                     "disk disk1: its backing image on hostb",
                     "has not the contents of the source's",
                     prepared=lambda move: change(self.b, move.guest, 1))

    def test_another_size(self):
        done = self.refused(Guest(disks=[overlay(dst_backing_size=63 * MIB)], rate=0),
                            f"has {63 * MIB} bytes, the source's {64 * MIB}")
        self.assertNotIn("are compared", done.stderr)

    def test_no_backing_image_over_there(self):
        self.refused(Guest(disks=[overlay(dst_backing="none"), overlay(dst_backing="none")],
                           rate=0),
                     "disk disk0: its image on hostb has no backing image",
                     "disk disk1: its image on hostb has no backing image",
                     "qemu-img create -f qcow2 -b ", options=["--trust-backing"])

    def test_no_backing_image_here(self):
        self.refused(Guest(disks=[overlay(), Disk()], rate=0),
                     "disk disk1: has no backing image, so all of it would have to be copied",
                     "--disk")

    def test_a_smaller_one(self):
        self.refused(Guest(disks=[overlay(dst_size=32 * MIB)], rate=0),
                     "disk disk0: smaller on hostb")

    def test_one_that_holds_data(self):
        def write(move):
            self.b.run(["qemu-io", "-c", "write 50M 64k", move.guest.image(0)])
        self.refused(Guest(disks=[overlay()], rate=0),
                     "disk disk0: its image on hostb holds data where the source's holds none", prepared=write)

    def test_files_that_would_have_to_be_made(self):
        guest = Guest(disks=[overlay(dst_image=False)], rate=0)
        move = self.prepare(guest, start_destination=False)
        done = self.vmferry("migrate", "-F", self.a.ssh_config, "--incremental", "--start",
                            "false", move.source.qmp_sock, f"hostb:{move.source.qmp_sock}",
                            check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn(f"qemu-img create -f qcow2 -b {guest.backing(0)} -F raw {guest.image(0)}",
                      done.stderr)
        move.check_stayed()

    def test_differs_in_what_was_started(self):
        guest = Guest(disks=[overlay()], rate=0)
        move = self.prepare(guest, start_destination=False)
        change(self.b, guest)
        start = shlex.join([*guest.argv(is_source=False), "-daemonize"])
        done = self.vmferry("migrate", "-F", self.a.ssh_config, "--incremental", "--start", start,
                            move.source.qmp_sock, f"hostb:{move.source.qmp_sock}", check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn("has not the contents of the source's", done.stderr)
        move.check_stayed(allowed_litter=[r"\.sock$", r"\.log$"])

    def test_a_file_that_cannot_be_read(self):
        def replace(move):
            path = self.a.outside(move.guest.backing(0))
            os.rename(path, path + ".away")
            os.mkdir(path)

        def put_back(move):
            path = self.a.outside(move.guest.backing(0))
            os.rmdir(path)
            os.rename(path + ".away", path)

        self.refused(Guest(disks=[overlay()], rate=0),
                     "disk disk0: its backing image", "on source cannot be compared",
                     "Is a directory", "--trust-backing", prepared=replace, after=put_back)

    def test_interrupted_while_it_compares(self):
        move = self.prepare(Guest(disks=[overlay()], **WRITING))
        for host in (self.a, self.b):
            slow_down(host)
        process = self.start_vmferry(*self.arguments("migrate", move, "--incremental"),
                                     stdout=-1, stderr=-1, text=True)
        for host in (self.a, self.b):
            hosts.wait_until(lambda: reads(host), f"{host.name} reads its backing image")
        process.send_signal(signal.SIGINT)
        self.goes_on(process, INTERRUPTED)
        for host in (self.a, self.b):
            hosts.wait_until(lambda: not reads(host), f"{host.name} reads no more")
        move.check_stayed(allowed_litter=["slow"])


def slow_down(host):
    """sha256sum(1) takes its time on this host."""
    program = f"{hosts.WORK}/slow"
    pathlib.Path(host.outside(program)).write_text(
        "#!/usr/bin/python3\nimport os, time\n"
        "while os.read(0, 65536):\n    time.sleep(0.05)\n")
    os.chmod(host.outside(program), 0o755)
    host.run(["mount", "--bind", program, "/usr/bin/sha256sum"])


def reads(host):
    return any("dd if=" in line or "sha256sum" in line for line in host.processes().values())


class ByHand(PhaseTest):
    def test_by_hand(self):
        move = self.prepare_move(Guest(disks=[overlay(), overlay(bus="scsi")], **WRITING))
        cookie = self.phase("begin", None, "--incremental")
        self.assertRegex(cookie, r'incremental="yes"')
        self.assertRegex(cookie, r'backing="[0-9a-f]{64}" backing-size="67108864"')
        cookie = self.phase("perform", self.phase("prepare", cookie))
        self.phase("confirm", self.phase("finish", cookie))
        self.assertLess(os.stat(self.b.outside(move.guest.image(0))).st_blocks * 512,
                        REGION + 4 * MIB)
        move.check_moved()

    def test_the_old_way(self):
        move = self.prepare_move(Guest(disks=[overlay()], style="drive", **WRITING))
        self.move_by_hand(begin=["--incremental", "--mirror=none"])
        move.check_moved()

    def test_one_byte_differs(self):
        move = self.prepare_move(Guest(disks=[overlay()], rate=0))
        change(self.b, move.guest)
        cookie = self.phase("begin", None, "--incremental")
        self.phase("prepare", cookie, code=REFUSED)
        self.assertIn("has not the contents of the source's", self.said)
        self.phase("prepare", cookie, "--trust-backing")
        move.destination.quit()
        move.source.quit()

    def test_trusted_on_one_side_only(self):
        move = self.prepare_move(Guest(disks=[overlay()], rate=0))
        cookie = self.phase("begin", None, "--incremental", "--trust-backing")
        self.phase("prepare", cookie, code=REFUSED)
        self.assertIn("the cookie tells nothing of its backing image's contents", self.said)
        self.phase("prepare", cookie, "--trust-backing", code=DONE)
        move.destination.quit()
        move.source.quit()


if __name__ == "__main__":
    unittest.main(verbosity=2)
