"""The ports of disks and RAM are tried before anything is copied: one that a firewall has shut
is told within seconds, by its number, and nothing is left."""

import os
import signal
import subprocess
import sys
import time
import unittest

import hosts
from rig import Disk, Guest
from test_clone import SOCKETS, CloneTest
from test_faults import DONE, FAILED, HUMAN, FaultTest
from test_recover import RecoverTest
from test_start import StartTest

WRITING = {"rate": 300, "sectors": 127}
NBD, RAM = 49152, 49153
SOON_S = 20  # a swallowed port has 3 s; a busy machine adds
STRANGERS = """
import signal, socket, sys
there = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(20)]
for stranger in there:
    stranger.recv(1)
print(".", end="", flush=True)
signal.pause()
"""
SHUT = [("reject", "Connection refused"), ("drop", "timed out after 3 s")]


class ProbeTest(FaultTest):
    def shut(self, ports, how, migrate):
        """What a move says that finds these ports shut; it has come as far as to try them."""
        self.b.block(ports, how)
        begun = time.monotonic()
        done = migrate()
        self.assertLess(time.monotonic() - begun, SOON_S)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertRegex(done.stderr, r"(?m)^vmferry: .*\bprobe: hostb: ")
        self.assertIn("firewall, or name others with --ports, --data-address", done.stderr)
        self.b.unblock()
        return done.stderr


class Waiting(ProbeTest):
    def shut_for(self, move, ports, how, *options):
        return self.shut(ports, how, lambda: self.vmferry(
            *self.arguments("migrate", move, *options), check=False))

    def test_the_port_of_ram(self):
        for how, why in SHUT:
            with self.subTest(how=how):
                self.doCleanups()
                self.setUp()
                move = self.prepare(Guest(**WRITING))
                said = self.shut_for(move, RAM, how)
                self.assertIn(f"its port {RAM} (RAM) cannot be reached", said)
                self.assertIn(why, said)
                self.assertNotIn(str(NBD), said)
                self.assertEqual(how == "drop",  # told before it is given up
                                 f"port {RAM} (RAM) does not answer yet" in said)
                move.check_stayed()

    def test_the_port_of_disks(self):
        move = self.prepare(Guest(**WRITING))
        said = self.shut_for(move, NBD, "reject")
        self.assertIn(f"its port {NBD} (disks) cannot be reached", said)
        move.check_stayed()

    def test_both(self):
        move = self.prepare(Guest(**WRITING))
        said = self.shut_for(move, f"{NBD}-{RAM}", "drop", "--timeout", "connect=1")
        self.assertIn(f"its ports {NBD} (disks) and {RAM} (RAM) cannot be reached from here; "
                      "open them", said)
        move.check_stayed()

    def test_without_encryption(self):
        move = self.prepare(Guest(**WRITING))
        self.shut_for(move, RAM, "reject", "--encrypt=none")
        self.vmferry(*self.arguments("migrate", move, "--encrypt=none"))
        move.check_moved()

    def test_the_next_one_is_tried_where_one_is_taken(self):
        self.b.take_ports(NBD, RAM)
        move = self.prepare(Guest(**WRITING))
        said = self.shut_for(move, RAM + 2, "reject")
        self.assertIn(f"its port {RAM + 2} (RAM)", said)
        move.check_stayed()

    def test_one_port_is_not_enough(self):
        """Of two, another program has one."""
        self.b.take_ports(50000)
        move = self.prepare(Guest(**WRITING))
        done = self.vmferry(*self.arguments("migrate", move, "--ports", "50000-50001"), check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn("only 50001 is free there", done.stderr)
        move.check_stayed()


class Start(ProbeTest, StartTest):
    def test_the_port_of_ram(self):
        for how, _ in SHUT:
            with self.subTest(how=how):
                self.doCleanups()
                self.setUp()
                move = self.prepare_start()
                said = self.shut(RAM, how, lambda: self.migrate(move, check=False))
                self.assertIn(f"its port {RAM} (RAM) cannot be reached", said)
                self.assertFalse(os.path.exists(self.images(self.b, move)[0]))
                move.check_stayed(allowed_litter=SOCKETS)


class Clone(ProbeTest, CloneTest):
    def test_the_port_of_ram(self):
        for how, _ in SHUT:
            with self.subTest(how=how):
                self.doCleanups()
                self.setUp()
                move = self.prepare_clone()
                said = self.shut(RAM, how, lambda: self.migrate(move, check=False))
                self.assertIn(f"its port {RAM} (RAM) cannot be reached", said)
                self.no_images(move)
                self.assertTrue(self.no_qemu())
                move.check_stayed(allowed_litter=SOCKETS)


class Strangers(CloneTest):
    """They connect to the NBD server, read its greeting, and say nothing."""

    def strangers_at(self, process):
        strangers = self.a.popen([sys.executable, "-c", STRANGERS, self.b.ipv4, str(NBD)],
                                 stdout=subprocess.PIPE)
        self.assertEqual(strangers.stdout.read(1), b".")
        strangers.stdout.close()
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=90)
        strangers.kill()
        strangers.wait()
        return process.returncode, said

    def test_strangers_who_say_nothing_take_no_guest_away(self):
        """There is a place for us beside them. Where QEMU waits for them at the end for ever
        (qmp_nbd_stop_send), the guest is here again, and nothing but the journal is left."""
        move = self.prepare_clone()
        if move.source.watch.command("query-version")["qemu"]["major"] < 7:
            self.skipTest("5.2 over there may die of them, and the source's QEMU wait for it")
        process = self.start_vmferry(
            *self.arguments_of("migrate", move, "--timeout", "switchover=3", "--timeout", "answer=5"),
            env={"VMFERRY_TEST_HALT_BEFORE": "target"}, stdout=-1, stderr=-1, text=True)
        self.wait_for_halt(process, "target")
        code, said = self.strangers_at(process)
        self.assertIn(code, (DONE, HUMAN), said)
        if code == DONE:
            move.attach_destination()
            move.destination.wait_for_beats()
            move.check_moved_disks()
            return
        self.assertIn("switchover: hostb: nbd-server-stop: timed out", said)
        self.no_images(move)
        self.assertTrue(self.no_qemu())
        move.check_stayed(allowed_litter=[*SOCKETS, r"\.journal$"], may_complain=True)


class Killed(RecoverTest):
    def test_while_it_tries_a_port(self):
        """The NBD server over there is up, and recover ends it."""
        move = self.prepare(Guest(disks=[Disk()], **WRITING))
        self.b.block(RAM, "drop")
        process = self.start_vmferry(*self.arguments("migrate", move), stdout=-1, stderr=-1)
        hosts.wait_until(lambda: RAM in self.b.listening(), "the NBD server is where RAM will be")
        process.kill()
        process.communicate()
        self.b.unblock()
        self.assertIn(RAM, self.b.listening())
        self.assertIn("undone", self.recover(move))
        self.assertNotIn(RAM, self.b.listening())
        move.check_stayed()


if __name__ == "__main__":
    unittest.main(verbosity=2)
