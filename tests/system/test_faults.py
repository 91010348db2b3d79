"""What goes wrong, at every step: afterwards the guest runs on the source as
before, nothing it wrote is lost, nothing is left on either host.

The steps are asked of vmferry itself (check --json), so a new one is covered
without a line here. VMFERRY_TEST_HALT_BEFORE=STEP stops vmferry (SIGSTOP)
just before a step: then the fault is put in, and it goes on.
"""

import contextlib
import functools
import json
import os
import pathlib
import re
import signal
import threading
import unittest

import hosts
import lockers
from rig import Disk, Guest, MoveTest

DONE, REFUSED, FAILED, INTERRUPTED, HUMAN = 0, 3, 4, 5, 6
HALT_S = 120  # up to a step: the whole copy may be before it, and the machine busy


class FaultTest(MoveTest):
    def arguments(self, command, move, *options):
        return [command, "-F", self.a.ssh_config, *options, move.source.qmp_sock,
                f"root@hostb:{move.destination.qmp_sock}"]

    def planned_steps(self, move):
        """The names of the steps that can be undone, but the first, which changes nothing."""
        done = self.vmferry(*self.arguments("check", move, "--json"))
        lines = map(json.loads, done.stdout.splitlines())
        return [line["step"] for line in lines
                if line["type"] == "planned_step" and line["cancellable"]][1:]

    def halted(self, move, step, *options):
        """vmferry, stopped just before this step."""
        process = self.start_vmferry(*self.arguments("migrate", move, *options),
                                     env={"VMFERRY_TEST_HALT_BEFORE": step},
                                     stdout=-1, stderr=-1, text=True)
        self.wait_for_halt(process, step)
        return process

    def wait_for_halt(self, process, step):
        hosts.wait_until(lambda: process.poll() is not None or state(process.pid) == "T",
                         f"vmferry halts before {step}", HALT_S)
        if process.poll() is not None:
            self.fail(f"vmferry ended before {step}: {process.communicate()}")

    def wait_until_copied(self, move):
        hosts.wait_until(lambda: all(job["ready"] for job in
                                     move.source.watch.command("query-block-jobs")),
                         "the mirrors are ready")

    def goes_on(self, process, code):
        """Lets it go on to its end, which is as expected; what it said."""
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=90)
        self.assertEqual(process.returncode, code, out + err)
        return err

    def cut_ssh(self):
        """Ends the SSH connections to hostb; sshd itself goes on, and a vmferry that is not halted
        may connect anew. When it returns, the end of the connections has come to hosta."""
        connections = self.ssh_connections()
        self.kill_sessions(self.ssh_sessions())
        hosts.wait_until(lambda: not connections & self.ssh_connections(),
                         "hosta has heard of the end")

    def kill_sessions(self, pids):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # one has ended with another
                os.kill(pid, signal.SIGKILL)
        hosts.wait_until(lambda: not {*pids} & {*self.ssh_sessions()}, "the SSH sessions end")

    def ssh_connections(self):
        """hosta's ends of those to hostb that stand, as far as it knows."""
        lines = self.a.run(["ss", "-H", "-tn", "state", "established", "dport", "=", ":22"])
        return {line.split()[2] for line in lines.stdout.splitlines()}

    def unread(self):
        """What the SSH connections to hostb hold for a vmferry that is halted, in bytes each."""
        lines = self.a.run(["ss", "-H", "-tn", "dst", self.b.ipv4, "dport", "=", ":22"])
        return [line.split()[1] for line in lines.stdout.splitlines()]

    def ssh_sessions(self):
        return [pid for pid, line in self.b.processes().items() if line.startswith("sshd: root@")]


class HeardTest(FaultTest):
    """With a vmferry whose words are read as they come."""

    def hear(self, process):
        self.process = process
        self.said = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        self.addCleanup(self._end)

    def _read(self):
        for line in self.process.stderr:
            self.said.append(line)

    def _end(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        self.process.stderr.close()

    def text(self):
        return "".join(self.said)

    def says(self, pattern, deadline_s=hosts.DEADLINE_S):
        hosts.wait_until(lambda: re.search(pattern, self.text()) or
                         self.process.poll() is not None, f"vmferry says: {pattern}", deadline_s)
        if not re.search(pattern, self.text()):
            self.reader.join()
        self.assertRegex(self.text(), pattern)

    def ends(self, code, deadline_s=90):
        hosts.wait_until(lambda: self.process.poll() is not None,
                         f"vmferry ends; it says {self.said[-5:]}", deadline_s)
        self.reader.join()
        self.assertEqual(self.process.returncode, code, self.text())
        return self.text()


def state(pid):
    """A process's state letter; proc(5)."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def for_each(moments):
    """Runs a test's body, which is (self, moment), for each, on hosts of its own."""
    def decorate(method):
        @functools.wraps(method)
        def test(self):
            for moment in moments:
                with self.subTest(moment=moment):
                    self.doCleanups()
                    self.setUp()
                    method(self, moment)
        return test
    return decorate


def at_every_step(method):
    """Runs a test's body, which is (self, move, step), for every step, each on hosts of
    its own."""
    @functools.wraps(method)
    def test(self):
        guest = functools.partial(Guest, disks=[Disk(), Disk(bus="scsi")], rate=300, sectors=127)
        steps = self.planned_steps(self.prepare(guest()))
        self.assertIn("switchover", steps)
        for step in steps:
            with self.subTest(step=step):
                self.doCleanups()
                self.setUp()
                method(self, self.prepare(guest()), step)
    return test


class EveryStep(FaultTest):
    @at_every_step
    def test_sigint(self, move, step):
        process = self.halted(move, step)
        process.send_signal(signal.SIGINT)
        said = self.goes_on(process, INTERRUPTED)
        self.assertIn("interrupted", said)
        move.check_stayed()

    @at_every_step
    def test_sigterm_twice(self, move, step):
        process = self.halted(move, step)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        self.goes_on(process, INTERRUPTED)
        move.check_stayed()

    @at_every_step
    def test_destination_killed(self, move, step):
        process = self.halted(move, step)
        move.destination.kill()
        said = self.goes_on(process, FAILED)
        self.assertIn("hostb", said)
        move.check_stayed(may_complain=True)

    @at_every_step
    def test_ssh_cut(self, move, step):
        """While it copies vmferry connects again."""
        process = self.halted(move, step)
        self.cut_ssh()
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=90)
        if "the connection to hostb is back" in err:
            self.assertEqual(process.returncode, DONE, out + err)
            move.check_moved()
        else:
            self.assertEqual(process.returncode, FAILED, out + err)
            self.assertIn("hostb", err)
            move.check_stayed()


class SomebodyElse(FaultTest):
    def test_a_user_pauses_the_guest_meanwhile(self):
        """It was running when the move began, and stays paused over there all the same."""
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, "ram")
        move.source.watch.command("stop")
        self.goes_on(process, DONE)
        self.assertEqual(move.destination.watch.status(), "paused")
        move.guest.paused = True
        move.check_moved()

    def test_a_user_cancels_the_migration(self):
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, "detach")
        move.source.watch.command("migrate_cancel")
        move.source.watch.wait_status("running")
        self.goes_on(process, FAILED)
        move.check_stayed(may_complain=True)

    def test_a_user_ends_a_mirror(self):
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, "listen")
        move.source.watch.command("block-job-cancel", device="vmferry-0")
        move.source.watch.wait_event("BLOCK_JOB_COMPLETED")
        said = self.goes_on(process, FAILED)
        self.assertIn("somebody ended its job", said)
        move.check_stayed()


class PointOfNoReturn(FaultTest):
    JUST_BEFORE = ("run", "run/begun")  # before it is on record, and then

    @for_each(JUST_BEFORE)
    def test_destination_killed_just_before(self, moment):
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, moment)
        unread = self.unread()
        move.destination.kill()
        hosts.wait_until(lambda: self.unread() != unread, "the news is here")
        self.goes_on(process, FAILED)
        move.check_stayed()

    @for_each(JUST_BEFORE)
    def test_ssh_cut_just_before(self, moment):
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, moment)
        self.cut_ssh()
        self.goes_on(process, FAILED)
        move.check_stayed()

    @for_each(JUST_BEFORE)
    def test_somebody_lets_the_source_run_just_before(self, moment):
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, moment)
        move.source.watch.command("cont")
        said = self.goes_on(process, FAILED)
        self.assertIn("somebody has let the guest run on", said)
        move.check_stayed()

    def test_destination_dies_before_the_source_is_ended(self):
        """The source is not ended: it may hold the only copy of the guest."""
        for paused in (False, True):
            with self.subTest(paused=paused):
                self.doCleanups()
                self.setUp()
                move = self.prepare(Guest(rate=300, sectors=127, paused=paused))
                process = self.halted(move, "end")
                move.destination.kill()
                said = self.goes_on(process, HUMAN)
                self.assertNotIn("done:", said)
                self.assertEqual(move.source.watch.status(), "postmigrate")

    def test_source_dies_when_the_destination_has_everything(self):
        """The destination is not ended: it holds the only copy of the guest."""
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, "run")
        move.source.kill()
        said = self.goes_on(process, HUMAN)
        self.assertIn("holds the guest", said)
        self.assertEqual(move.destination.watch.status(), "paused")

    def test_source_dies_while_it_copies(self):
        for step in ("hold", "copy"):
            with self.subTest(step=step):
                self.doCleanups()
                self.setUp()
                move = self.prepare(Guest(rate=300, sectors=127))
                process = self.halted(move, step)
                move.source.kill()
                said = self.goes_on(process, HUMAN)
                self.assertNotIn("as before", said)
                self.assertIn("source: its QEMU has ended", said)

    def test_sigint_just_before_is_too_late(self):
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, "run")
        process.send_signal(signal.SIGINT)
        self.goes_on(process, DONE)
        move.check_moved()

    def test_ssh_cut_after(self):
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, "release")
        self.cut_ssh()
        self.goes_on(process, DONE)
        move.check_moved()

    def test_cont_refused_by_the_destination(self):
        """A disk that did not move is another guest's there: the guest goes on here."""
        move = self.prepare(Guest(disks=[Disk(), Disk()], rate=0))
        process = self.halted(move, "run", "--disk", "disk0")
        locker = lockers.another_guest(self.b, move.guest.image(1))
        said = self.goes_on(process, FAILED)
        self.assertIn("lock", said)
        locker.kill()
        locker.wait()
        move.check_stayed()

    def test_a_tool_writes_to_a_disk_that_did_not_move(self):
        """QEMUs before 6.2 let it: see lockers.py. The guest runs on one side, and on no other."""
        move = self.prepare(Guest(disks=[Disk(), Disk()], rate=0))
        version = move.destination.watch.command("query-version")["qemu"]
        refused = (version["major"], version["minor"]) >= (6, 2)
        process = self.halted(move, "run", "--disk", "disk0")
        locker = lockers.tool(self.b, move.guest.image(1))
        self.goes_on(process, FAILED if refused else DONE)
        locker.kill()
        locker.wait()
        if refused:
            move.check_stayed()
        else:
            move.watcher.check()
            self.assertEqual(move.destination.watch.status(), "running")


class AnotherMachine(FaultTest):
    def test_a_device_with_other_properties(self):
        """Alike from outside. QEMU notices when it loads the guest (from the PCI config space),
        and the destination ends of it."""
        serial = "virtio-serial-pci,id=ports"
        move = self.prepare(Guest(rate=300, sectors=127,
                                  src_extra=["-device", serial + ",vectors=7"],
                                  dst_extra=["-device", serial]))
        done = self.vmferry(*self.arguments("migrate", move), check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn("hostb: its QEMU could not take the guest in", done.stderr)
        move.check_stayed(may_complain=True)


class Network(FaultTest):
    def blocked(self, how, *options):
        move = self.prepare(Guest(rate=300, sectors=127))
        self.b.block("49152-49215", how)
        done = self.vmferry(*self.arguments("migrate", move, *options), check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.b.unblock()
        move.check_stayed()
        return done.stderr

    def test_nbd_port_swallowed(self):
        said = self.blocked("drop", "--timeout", "connect=2")
        self.assertIn("firewall", said)
        self.assertIn("49152", said)

    def test_nbd_port_rejected(self):
        self.assertIn("firewall", self.blocked("reject"))

    def ram_port_blocked(self, how, *options):
        """From then on when the disks are copied; one that always was is test_probe's."""
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, "ram", *options)
        self.b.block("49153", how)
        said = self.goes_on(process, FAILED)
        self.assertIn("ram: hostb: its port for RAM cannot be reached", said)
        move.check_stayed()

    def test_ram_port_rejected(self):
        self.ram_port_blocked("reject")

    def test_ram_port_swallowed(self):
        self.ram_port_blocked("drop", "--timeout", "connect=2")

    def test_nbd_connection_swallowed_while_it_copies(self):
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, "mirror", "--timeout", "stall=2", "--reconnect", "0")
        self.b.block("49152", "drop")
        said = self.goes_on(process, FAILED)
        self.assertIn("nothing has moved", said)
        self.b.unblock()
        move.check_stayed()


class SilentNetwork(FaultTest):
    def test_in_the_switchover(self):
        """Everything to hostb is swallowed while the guest is stopped: it runs here again
        while vmferry still tries to reach hostb, and what waits there is said."""
        for step in ("detach", "switchover"):
            with self.subTest(step=step):
                self.doCleanups()
                self.setUp()
                move = self.prepare(Guest(rate=300, sectors=127), watch=False)
                process = self.halted(move, step, "--timeout", "switchover=2", "--timeout",
                                      "answer=5", "--timeout", "connect=5")
                self.b.swallow_all()
                process.send_signal(signal.SIGCONT)
                move.source.watch.wait_status("running")
                self.assertIsNone(process.poll())
                out, err = process.communicate(timeout=90)
                self.assertEqual(process.returncode, HUMAN, out + err)
                self.assertIn("hostb: its QEMU cannot be asked", err)
                self.b.unblock()
                self.assertFalse(move.destination.running())
                move.destination.quit()
                move.source.wait_for_beats()


class HostKey(FaultTest):
    def refused(self, known_hosts, words):
        move = self.prepare(Guest(rate=300, sectors=127))
        path = f"{hosts.WORK}/known_hosts"
        pathlib.Path(self.a.outside(path)).write_text(known_hosts(move))
        done = self.vmferry(*self.arguments("migrate", move, "--known-hosts", path), check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        os.unlink(self.a.outside(path))
        move.check_stayed()

    def test_unknown(self):
        self.refused(lambda move: "", ["hostb", "SHA256:", "ssh-keyscan"])

    def test_changed(self):
        other = pathlib.Path(self.a.outside(hosts.ETC), "host_key.pub").read_text().split()[:2]
        self.refused(lambda move: f"hostb {' '.join(other)}\n", ["hostb", "CHANGED"])


class DestinationDisk(FaultTest):
    def small(self, guest):
        """Has the destination's disks where there is room for one, and no more."""
        os.makedirs(self.b.outside(guest.directory))
        self.b.run(["mount", "-t", "tmpfs", "-o", "size=64M", "tmpfs", guest.directory], cwd="/")
        self.b.outside = lambda path: f"/proc/{self.b.pid}/root{path}"  # sees that mount, too
        guest.cache = "writeback"  # tmpfs knows no O_DIRECT
        return self.prepare(guest)

    def fill(self, move):
        self.b.shell(f"dd if=/dev/zero of={move.guest.directory}/filler bs=64k 2>/dev/null || true")

    def stayed(self, move, said):
        self.assertIn("No space left", said)
        self.b.shell(f"rm {move.guest.directory}/filler")
        move.check_stayed(may_complain=True)

    def test_full(self):
        """The room that was there when it was looked at is gone when it is needed."""
        move = self.small(Guest(rate=300, sectors=127))
        process = self.halted(move, "mirror")
        self.fill(move)
        self.stayed(move, self.goes_on(process, FAILED))

    def test_full_while_ram_is_sent(self):
        """The guest's next write to a hole finds no room: RAM is sent no further."""
        move = self.small(Guest(disks=[Disk(region=(4, 60))], rate=30, sectors=127,
                                dirty_per_beat=16, dirty_pages=2048))
        source = move.source.watch
        process = self.halted(move, "ram")
        source.command("migrate-set-parameters", max_bandwidth=1 << 20)
        process.send_signal(signal.SIGCONT)
        hosts.wait_until(lambda: source.command("query-migrate").get("status") == "active",
                         "RAM is sent")
        self.fill(move)
        said = self.goes_on(process, FAILED)
        self.assertIn("ram: disk disk0", said)
        self.stayed(move, said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
