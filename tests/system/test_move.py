"""Real moves between two hosts, one test a kind of guest or way."""

import json
import os
import signal
import unittest

import hosts
from guest import MIB
from rig import Disk, Guest, MoveTest

WRITING = {"rate": 300, "sectors": 127}  # about 19 MB/s


class Moves(MoveTest):
    def migrate(self, move, *options, destination="root@hostb", **more):
        return self.vmferry("migrate", "-F", self.a.ssh_config, *options, move.source.qmp_sock,
                            f"{destination}:{move.destination.qmp_sock}", **more)

    def move(self, guest, *options, **more):
        move = self.prepare(guest)
        done = self.migrate(move, *options, **more)
        beats = move.check_moved()
        return done, beats, move

    def test_one_disk_writing(self):
        _, beats, _ = self.move(Guest(**WRITING))
        self.assertGreater(beats.acked, 0)

    def test_four_disks_writing(self):
        self.move(Guest(disks=[Disk(), Disk(bus="scsi"), Disk(), Disk(bus="scsi")], **WRITING))

    def test_idle(self):
        _, beats, _ = self.move(Guest(rate=0))
        self.assertEqual(beats.acked, 0)

    def test_dirty_ram(self):
        self.move(Guest(dirty_per_beat=4, dirty_pages=2048, **WRITING))

    def test_small_writes(self):
        self.move(Guest(rate=800, sectors=8))

    def test_drive(self):
        self.move(Guest(disks=[Disk(), Disk(bus="scsi")], style="drive", **WRITING))

    def test_ide_writeback(self):
        self.move(Guest(disks=[Disk(bus="ide")], cache="writeback", **WRITING))

    def test_qcow2(self):
        self.move(Guest(disks=[Disk(format="qcow2"), Disk()], **WRITING))

    def test_qcow2_drive(self):
        self.move(Guest(disks=[Disk(format="qcow2")], style="drive", **WRITING))

    def test_raw_to_larger(self):
        self.move(Guest(disks=[Disk(dst_size=96 * MIB)], **WRITING))

    def test_raw_to_smaller_is_grown(self):
        self.move(Guest(disks=[Disk(dst_size=16 * MIB)], **WRITING))

    def test_drive_mirror(self):
        self.move(Guest(disks=[Disk(), Disk(bus="scsi")], **WRITING), "--mirror=drive")

    def test_drive_mirror_to_larger(self):
        self.move(Guest(disks=[Disk(dst_size=96 * MIB)], **WRITING), "--mirror=drive")

    def test_disks_in_an_iothread(self):
        """QEMU 7.2's NBD server asserts when a client of such a disk hangs up."""
        for style in ("blockdev", "drive"):
            with self.subTest(style=style):
                self.doCleanups()
                self.setUp()
                self.move(Guest(disks=[Disk(bus="scsi"), Disk(bus="scsi"), Disk()], style=style,
                                iothread=True, **WRITING))

    def test_disks_in_an_iothread_stay_and_go(self):
        """The destination's QEMU lives, and takes the guest in at the second try."""
        for step in ("mirror", "listen"):
            with self.subTest(step=step):
                self.doCleanups()
                self.setUp()
                move = self.prepare(Guest(disks=[Disk(bus="scsi")], iothread=True, **WRITING))
                argv = ["migrate", "-F", self.a.ssh_config, move.source.qmp_sock,
                        f"root@hostb:{move.destination.qmp_sock}"]
                halted = self.start_vmferry(*argv, env={"VMFERRY_TEST_HALT_BEFORE": step})
                os.waitid(os.P_PID, halted.pid, os.WSTOPPED | os.WNOWAIT)
                halted.send_signal(signal.SIGINT)
                halted.send_signal(signal.SIGCONT)
                self.assertEqual(halted.wait(hosts.DEADLINE_S), 5)
                self.assertEqual(move.destination.watch.status(), "inmigrate")
                self.migrate(move)
                move.check_moved()

    def test_drive_mirror_from_an_iothread(self):
        """Refused where it would end the destination's QEMU."""
        move = self.prepare(Guest(disks=[Disk(bus="scsi")], iothread=True, **WRITING))
        done = self.migrate(move, "--mirror=drive", check=False)
        if "its controller on hostb has an iothread" in done.stderr:
            self.assertEqual(done.returncode, 3, done.stderr)
            move.check_stayed()
        else:
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertGreaterEqual(major(move.destination), 9)
            move.check_moved()

    def test_paused_stays_paused(self):
        done, _, _ = self.move(Guest(paused=True))
        self.assertIn("paused", done.stderr)

    def test_other_media_are_left_out(self):
        done, _, _ = self.move(Guest(cdrom="iso", floppy=True, pflash=True, **WRITING))
        self.assertIn("not moved: cd: a CD-ROM", done.stderr)
        self.assertIn("not moved: floppy: a floppy", done.stderr)
        self.assertIn("firmware", done.stderr)

    def test_odd_length(self):
        self.move(Guest(disks=[Disk(size=64 * MIB + 512)], **WRITING))

    def test_fast(self):
        self.move(Guest(**WRITING), "--fast")

    def test_bandwidth(self):
        done, _, _ = self.move(Guest(disks=[Disk(), Disk()]), "--bandwidth", "60M")
        self.assertIn("done", done.stderr)

    def test_ipv4(self):
        self.move(Guest(**WRITING), destination=f"root@{self.b.ipv4}")

    def test_ipv6(self):
        self.move(Guest(**WRITING), destination=f"root@[{self.b.ipv6}]")

    def test_name_of_an_ipv6_address(self):
        self.move(Guest(**WRITING), destination="hostb6")

    def test_data_address(self):
        self.move(Guest(**WRITING), "--data-address", self.b.ipv4, destination="hostb6")

    def test_url(self):
        move = self.prepare(Guest(**WRITING))
        self.vmferry("migrate", "-F", self.a.ssh_config, move.source.qmp_sock,
                     f"ssh://root@hostb:22{move.destination.qmp_sock}")
        move.check_moved()

    def test_source_is_unchanged_after_the_switchover(self):
        move = self.prepare(Guest(**WRITING))
        self.migrate(move, "--keep-source")
        unchanged = move.source_unchanged()
        self.assertEqual(move.source.watch.status(), "postmigrate")
        move.destination.wait_for_beats()
        move.check_moved()
        unchanged.check()

    def test_ports_in_use_are_skipped(self):
        self.b.take_ports(50000, 50002)
        self.move(Guest(**WRITING), "--ports", "50000-50003")

    def test_only_some_disks(self):
        guest = Guest(disks=[Disk(), Disk(), Disk(bus="scsi")], rate=0)
        move = self.prepare(guest)
        done = self.migrate(move, "--disk", "disk0", "--disk", "dev2", "--json")
        move.destination.wait_for_beats()
        notes = [json.loads(line) for line in done.stdout.splitlines()]
        mirrored = {n["name"] for n in notes if n["type"] == "progress"} - {"ram"}
        self.assertEqual(mirrored, {"disk0", "disk2"})
        move.destination.quit()
        with open(self.b.outside(guest.image(1)), "rb") as file:
            self.assertEqual(file.read(MIB), bytes(MIB), "disk1 was not asked for")

    def test_json_tells_everything(self):
        done, _, _ = self.move(Guest(**WRITING), "--json")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertTrue(all(line["vmferry"] == 1 for line in lines))
        self.assertEqual(lines[-1]["type"], "result")
        self.assertEqual(lines[-1]["exit_code"], 0)
        self.assertGreater(lines[-1]["stopped_ms"], 0)
        self.assertEqual(done.stderr, "")

    def test_quiet_says_nothing(self):
        done, _, _ = self.move(Guest(**WRITING), "--quiet")
        self.assertEqual((done.stdout, done.stderr), ("", ""))

    def test_two_moves_side_by_side(self):
        first = self.prepare(Guest(name="vm1", id=1, **WRITING))
        second = self.prepare(Guest(name="vm2", id=2, **WRITING))
        argv = ["migrate", "-q", "-F", self.a.ssh_config]
        runs = [self.start_vmferry(*argv, move.source.qmp_sock,
                                   "hostb:" + move.destination.qmp_sock)
                for move in (first, second)]
        self.assertEqual([run.wait(60) for run in runs], [0, 0])
        for move in (first, second):
            move.destination.wait_for_beats()
            move.check_moved_disks()

    def test_there_and_back(self):
        """The destination of one move is the source of the next."""
        guest = Guest(**WRITING)
        move = self.prepare(guest)
        self.migrate(move)
        move.destination.wait_for_beats()
        status = move.destination.watch.command("query-migrate-capabilities")
        self.assertFalse([c for c in status if c["state"]], "capabilities are left on")
        move.check_moved()


def major(qemu):
    return qemu.watch.greeting["QMP"]["version"]["qemu"]["major"]


if __name__ == "__main__":
    unittest.main(verbosity=2)
