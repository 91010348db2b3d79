"""Proves the rig: a move by hand passes, and each thing that can go wrong in a
move is seen. Run: python3 -m unittest test_rig (in this folder, as root)."""

import os
import subprocess
import sys
import time
import unittest

import hosts
import reference
import verify
from beats import Wrong, parse_beats, read_beats
from guest import MIB
from program import accelerator
from rig import Disk, Guest, MoveTest


class ReferenceMove(MoveTest):
    def move(self, guest):
        move = self.prepare(guest)
        reference.move(move.source, move.destination)
        beats = move.check_moved()
        self.assertLess(move.watcher.pause_s(), 5)
        return beats

    def test_one_disk(self):
        beats = self.move(Guest(rate=300, sectors=127))
        self.assertGreater(beats.acked, 0)

    def test_four_disks(self):
        self.move(Guest(disks=[Disk(), Disk(bus="scsi"), Disk(bus="ide"), Disk(size=40 * MIB)],
                        rate=300, sectors=127))

    def test_small_requests_one_after_the_other(self):
        self.move(Guest(rate=800, sectors=8, scattered=False))

    def test_idle(self):
        self.assertEqual(self.move(Guest(rate=0)).acked, 0)

    def test_qcow2_drive_writeback(self):
        self.move(Guest(disks=[Disk(format="qcow2")], style="drive", cache="writeback"))

    def test_qcow2_to_raw(self):
        self.move(Guest(disks=[Disk(format="qcow2", dst_format="raw")]))

    def test_larger_destination(self):
        self.move(Guest(disks=[Disk(dst_size=80 * MIB)]))

    def test_odd_size(self):
        self.move(Guest(disks=[Disk(size=24 * MIB + 3 * 512, region=(1, 8))], cache="writeback"))

    def test_destination_started_by_somebody_else(self):
        guest = Guest(rate=300)
        move = self.prepare(guest, start_destination=False)
        argv = " ".join(guest.argv(is_source=False))
        self.b.shell(f"{argv} -daemonize >/dev/null 2>&1 </dev/null")
        move.attach_destination()
        reference.move(move.source, move.destination)
        move.check_moved()

    def test_dirty_ram(self):
        self.move(Guest(dirty_per_beat=4, dirty_pages=2048))

    def test_other_media(self):
        self.move(Guest(cdrom="iso", floppy=True, pflash=True))

    def test_timed_beats(self):
        move = self.prepare(Guest(timed_beats=True))
        reference.move(move.source, move.destination)
        move.check_moved()
        self.assertLess(move.watcher.pause_s(), move.gap_s() + 0.02)

    def test_paused(self):
        self.move(Guest(paused=True))

    def test_source_is_unchanged_after_the_switchover(self):
        move = self.prepare(Guest(rate=300))
        reference.move(move.source, move.destination)
        unchanged = move.source_unchanged()
        move.destination.wait_for_beats()
        move.check_moved()
        unchanged.check()

    def test_a_guest_that_stayed(self):
        move = self.prepare(Guest(rate=300))
        move.check_stayed()


class WhatGoesWrongIsSeen(MoveTest):
    """One fault each, put into a move that is good otherwise."""

    def moved(self, **settings):
        move = self.prepare(Guest(**({"rate": 300} | settings)))
        reference.move(move.source, move.destination)
        move.destination.wait_for_beats()
        return move

    def spoil(self, move, offset, data):
        with open(self.b.outside(move.guest.image(0)), "r+b") as image:
            os.pwrite(image.fileno(), data, offset)

    def test_a_lost_request(self):
        move = self.moved()
        move.destination.quit()
        acked = read_beats(move.source.beat_log, move.destination.beat_log).acked
        _, lba = move.guest.place(acked)
        self.spoil(move, lba * 512, bytes(512))
        with self.assertRaisesRegex(Wrong, f"zeroes, not request {acked}"):
            move.check_moved_disks()

    def test_an_old_request(self):
        move = self.moved(sectors=127, scattered=False, disks=[Disk(region=(4, 1))])
        move.destination.quit()
        acked = read_beats(move.source.beat_log, move.destination.beat_log).acked
        older = acked - move.guest._region(0)[1]
        self.assertGreater(older, 0)
        self.spoil(move, move.guest.place(older)[1] * 512, move.guest.request(older)[:512])
        with self.assertRaisesRegex(Wrong, f"request {older}, not request {acked}"):
            move.check_moved_disks()

    def test_a_spoiled_rest(self):
        move = self.moved()
        move.destination.quit()
        self.spoil(move, 40 * MIB, b"x")
        with self.assertRaisesRegex(Wrong, "MiB 40, which the guest never writes"):
            move.check_moved_disks()

    def test_filled_holes(self):
        move = self.moved()
        move.destination.quit()
        self.spoil(move, 20 * MIB, bytes(44 * MIB))
        with self.assertRaisesRegex(Wrong, "allocated"):
            verify.check_sparse(move.guest, self.a, self.b, slack=0)

    def test_both_run(self):
        move = self.moved()
        move.source.watch.command("cont")
        time.sleep(0.05)
        with self.assertRaisesRegex(Wrong, "both sides ran|before it stopped"):
            move.watcher.check()

    def test_a_server_left_behind(self):
        move = self.moved()
        move.destination.watch.command("nbd-server-start", addr={
            "type": "inet", "data": {"host": "0.0.0.0", "port": "49152"}})
        with self.assertRaisesRegex(Wrong, "port: 49152"):
            move.check_moved()

    def test_a_node_left_behind(self):
        move = self.moved()
        move.source.watch.command("blockdev-add", driver="null-co", node_name="left")
        with self.assertRaisesRegex(Wrong, "node: left"):
            move.check_moved()

    def test_a_file_and_a_process_left_behind(self):
        move = self.moved()
        self.b.shell("touch left; sleep 100 >/dev/null 2>&1 &")
        hosts.wait_until(lambda: "sleep 100" in self.b.processes().values(), "it sleeps")
        with self.assertRaisesRegex(Wrong, r"(?s)file: .*/left.*process: sleep 100"):
            move.check_moved()

    def test_a_capability_left_on(self):
        move = self.prepare(Guest())
        reference.set_capabilities(move.source.watch, "pause-before-switchover")
        with self.assertRaisesRegex(Wrong, "not put back"):
            move.check_stayed()

    def test_a_changed_source(self):
        move = self.moved()
        unchanged = move.source_unchanged()
        with open(self.a.outside(move.guest.image(0)), "r+b") as image:
            image.write(b"x")
        with self.assertRaisesRegex(Wrong, "changed: .*disk0"):
            unchanged.check()

    def test_a_disk_not_mirrored(self):
        move = self.prepare(Guest(rate=300))
        reference.listen(move.destination, ["disk0"])
        reference.mirror(move.source, move.destination, ["disk0"])
        reference.end_mirror(move.source.watch, "disk0")  # too early
        move.source.wait_for_beats(200)
        reference.migrate_to_switchover(move.source, move.destination)
        move.destination.watch.command("nbd-server-stop")
        move.source.watch.command("migrate-continue", state="pre-switchover")
        move.source.watch.wait_event("MIGRATION", status="completed")
        move.destination.watch.wait_status("paused", "prelaunch")
        move.destination.watch.command("cont")
        with self.assertRaisesRegex(Wrong, "sectors of the guest's region are wrong"):
            move.check_moved()


class Log(unittest.TestCase):
    """The reader of beats."""

    def log(self, beats, acked=()):
        log = b"!0000123:\n"
        for beat in range(1, beats + 1):
            log += bytes([0x80 | beat & 0x7F])
            if beat % 128 == 0:
                done = max((seq for seq in acked if seq < beat), default=0)
                log += f"#{beat:08x},{done:08x}\n".translate(
                    str.maketrans("abcdef", ":;<=>?")).encode()
            log += bytes(0x40 | seq & 0x3F for seq in acked if seq == beat)
        return log

    def test_good(self):
        beats = parse_beats(self.log(300, range(1, 200)))
        self.assertEqual((beats.guest_id, beats.beats, beats.acked), (0x123A, 300, 199))

    def test_every_single_byte_lost_or_doubled_is_seen(self):
        log = self.log(300, range(1, 5))
        for at in range(10, len(log) - 1):
            for wrong in (log[:at] + log[at + 1:], log[:at + 1] + log[at:]):
                with self.assertRaises(Wrong, msg=f"byte {at} {log[at:at + 1]}"):
                    parse_beats(wrong)

    def test_a_repeated_stretch_is_seen(self):
        log = self.log(300)
        with self.assertRaises(Wrong):
            parse_beats(log[:200] + log[72:])

    def test_an_error_is_seen(self):
        with self.assertRaisesRegex(Wrong, "code 0x105, number 7"):
            parse_beats(self.log(5) + b"$00000105,00000007\n")


class Hosts(unittest.TestCase):
    """The simulated hosts."""

    def setUp(self):
        self.pair = hosts.Pair()
        self.addCleanup(self.pair.close)
        self.a, self.b = self.pair.a, self.pair.b

    def ssh(self, host, command="hostname", *options, **more):
        return self.a.run(["ssh", "-F", self.a.ssh_config, "-o", "ConnectTimeout=3", *options,
                           host, command], **more)

    def test_ssh_by_name_and_address(self):
        for name in ("hostb", "hostb6", self.b.ipv4, self.b.ipv6):
            with self.subTest(name):
                self.assertEqual(self.ssh(name).stdout, "hostb\n")

    def test_ssh_by_rsa(self):
        key = self.pair.add_rsa_identity()
        self.assertEqual(self.ssh("hostb", "hostname", "-i", key).stdout, "hostb\n")

    def test_files_are_two(self):
        self.a.shell("echo a >same")
        self.b.shell("echo b >same")
        self.assertEqual(self.ssh("hostb", f"cat {hosts.WORK}/same").stdout, "b\n")
        with open(self.a.outside(f"{hosts.WORK}/same"), encoding="ascii") as same:
            self.assertEqual(same.read(), "a\n")

    def test_blocked_ports(self):
        self.b.block("22", "reject")
        self.assertIn("refused", self.ssh("hostb", check=False).stderr)
        self.b.unblock()
        self.b.block("20-30", "drop")
        self.assertIn("timed out", self.ssh("hostb", check=False).stderr)
        self.b.unblock()
        self.ssh("hostb")

    def test_swallowed_and_cut(self):
        self.b.swallow_all()
        self.assertIn("timed out", self.ssh("hostb", check=False).stderr)
        self.b.unblock()
        self.ssh("hostb6")
        self.b.cut_link()
        self.assertTrue(self.ssh("hostb", check=False).returncode)
        self.b.restore_link()
        self.ssh("hostb6")

    def test_power_loss_changes_the_boot_id(self):
        boot_id = "cat /proc/sys/kernel/random/boot_id"
        before = self.ssh("hostb", boot_id).stdout
        self.assertEqual(self.ssh("hostb", boot_id).stdout, before)
        self.b.lose_power()
        self.assertEqual(self.b.processes(), {})
        self.b.reboot()
        self.assertNotEqual(self.ssh("hostb", boot_id).stdout, before)

    def test_nothing_outlives_the_hosts(self):
        pids = [process.pid for process in (self.a.popen(["sleep", "100"]),
                                            self.b.popen(["sleep", "100"]))]
        self.pair.close()
        for pid in pids:
            self.assertFalse(os.path.exists(f"/proc/{pid}"))
        self.assertFalse(os.path.exists(self.pair.top))

    def test_nothing_outlives_a_killed_test(self):
        script = ("import hosts, guest, sys\npair = hosts.Pair()\n"
                  "qemu = guest.Guest().start(pair.a)\n"
                  "print(pair.top, qemu.process.pid, pair.b.sshd.pid, flush=True)\n"
                  "sys.stdin.read()")
        test = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True,
                                cwd=os.path.dirname(os.path.abspath(__file__)))
        top, *pids = test.stdout.readline().split()
        test.kill()
        test.communicate()
        for path in (top, *(f"/proc/{pid}" for pid in pids)):
            hosts.wait_until(lambda path=path: not os.path.exists(path), f"{path} is gone")


if __name__ == "__main__":
    print("accelerator:", accelerator())
    unittest.main(verbosity=2)
