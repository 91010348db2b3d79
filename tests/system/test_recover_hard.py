"""recover, when more has happened since vmferry died than its death: the guest has moved on, was
shut down, was started anew, somebody has done by hand what there was to do. What is not known to
be safe is left to a human; an old state of the guest never runs."""

import contextlib
import os
import shlex
import signal
import socket
import time
import unittest

import hosts
from qemu import Qemu
from relay import Relay
from rig import Disk, Guest
from test_clone import SOCKETS, CloneTest
from test_faults import DONE, HUMAN
from test_recover import RecoverTest

WRITING = {"rate": 300, "sectors": 127}


class HardTest(RecoverTest):
    def killed(self, moment, guest=None, *options):
        return super().killed(moment, guest or Guest(**WRITING), *options)

    def restarted(self, move):
        """The guest's QEMU on the source, started anew by its user or its host."""
        move.source.kill()
        qemu = Qemu(move.guest, self.a, move.guest.argv(is_source=True))
        self.addCleanup(qemu.close)
        qemu.watch.wait_status("running")
        return qemu


class OverThere(HardTest):
    """The guest runs on the destination, and then something happens to it there."""

    def third(self, move):
        """A QEMU that the guest moves on to."""
        path = f"{hosts.WORK}/third.sock"
        argv = [word for word in move.guest.argv(is_source=False)]
        argv = ["defer" if word == "defer" else word.replace("/qmp.sock", "/qmp3.sock").replace(
            "/watch.sock", "/watch3.sock").replace("/status.sock", "/status3.sock")
            for word in argv]
        argv[argv.index("defer")] = f"unix:{path}"
        argv.remove("-S")
        process = self.b.popen(argv)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        hosts.wait_until(lambda: path in self.b.unix_sockets(), "a third QEMU waits")
        return path

    def test_it_has_moved_on(self):
        """It is not run there again."""
        for moment in ("run/acted", "release"):
            with self.subTest(moment=moment):
                self.doCleanups()
                self.setUp()
                move = self.killed(moment, None, "--encrypt=none")
                move.watcher.stop()
                move.destination.watch.wait_status("running")
                move.destination.watch.command("migrate", uri=f"unix:{self.third(move)}")
                move.destination.watch.wait_status("postmigrate")
                self.recover(move)
                self.assertEqual(move.destination.watch.status(), "postmigrate")
                move.source.process.wait(hosts.DEADLINE_S)

    def test_it_was_shut_down(self):
        """A QEMU that stays after that refuses `cont`, which does not mean that the guest has not
        run over there."""
        for moment in ("run/acted", "run"):
            with self.subTest(moment=moment):
                self.doCleanups()
                self.setUp()
                move = self.killed(moment, Guest(
                    **WRITING, dst_extra=["-no-shutdown", "-no-reboot"]))
                if moment == "run":
                    move.destination.watch.command("cont")
                move.destination.watch.wait_status("running")
                move.destination.watch.command("system_reset")
                move.destination.watch.wait_status("shutdown")
                self.recover(move)
                move.source.process.wait(hosts.DEADLINE_S)
                self.assertEqual(move.destination.watch.status(), "shutdown")


class OnTheSource(HardTest):
    """The guest runs on the source again, and the destination has it, too, complete."""

    def test_it_was_started_anew(self):
        move = self.killed("switchover/acted")
        move.watcher.stop()
        source = self.restarted(move)
        self.assertIn("another QEMU", self.recover(move, HUMAN))
        self.assertEqual(move.destination.watch.status(), "paused")
        self.assertEqual(source.watch.status(), "running")

    def test_it_was_started_anew_after_a_reboot(self):
        move = self.killed("switchover/acted")
        move.watcher.stop()
        source = self.restarted(move)
        self.a.shell("sed -i 's/\"src_boot\": *\"..../\"src_boot\":\"0000/' /var/lib/vmferry/*")
        self.recover(move, HUMAN)
        self.assertEqual(move.destination.watch.status(), "paused")
        self.assertEqual(source.watch.status(), "running")

    def test_it_was_started_anew_before_it_was_handed_over(self):
        """What is over there goes, and the next move is not kept."""
        move = self.killed("copy")
        move.watcher.stop()
        source = self.restarted(move)
        self.recover(move, HUMAN)
        hosts.wait_until(lambda: move.destination.status() in ("gone", "inmigrate"),
                         "nothing runs there")
        self.assertEqual(source.watch.status(), "running")
        self.assertEqual(self.command("recover", "--all"), "")

    def test_it_ran_here_since_and_has_ended(self):
        """The undo could not reach the other side. What waits there is old by now."""
        move = self.prepare(Guest(**WRITING), watch=False)
        process = self.halted(move, "run", "--timeout", "switchover=2", "--timeout", "answer=2",
                              "--timeout", "connect=2")
        self.cut_ssh()
        self.b.swallow_all()
        self.goes_on(process, HUMAN)
        self.b.unblock()
        move.source.wait_for_beats()
        move.source.quit()
        self.recover(move, HUMAN)
        self.assertEqual(move.destination.watch.status(), "paused")


    def test_its_disks_were_written_to_since(self):
        """As by a source that somebody let run on, before it ended."""
        for written in (False, True):
            with self.subTest(written=written):
                self.doCleanups()
                self.setUp()
                move = self.killed("switchover/acted")
                move.source.kill()
                if written:
                    later = time.time() + 5
                    os.utime(self.a.outside(move.guest.image(0)), (later, later))
                self.recover(move, HUMAN if written else DONE)
                self.assertEqual(move.destination.watch.status(),
                                 "paused" if written else "running")


class Others(HardTest):
    def test_a_guest_that_was_started_over_there(self):
        """The source's host went down while it copied; somebody runs the guest over there from a
        backup. That is not ours, though --start had started one there."""
        guest = Guest(disks=[Disk(dst_image=False)], **WRITING)
        move = self.prepare(guest, start_destination=False)
        command = shlex.join([*guest.argv(is_source=False), "-daemonize"])
        process = self.start_vmferry("migrate", "-F", self.a.ssh_config, "--start", command,
                                     move.source.qmp_sock, f"root@hostb:{move.source.qmp_sock}",
                                     env={"VMFERRY_TEST_HALT_BEFORE": "copy"})
        self.wait_for_halt(process, "copy")
        process.kill()
        process.communicate()
        move.source.kill()
        move.attach_destination()
        move.destination.kill()
        qemu = Qemu(guest, self.b, guest.argv(is_source=True))
        self.addCleanup(qemu.close)
        qemu.watch.wait_status("running")
        self.recover(move, HUMAN)
        self.assertEqual(qemu.watch.status(), "running")

    def test_a_source_that_was_a_destination_before(self):
        """Its QEMU says "completed" of the move that has brought the guest."""
        move = self.prepare(Guest(**WRITING), watch=False)
        self.vmferry(*self.arguments("migrate", move))
        back = move.guest.start_destination(self.a)
        self.addCleanup(back.close)
        process = self.b.popen([*self.vmferry_argv(), "migrate", "-F", self.b.ssh_config,
                                move.destination.qmp_sock, f"root@hosta:{back.qmp_sock}"],
                               env={"VMFERRY_TEST_HALT_BEFORE": "copy"})
        self.wait_for_halt(process, "copy")
        process.kill()
        process.wait()
        done = self.b.run([*self.vmferry_argv(), "recover", "-F", self.b.ssh_config, "--all"])
        self.assertIn("is on hosta", done.stderr)
        self.assertEqual(back.watch.status(), "running")

    def test_stopped_first(self):
        """A QEMU without pre-switchover: that it ran is on record before it is stopped."""
        move = self.prepare(Guest(**WRITING))
        relay = Relay(self.a, move.source.qmp_sock, hide=["migrate-continue"],
                      hide_capabilities=["pause-before-switchover"])
        self.addCleanup(relay.close)
        move.source.qmp_sock = relay.path
        move.before = move.traces()
        process = self.halted(move, "stop/acted")
        process.kill()
        process.communicate()
        self.recover(move)
        move.check_stayed()

    def test_paused_by_its_user_since(self):
        move = self.prepare(Guest(rate=10, dirty_per_beat=64, dirty_pages=4096, ram_mib=64))
        process = self.start_vmferry(*self.arguments("migrate", move, "--bandwidth", "4M"),
                                     env={"VMFERRY_TEST_HALT_BEFORE": "ram"})
        self.wait_for_halt(process, "ram")
        process.send_signal(signal.SIGCONT)
        hosts.wait_until(lambda: move.source.watch.command("query-migrate").get("status")
                         == "active", "RAM is sent")
        process.kill()
        process.communicate()
        move.source.watch.command("stop")
        self.recover(move)
        self.assertEqual(move.destination.watch.status(), "paused")

    def test_a_monitor_that_is_held(self):
        """sshd refuses it like one that is gone. That QEMU may run the guest any moment."""
        for moment in ("switchover/acted", "run/begun"):
            with self.subTest(moment=moment):
                self.doCleanups()
                self.setUp()
                move = self.killed(moment)
                with self.held(move.destination):
                    for _ in range(2):
                        self.assertIn("its monitor cannot be reached", self.recover(move, HUMAN))
                    self.assertEqual(move.source.watch.status(), "postmigrate")
                    self.assertEqual(move.destination.watch.status(), "paused")
                self.recover(move)
                move.check_moved()

    @contextlib.contextmanager
    def held(self, qemu):
        """Its monitor has a client, and others wait for their turn: more than its backlog takes."""
        path = self.b.outside(qemu.qmp_sock)
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket(socket.AF_UNIX))
            first.settimeout(hosts.DEADLINE_S)
            first.connect(path)
            self.assertIn(b"QMP", first.recv(4096))  # sshd has let go of it
            with self.assertRaises(BlockingIOError):
                while True:
                    other = stack.enter_context(socket.socket(socket.AF_UNIX))
                    other.setblocking(False)
                    other.connect(path)
            yield

    def test_a_host_that_never_comes_back(self):
        """What is to be done so that the guest can move elsewhere is said."""
        move = self.killed("copy")
        move.watcher.stop()
        self.b.swallow_all()
        said = self.recover(move, HUMAN)
        self.assertRegex(said, r"/var/lib/vmferry/\w+\.journal can go")

    def test_done_by_hand(self):
        """What exit 6 has told to do was done: the guest runs here, and its QEMU over there has
        ended."""
        move = self.killed("run/begun")
        move.destination.kill()
        self.recover(move, HUMAN)
        move.source.watch.command("cont")
        self.recover(move)
        move.check_stayed(may_complain=True)

    def test_done_by_hand_over_there(self):
        move = self.killed("run/begun")
        move.destination.watch.command("cont")
        move.source.quit()
        self.recover(move)
        move.check_moved()


class Cloned(CloneTest):
    def test_a_guard_that_still_holds_on(self):
        """It has not come to act yet. It ends the guest, and removes its files, when it does."""
        for moment in ("copy", "switchover/acted", "free/begun"):
            with self.subTest(moment=moment):
                self.doCleanups()
                self.setUp()
                move = self.prepare_clone()
                process = self.start_vmferry(*self.arguments_of("migrate", move),
                                             env={"VMFERRY_TEST_HALT_BEFORE": moment},
                                             stdout=-1, stderr=-1, text=True)
                self.wait_for_halt(process, moment)
                guards = [pid for pid, line in self.b.processes().items() if "made=" in line]
                for pid in guards:
                    self.b.run(["kill", "-STOP", pid])
                process.kill()
                process.communicate()
                done = self.vmferry("recover", "-F", self.a.ssh_config, "--all", check=False)
                for pid in guards:
                    self.b.run(["kill", "-CONT", pid])
                hosts.wait_until(self.no_qemu, "the guard ends what is over there")
                self.assertEqual(done.returncode, DONE, done.stderr)
                self.assertEqual(move.source.watch.status(), "running")

    def test_a_guard_that_has_let_go(self):
        move = self.prepare_clone()
        process = self.start_vmferry(*self.arguments_of("migrate", move),
                                     env={"VMFERRY_TEST_HALT_BEFORE": "run/begun"},
                                     stdout=-1, stderr=-1, text=True)
        self.wait_for_halt(process, "run/begun")
        process.kill()
        process.communicate()
        self.vmferry("recover", "-F", self.a.ssh_config, "--all")
        self.guard_goes()  # when it sees that its connection has gone: recover does not wait for it
        move.check_moved(allowed_litter=SOCKETS)


if __name__ == "__main__":
    unittest.main()
