"""Connections that are lost while the disks are copied: what the network takes, it gives back."""

import os
import re
import signal
import time
import unittest

import hosts
import program
import suites
from guest import MIB
from rig import Disk, Guest
from test_faults import DONE, FAILED, HUMAN, INTERRUPTED, HeardTest

NBD_PORT = "49152"
SLOW = ("--bandwidth", "12M")  # the copy takes some seconds


def has_yank():
    """Without it, 5.2 connects anew whatever it is told."""
    return int(suites.version_of(program.default_qemu()).split(".")[0]) >= 6


def sleep_until(moment):
    time.sleep(max(0, moment - time.monotonic()))


class LinkTest(HeardTest):
    def copying(self, *options, **settings):
        """A move in the middle of its copy."""
        settings.setdefault("disks", [Disk(), Disk(bus="scsi")])
        self.move = self.prepare(Guest(**({"rate": 30, "sectors": 127} | settings)))
        self.hear(self.halted(self.move, "copy", *SLOW, *options))
        self.process.send_signal(signal.SIGCONT)
        self.says("% ")
        return self.move

    def says(self, words, deadline_s=hosts.DEADLINE_S):
        super().says(re.escape(words), deadline_s)

    def cut_nbd(self):
        self.a.run(["ss", "-H", "-tn", "-K", "dst", self.b.ipv4, "dport", "=", f":{NBD_PORT}"])


class Disks(LinkTest):
    def test_cut(self):
        move = self.copying()
        self.cut_nbd()
        self.ends(DONE)
        move.check_moved(may_complain=True)

    def test_cut_with_drive_mirror(self):
        move = self.copying("--mirror=drive")
        self.cut_nbd()
        self.ends(DONE)
        move.check_moved(may_complain=True)

    def test_cut_and_refused_for_a_while(self):
        move = self.copying()
        self.b.block(NBD_PORT, "reject")
        self.cut_nbd()
        self.says("the link of the disks to hostb is lost; waiting for it, 60 s at most")
        time.sleep(2)
        self.b.unblock()
        self.says("the link of the disks to hostb is back")
        self.ends(DONE)
        move.check_moved(may_complain=True)

    def test_swallowed_for_a_while(self):
        move = self.copying()
        self.b.block(NBD_PORT)
        self.says("the link of the disks to hostb is lost")
        self.b.unblock()
        self.says("the link of the disks to hostb is back")
        self.ends(DONE)
        move.check_moved(may_complain=True)

    def test_it_does_not_come_back(self):
        for how in "reject", "drop":
            with self.subTest(how=how):
                self.doCleanups()
                self.setUp()
                move = self.copying("--reconnect", "3")
                self.b.block(NBD_PORT, how)
                self.cut_nbd()
                self.says("is lost; waiting for it, 3 s at most")
                self.ends(FAILED)
                self.assertRegex(self.text(), "did not come back within 3 s|Input/output error")
                self.b.unblock()
                move.check_stayed(may_complain=True)

    def test_interrupted_while_it_is_lost(self):
        """Nobody waits for it then."""
        for how in "reject", "drop":
            with self.subTest(how=how):
                self.doCleanups()
                self.setUp()
                move = self.copying()
                self.b.block(NBD_PORT, how)
                self.cut_nbd()
                self.says("is lost")
                self.process.send_signal(signal.SIGINT)
                self.ends(INTERRUPTED, 20)
                self.b.unblock()
                move.check_stayed(may_complain=True)

    def test_interrupted_while_it_comes_back(self):
        """Before the handshake is through: QEMU 7.2 over there would wait for its end for ever."""
        move = self.copying()
        self.b.swallow_answers(NBD_PORT)
        self.cut_nbd()
        hosts.wait_until(self.connected, "it has connected anew")
        self.process.send_signal(signal.SIGINT)
        self.ends(INTERRUPTED, 20)
        self.b.unblock()
        move.check_stayed(may_complain=True)

    def connected(self):
        return self.a.run(["ss", "-H", "-tn", "state", "established",
                           "dport", "=", f":{NBD_PORT}"]).stdout

    def test_given_up_while_it_stands(self):
        """It does not come back then."""
        move = self.copying("--timeout", "stall=1")
        before = self.a.connections_opened()
        self.b.swallow_answers(NBD_PORT)
        self.ends(FAILED, 30)
        self.assertIn("nothing has moved for 1 s", self.text())
        if has_yank():
            self.assertEqual(self.a.connections_opened(), before)
        self.b.unblock()
        move.check_stayed(may_complain=True)

    def test_the_destination_dies_while_the_mirrors_are_cancelled(self):
        """Too late for their cancelling to count for the connections that are lost with it."""
        move = self.copying()
        os.kill(move.destination.process.pid, signal.SIGSTOP)
        time.sleep(1)  # what is written waits for its answer now
        self.process.send_signal(signal.SIGINT)
        self.says("undo: mirror")
        time.sleep(0.3)
        move.destination.kill()
        self.ends(INTERRUPTED, 20)
        move.check_stayed(may_complain=True)

    def test_what_was_sent_before_does_not_arrive_later(self):
        """A kernel goes on for minutes to send what a program has left to it: by then the guest
        has written the same sectors anew."""
        move = self.copying(disks=[Disk(region=(0, 64))], rate=60)
        begun = time.monotonic()
        self.b.swallow_both_ways(NBD_PORT)
        self.says("is lost")
        sleep_until(begun + 27)
        self.b.unblock()
        self.says("the link of the disks to hostb is back")
        time.sleep(2)
        self.process.send_signal(signal.SIGSTOP)
        sleep_until(begun + 58)  # of the old connection: twice the time
        self.process.send_signal(signal.SIGCONT)
        self.ends(DONE, 120)
        move.check_moved(may_complain=True)

    def test_recover_while_it_is_lost(self):
        """It lets the mirrors go on that the loss has stopped."""
        move = self.prepare(Guest(rate=30, sectors=127, disks=[Disk(), Disk(bus="scsi")]))
        process = self.halted(move, "copy/begun", *SLOW)
        self.b.block(NBD_PORT)
        self.cut_nbd()
        process.kill()
        process.communicate()
        hosts.wait_until(lambda: [job["io-status"] for job in move.source.watch.command(
            "query-block-jobs")] == ["failed", "failed"], "the mirrors are stopped")
        recover = self.start_vmferry("recover", "-F", self.a.ssh_config, move.guest.name,
                                     stdout=-1, stderr=-1, text=True)
        time.sleep(5)
        self.b.unblock()
        said = recover.communicate(timeout=120)
        self.assertEqual(recover.returncode, DONE, said)
        self.assertIn('goes on with "copy"', said[1])
        move.check_moved(may_complain=True)

    def test_recover_when_it_is_lost_for_good(self):
        """Nobody waits for it, least of all the guest."""
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, "listen", "--reconnect", "90")
        move.destination.kill()
        process.kill()
        process.communicate()
        time.sleep(1)
        begun = time.monotonic()
        self.vmferry("recover", "-F", self.a.ssh_config, move.guest.name)
        self.assertLess(time.monotonic() - begun, 45)
        move.source.wait_for_beats()
        move.check_stayed(may_complain=True)

    def test_the_destination_stands_still_at_the_end_of_the_copy(self):
        move = self.prepare(Guest(rate=0), watch=False)
        process = self.halted(move, "copy", "--reconnect", "3", "--timeout", "connect=2",
                              "--timeout", "answer=5")
        self.wait_until_copied(move)
        os.kill(move.destination.process.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, move.destination.process.pid, signal.SIGCONT)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=90)
        self.assertEqual(process.returncode, HUMAN, out + err)
        self.assertIn("the link of the disks is lost", err)
        self.assertEqual(move.source.watch.status(), "running")
        self.assertEqual(move.source.watch.command("query-jobs"), [])
        self.assertNotIn("left behind: mirror", err)

    def test_disks_that_nobody_writes_to(self):
        """Their mirrors do not know that the connection is lost, and have nothing to send that
        would tell them. The guest is not stopped for it."""
        move = self.prepare(Guest(rate=0, disks=[Disk(), Disk(bus="scsi"), Disk()]))
        self.hear(self.halted(move, "copy"))
        self.wait_until_copied(move)
        self.cut_nbd()
        self.b.block(NBD_PORT, "reject")
        self.process.send_signal(signal.SIGCONT)
        self.says("is lost")
        self.b.unblock()
        self.says("the link of the disks to hostb is back")
        self.ends(DONE)
        move.check_moved(may_complain=True)

    def test_what_was_written_meanwhile_is_copied_first(self):
        """Before RAM is sent, and not while the guest is stopped."""
        move = self.prepare(Guest(rate=80, sectors=127, scattered=False, ram_mib=64,
                                  disks=[Disk(region=(0, 64))]))
        self.hear(self.halted(move, "copy", *SLOW))
        self.wait_until_copied(move)
        self.b.block(NBD_PORT, "reject")
        self.cut_nbd()
        self.process.send_signal(signal.SIGCONT)
        hosts.wait_until(lambda: self.left_to_copy(move) > 24 * MIB, "the guest writes on", 60)
        self.b.unblock()
        self.says(": ram: ", 60)
        self.assertLess(self.left_to_copy(move), 12 * MIB)
        self.ends(DONE)
        move.check_moved(may_complain=True)

    def left_to_copy(self, move):
        return sum(job["len"] - job["offset"] for job in
                   move.source.watch.command("query-block-jobs"))

    def says_again(self, words, times):
        """Once more than so many times."""
        hosts.wait_until(lambda: self.text().count(words) > times or
                         self.process.poll() is not None, f"it says again: {words}", 90)
        self.assertGreater(self.text().count(words), times, self.text())

    def test_lost_again_and_again(self):
        """One disk is copied, the other is not written to any more."""
        move = self.prepare(Guest(rate=0, disks=[Disk(), Disk(size=256 * MIB, bus="scsi")]))
        self.hear(self.halted(move, "copy", *SLOW))
        self.process.send_signal(signal.SIGCONT)
        hosts.wait_until(lambda: any(job["ready"] for job in
                                     move.source.watch.command("query-block-jobs")),
                         "one mirror is ready")
        for number in range(3):
            self.b.block(NBD_PORT, "reject")
            self.cut_nbd()
            self.says_again("is lost; waiting", number)
            self.b.unblock()
            self.says_again("is back after", number)
        self.ends(DONE, 120)
        move.check_moved(may_complain=True)

    def test_it_is_not_to_come_back(self):
        move = self.copying("--reconnect", "0")
        self.cut_nbd()
        self.ends(FAILED)
        self.assertIn("its mirror to hostb failed", self.text())
        move.check_stayed(may_complain=True)

    def test_lost_when_ram_is_to_be_sent(self):
        """RAM alone gets through: the guest may not stand still for it."""
        for how in "reject", "drop":
            with self.subTest(how=how):
                self.doCleanups()
                self.setUp()
                move = self.prepare(Guest(rate=300, sectors=127))
                process = self.halted(move, "ram")
                self.b.block(NBD_PORT, how)
                self.cut_nbd()
                said = self.goes_on(process, FAILED)
                self.assertRegex(said, "mirror to hostb failed|could not take the guest in")
                self.b.unblock()
                move.check_stayed(may_complain=True)

    def test_lost_when_the_mirrors_are_to_end(self):
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, "detach")
        self.b.block(NBD_PORT, "reject")
        self.cut_nbd()
        self.goes_on(process, FAILED)
        self.b.unblock()
        move.check_stayed(may_complain=True)


class Ssh(LinkTest):
    def test_cut(self):
        move = self.copying()
        self.cut_ssh()
        self.says("the connection to hostb is back")
        self.ends(DONE)
        move.check_moved(may_complain=True)

    def test_cut_and_refused_for_a_while(self):
        move = self.copying()
        self.b.stop_sshd()
        self.cut_ssh()
        self.says("the connection to hostb is lost; opening it again, for 60 s at most")
        time.sleep(2)
        self.b.start_sshd()
        self.says("the connection to hostb is back")
        self.ends(DONE)
        move.check_moved(may_complain=True)

    def test_it_does_not_come_back(self):
        move = self.copying("--reconnect", "3")
        self.b.stop_sshd()
        self.cut_ssh()
        self.says("could not be opened again within 3 s (--reconnect)")
        self.ends(HUMAN)
        self.assertEqual(move.source.watch.status(), "running")
        self.b.start_sshd()
        self.vmferry("recover", "-F", self.a.ssh_config, move.guest.name)
        move.check_stayed(may_complain=True)

    def test_it_is_swallowed_for_good(self):
        move = self.copying("--reconnect", "3", "--timeout", "connect=2")
        self.b.block("22")
        self.cut_ssh()
        self.says("could not be opened again within 3 s (--reconnect)")
        self.ends(HUMAN)
        self.assertEqual(move.source.watch.status(), "running")
        self.assertEqual(move.source.watch.command("query-jobs"), [])
        self.b.unblock()
        self.vmferry("recover", "-F", self.a.ssh_config, move.guest.name)
        move.check_stayed(may_complain=True)

    def test_the_destination_dies(self):
        """With many requests waiting for it."""
        move = self.copying(disks=[Disk(), Disk(bus="scsi"), Disk(), Disk(bus="scsi")])
        move.destination.kill()
        self.ends(FAILED)
        self.assertIn("its QEMU has ended while the connection was lost", self.text())
        move.check_stayed(may_complain=True)

    def test_it_was_rebooted_meanwhile(self):
        """As a host that comes back with a QEMU which looks like the one before."""
        move = self.copying()
        self.b.stop_sshd()
        self.cut_ssh()
        self.says("the connection to hostb is lost")
        self.b._new_boot_id()
        self.b.start_sshd()
        self.ends(FAILED)
        self.assertIn("was rebooted while the connection was lost: begin again", self.text())
        move.check_stayed(may_complain=True)


class Both(LinkTest):
    def test_everything_is_swallowed_for_a_while(self):
        """Until the connections are given up."""
        move = self.copying()
        self.b.swallow_all()
        self.says("is lost")
        time.sleep(8)
        self.b.unblock()
        self.ends(DONE, 120)
        move.check_moved(may_complain=True)

    def test_everything_is_swallowed_for_good_while_ram_is_sent(self):
        """What is over there is taken back when it can be reached again, and the guest, which ran
        on all the time but for a moment, or was paused since, is left alone."""
        for paused in False, True:
            with self.subTest(paused=paused):
                self.doCleanups()
                self.setUp()
                move = self.prepare(Guest(rate=300, sectors=127))
                process = self.halted(move, "ram", "--timeout", "connect=2", "--timeout",
                                      "answer=5", "--timeout", "stall=3")
                self.b.swallow_all()
                said = self.goes_on(process, HUMAN)
                self.assertIn("the guest is on the source as before", said)
                self.assertEqual(move.source.watch.status(), "running")
                if paused:
                    move.source.watch.command("stop")
                self.b.unblock()
                self.cut_ssh()  # which holds the monitor over there, until sshd gives it up
                self.vmferry("recover", "-F", self.a.ssh_config, move.guest.name)
                if paused:
                    self.assertEqual(move.source.watch.status(), "paused")
                    move.source.watch.command("cont")
                move.check_stayed(may_complain=True)


if __name__ == "__main__":
    unittest.main()
