"""--retries: the destination's QEMU dies while RAM is sent, is started again, and what was copied
is not copied once more."""

import os
import re
import shlex
import signal
import unittest

import hosts
from rig import Disk, Guest
from test_clone import RANDOM_NODES, SOCKETS, CloneTest
from test_faults import DONE, FAILED, INTERRUPTED, HeardTest, for_each, state
from test_start import StartTest

TWO_DISKS = {"disks": [Disk(dst_image=False), Disk(dst_image=False, bus="scsi")]}
# More of RAM is written than is sent: see kill_in_ram(). Little is of the disks, so that it is seen
# whether these are copied once more.
SLOW_RAM = {"ram_mib": 64, "dirty_per_beat": 16, "dirty_pages": 2048, "rate": 30}
SLOWLY = ("--bandwidth", "40M")


class RetriesTest(StartTest, HeardTest):
    def begin(self, move, *options, halt=None, environment=None):
        environment = environment or ({"VMFERRY_TEST_HALT_BEFORE": halt} if halt else {})
        self.hear(self.start_vmferry(
            *self.arguments_of("migrate", move, *self.how_to_start(move), *options),
            env=environment, stdout=-1, stderr=-1, text=True))
        if halt:
            self.wait_for_halt(self.process, halt)

    def how_to_start(self, move):
        return "--start", self.command(move)

    def ends(self, code, deadline_s=90):
        """It halts at its step each time that it comes there."""
        def goes_on():
            if self.process.poll() is None and state(self.process.pid) == "T":
                self.process.send_signal(signal.SIGCONT)
            return self.process.poll() is not None
        hosts.wait_until(goes_on, f"vmferry ends; it says {self.said[-5:]}", deadline_s)
        return super().ends(code)

    def qemus(self):
        return [pid for pid, line in self.b.processes().items()
                if "qemu" in line and "-incoming" in line and not line.startswith("sh")]

    def kill_destination(self):
        """When it returns it is gone."""
        for pid in self.qemus():
            os.kill(pid, signal.SIGKILL)
        hosts.wait_until(lambda: not self.qemus(), "the destination's QEMU is gone")

    def sent_bytes(self):
        """By hosta, since its start; proc(5), /proc/net/dev. (Its /sys is another network's.)"""
        lines = self.a.run(["cat", "/proc/net/dev"]).stdout.splitlines()
        return next(int(line.split()[9]) for line in lines if line.split()[0] == "eth0:")

    def kill_in_ram(self, move):
        """What was sent before. RAM does not come through until then, and does afterwards."""
        source = move.source.watch
        self.says(": mirror: ", 60)  # vmferry has set the source's parameters
        source.command("migrate-set-parameters", max_bandwidth=8 << 20)
        self.says(": ram: ", 60)
        hosts.wait_until(lambda: source.command("query-migrate").get("status") == "active",
                         "RAM is sent")
        before = self.sent_bytes()
        self.kill_destination()
        self.assertNotIn(": detach: ", self.text())
        source.command("migrate-set-parameters", max_bandwidth=10 << 30)
        return before

    def comes_again(self):
        hosts.wait_until(self.qemus, "the destination's QEMU comes again", 60)


class Retries(RetriesTest):
    @for_each(["sync", "listen", "ram"])
    def test_it_dies_before(self, step):
        move = self.prepare_start(**TWO_DISKS)
        if step not in self.planned_steps_of(move):
            self.skipTest("a source before 8.2 has no such step")
        self.begin(move, "--retries", "1", halt=step)
        self.kill_destination()
        said = self.ends(DONE)
        self.assertRegex(said, r"it is started again, 1 of 1 \(--retries\)")
        self.assertEqual(said.count(": copy: "), 1)
        move.check_moved(may_complain=True)

    def planned_steps_of(self, move):
        done = self.vmferry(*self.arguments_of("check", move, "--json", "--start", "true"))
        return re.findall(r'"step": ?"(\w+)"', done.stdout)

    def test_it_dies_while_ram_is_sent(self):
        """No disk is copied twice; the guest runs meanwhile."""
        move = self.prepare_start(**TWO_DISKS, **SLOW_RAM)
        self.begin(move, "--retries", "2", *SLOWLY)
        before = self.kill_in_ram(move)
        said = self.ends(DONE)
        self.assertIn("1 of 2", said)
        self.assertEqual(said.count(": copy: "), 1)
        self.assertLess(self.sent_bytes() - before, 64 << 20)
        move.check_moved(may_complain=True)

    def test_it_dies_each_time(self):
        move = self.prepare_start(**TWO_DISKS)
        self.begin(move, "--retries", "2", halt="ram")
        for _ in range(2):
            self.kill_destination()
            self.process.send_signal(signal.SIGCONT)
            self.comes_again()
            self.wait_for_halt(self.process, "ram")
        self.kill_destination()
        said = self.ends(FAILED)
        self.assertIn("2 of 2", said)
        move.check_stayed(SOCKETS, may_complain=True)

    def test_it_dies_when_it_was_started_again(self):
        """Before the mirrors go on."""
        move = self.prepare_start(**TWO_DISKS)
        self.begin(move, "--retries", "2", halt="ram")
        self.kill_destination()
        self.process.send_signal(signal.SIGCONT)
        self.says(r"started again(.|\n)*: hold: ", 60)
        self.kill_destination()
        self.assertIn("2 of 2", self.ends(DONE))
        move.check_moved(may_complain=True)

    @for_each(["detach", "switchover"])
    def test_it_dies_too_late(self, step):
        move = self.prepare_start(**TWO_DISKS)
        self.begin(move, "--retries", "2", halt=step)
        self.kill_destination()
        self.assertNotIn("started again", self.ends(FAILED))
        move.check_stayed(SOCKETS, may_complain=True)

    def test_it_dies_too_early(self):
        move = self.prepare_start(**TWO_DISKS)
        self.begin(move, "--retries", "2", halt="copy")
        self.kill_destination()
        self.assertNotIn("started again", self.ends(FAILED))
        move.check_stayed(SOCKETS, may_complain=True)

    def test_without_death_it_is_as_without(self):
        move = self.prepare_start(**TWO_DISKS)
        self.begin(move, "--retries", "2")
        self.assertNotIn("retries", self.ends(DONE))
        move.check_moved()

    def test_disks_that_nobody_writes_to(self):
        """A mirror that has nothing to copy does not know that its connection is lost: the
        guest's next write may not find out."""
        self.joins_with(rate=0)

    def test_disks_that_nobody_writes_to_any_more(self):
        """Something is left to be flushed."""
        self.joins_with(rate=20)

    def joins_with(self, rate):
        move = self.prepare_start(disks=[Disk(dst_image=False) for _ in range(4)], rate=rate)
        self.begin(move, "--retries", "1", halt="ram")
        move.source.watch.command("stop")
        self.kill_destination()
        self.process.send_signal(signal.SIGCONT)
        self.says("it is started again", 60)
        self.wait_for_halt(self.process, "ram")
        connections = self.a.run(["ss", "-H", "-tn", "state", "established",
                                  "dst", self.b.ipv4, "dport", "=", ":49152"]).stdout
        self.assertEqual(len(connections.splitlines()), 4, connections)
        move.source.watch.command("cont")
        self.ends(DONE)
        move.check_moved(may_complain=True)

    @for_each(["rm -f {0}; truncate -s 64M {0}", "qemu-img create -q -f raw {0} 64M"])
    def test_its_images_are_made_anew(self, how):
        """By the command of --start: what was copied would be gone."""
        move = self.prepare_start(rate=10)
        command = f"{how.format(move.guest.image(0))} && {self.command(move)}"
        self.how_to_start = lambda _: ("--start", command)
        self.begin(move, "--retries", "1", halt="ram")
        self.kill_destination()
        self.assertIn("was made anew or written to", self.ends(FAILED))
        move.check_stayed([*SOCKETS, r"disk0\.img$"], may_complain=True)

    def test_it_cannot_be_started_again(self):
        move = self.prepare_start(**TWO_DISKS)
        once = f"[ ! -e {hosts.WORK}/once ] || {{ echo not again >&2; exit 1; }}; touch {hosts.WORK}/once; "
        command = self.command(move)
        self.how_to_start = lambda _: ("--start", once + command)
        self.begin(move, "--retries", "2", halt="ram")
        self.kill_destination()
        said = self.ends(FAILED)
        self.assertIn("not again", said)
        self.b.run(["rm", f"{hosts.WORK}/once"])
        move.check_stayed(SOCKETS, may_complain=True)

    def test_another_one_comes(self):
        """Which has other disks."""
        move = self.prepare_start(**TWO_DISKS)
        once = f"[ ! -e {hosts.WORK}/once ] || set -- -device virtio-rng-pci; touch {hosts.WORK}/once; "
        command = self.command(move) + ' "$@"'
        self.how_to_start = lambda _: ("--start", once + command)
        self.begin(move, "--retries", "2", halt="ram")
        self.kill_destination()
        said = self.ends(FAILED)
        self.assertIn("accept", said)
        self.b.run(["rm", f"{hosts.WORK}/once"])
        move.check_stayed(SOCKETS, may_complain=True)

    def test_interrupted_while_it_starts(self):
        move = self.prepare_start(**TWO_DISKS)
        once = f"[ ! -e {hosts.WORK}/once ] || sleep 5; touch {hosts.WORK}/once; "
        command = self.command(move)
        self.how_to_start = lambda _: ("--start", once + command)
        self.begin(move, "--retries", "2", halt="ram")
        self.kill_destination()
        self.process.send_signal(signal.SIGCONT)
        self.says("it is started again", 60)
        self.process.send_signal(signal.SIGINT)
        self.ends(INTERRUPTED)
        self.b.run(["rm", f"{hosts.WORK}/once"])
        move.check_stayed(SOCKETS, may_complain=True)

    def test_its_host_was_rebooted(self):
        """What it had not written to its disks is gone."""
        move = self.prepare_start(**TWO_DISKS)
        self.begin(move, "--retries", "2", halt="ram")
        self.kill_destination()
        self.b._new_boot_id()
        self.assertNotIn("started again", self.ends(FAILED))
        move.check_stayed(SOCKETS, may_complain=True)

    def test_not_with_qcow2(self):
        """Its tables are in the memory of its QEMU."""
        move = self.prepare_start(disks=[Disk(format="qcow2", dst_image=False)])
        self.begin(move, "--retries", "2", halt="ram")
        self.assertIn("disk0 is no plain raw file there", self.text())
        self.kill_destination()
        self.ends(FAILED)
        move.check_stayed(SOCKETS, may_complain=True)

    @for_each(["start", "serve", "rejoin"])
    def test_vmferry_is_killed_meanwhile(self, step):
        """The mirrors are there, whatever row of the table is on record."""
        move = self.prepare_start(**TWO_DISKS, **SLOW_RAM)
        environment = {"VMFERRY_TEST_HALT_BEFORE": step}
        self.begin(move, "--retries", "2", *SLOWLY, environment=environment)
        if step != "rejoin":
            self.wait_for_halt(self.process, step)
            self.process.send_signal(signal.SIGCONT)
        self.kill_in_ram(move)
        self.wait_for_halt(self.process, step)
        self.killed_and_recovered(move)
        move.check_stayed(SOCKETS, may_complain=True)

    def test_vmferry_is_killed_afterwards(self):
        """The copy goes on, and the move."""
        move = self.prepare_start(**TWO_DISKS)
        self.begin(move, "--retries", "2", halt="ram")
        self.kill_destination()
        self.process.send_signal(signal.SIGCONT)
        self.comes_again()
        self.wait_for_halt(self.process, "ram")
        self.killed_and_recovered(move)
        move.check_moved(may_complain=True)

    def killed_and_recovered(self, move):
        self.process.kill()
        self.process.wait()
        self.vmferry("recover", "-F", self.a.ssh_config, move.guest.name)

    def test_refused(self):
        for options, words in ((["--retries", "1"], "goes with --start or --clone only"),
                               (["--retries", "1", "--start", "true", "--reconnect", "0"],
                                "exclude one another"),
                               (["--retries", "x"], "wants a number, 0 to 1000")):
            done = self.vmferry("migrate", *options, "/no.sock", "root@hostb:/no.sock",
                                check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn(words, done.stderr)


class WithClone(CloneTest, RetriesTest):
    def how_to_start(self, move):
        return ("--clone",)

    def arguments_of(self, command, move, *options):
        return [command, "-F", self.a.ssh_config, *options, move.source.qmp_sock, "root@hostb"]

    def test_it_dies_while_ram_is_sent(self):
        move = self.prepare_clone(**SLOW_RAM)
        self.begin(move, "--retries", "2", *SLOWLY)
        self.kill_in_ram(move)
        said = self.ends(DONE)
        self.assertIn("1 of 2", said)
        self.assertEqual(said.count(": copy: "), 1)
        move.check_moved(RANDOM_NODES, may_complain=True)

    def test_drive_mirror(self):
        move = self.prepare_clone(style="drive")
        self.begin(move, "--retries", "1", "--mirror=drive", halt="ram")
        self.kill_destination()
        self.assertIn("1 of 1", self.ends(DONE))
        move.check_moved(RANDOM_NODES, may_complain=True)

    def test_ssh_is_cut_with_it(self):
        """The guard has taken all away: nothing to start again."""
        move = self.prepare_clone()
        self.begin(move, "--retries", "1", halt="ram")
        self.cut_ssh()
        self.kill_destination()
        self.assertNotIn("started again", self.ends(FAILED))
        self.guard_goes()
        move.check_stayed(SOCKETS, may_complain=True)


if __name__ == "__main__":
    unittest.main()
