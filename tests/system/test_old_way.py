"""The old way: the disks in the migration's own stream (`migrate` blk), where NBD is missing
or not wanted. For QEMUs up to 9.0, such as Debian 12's own."""

import signal
import unittest

from guest import MIB
from rig import Disk, Guest
from test_faults import FAILED, INTERRUPTED, REFUSED
from test_relay import RelayTest

WRITING = {"rate": 300, "sectors": 127, "style": "drive"}


class OldWay(RelayTest):
    def migrate(self, move, *options, **more):
        return self.vmferry(*self.arguments("migrate", move, "--mirror=none", *options), **more)

    def move(self, guest, *options):
        move = self.prepare(guest)
        done = self.migrate(move, *options)
        move.check_moved()
        return done

    def test_writing(self):
        done = self.move(Guest(disks=[Disk(), Disk(bus="scsi")], **WRITING))
        self.assertIn("the old way", done.stderr)
        self.assertIn("--mirror=none asks for it", done.stderr)

    def test_qcow2(self):
        self.move(Guest(disks=[Disk(format="qcow2")], **WRITING))

    def test_to_larger(self):
        self.move(Guest(disks=[Disk(dst_size=96 * MIB)], **WRITING))

    def test_paused(self):
        self.move(Guest(paused=True, style="drive"))

    def test_bandwidth(self):
        self.move(Guest(rate=0, style="drive"), "--bandwidth", "60M")

    def chosen_by_itself(self, side, *hide):
        """Moves where the QEMU of one side seems not to have these commands."""
        move = self.prepare(Guest(**WRITING))
        self.relay(move, side, hide=hide)
        done = self.vmferry(*self.arguments("migrate", move))
        move.check_moved()
        return done.stderr

    def test_chosen_by_itself_where_the_destination_has_no_nbd_server(self):
        said = self.chosen_by_itself("destination", "nbd-server-start")
        self.assertIn("the old way, in the migration's own stream: hostb: its QEMU has no NBD",
                      said)

    def test_chosen_by_itself_where_the_source_has_no_mirror(self):
        said = self.chosen_by_itself("source", "blockdev-mirror", "drive-mirror")
        self.assertIn("source: this QEMU has neither blockdev-mirror nor drive-mirror", said)

    def test_no_nbd_server_is_started(self):
        move = self.prepare(Guest(**WRITING))
        done = self.vmferry(*self.arguments("check", move, "--mirror=none"))
        self.assertIn("`migrate` blk", done.stdout)
        self.assertNotIn("start the NBD server", done.stdout)

    def test_blockdev_is_refused(self):
        move = self.prepare(Guest(rate=0))
        done = self.migrate(move, check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("disk0 is a -blockdev", done.stderr)
        move.check_stayed()

    def test_a_subset_is_refused(self):
        move = self.prepare(Guest(disks=[Disk(), Disk()], rate=0, style="drive"))
        done = self.migrate(move, "--disk", "disk0", check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("QEMU would copy disk1, too", done.stderr)
        move.check_stayed()

    def test_interrupted_while_it_copies(self):
        move = self.prepare(Guest(**WRITING))
        process = self.start_vmferry(
            *self.arguments("migrate", move, "--mirror=none", "--bandwidth", "4M"),
            stdout=-1, stderr=-1, text=True)
        move.source.watch.wait_event("MIGRATION", status="active")
        process.send_signal(signal.SIGINT)
        self.goes_on(process, INTERRUPTED)
        move.check_stayed(may_complain=True)

    def test_interrupted_or_killed_at_its_steps(self):
        for step in ("listen", "ram", "switchover"):
            for fault, code in ((self.interrupt, INTERRUPTED), (self.kill, FAILED)):
                with self.subTest(step=step, fault=fault.__name__):
                    self.doCleanups()
                    self.setUp()
                    move = self.prepare(Guest(**WRITING))
                    process = self.halted(move, step, "--mirror=none")
                    fault(move, process)
                    self.goes_on(process, code)
                    move.check_stayed(may_complain=True)

    @staticmethod
    def interrupt(_, process):
        process.send_signal(signal.SIGINT)

    @staticmethod
    def kill(move, _):
        move.destination.kill()


if __name__ == "__main__":
    unittest.main(verbosity=2)
