"""The relay, and moves between QEMUs that can do less than those at hand."""

import json
import os
import re
import select
import signal
import socket
import time
import unittest

import hosts
from program import default_qemu
from qmp import Qmp, QmpError
from relay import Relay, behind, fail_next, in_front, peer_pid
from rig import Disk, Guest
from test_faults import FAILED, INTERRUPTED, REFUSED, FaultTest

WRITING = {"rate": 300, "sectors": 127}


class RelayTest(FaultTest):
    def relay(self, move, side, **hidden):
        """In front of the monitor of "source" or "destination" that vmferry uses."""
        qemu = getattr(move, side)
        relay = Relay(qemu.host, qemu.qmp_sock, **hidden)
        self.addCleanup(relay.close)
        qemu.qmp_sock = relay.path
        move.before = move.traces()
        return relay


class Moves(RelayTest):
    def move(self, guest, source=None, destination=None):
        """Through two relays, by what each hides. The commands that vmferry used."""
        move = self.prepare(guest)
        self.relay(move, "source", **source or {})
        self.relay(move, "destination", **destination or {})
        done = self.vmferry(*self.arguments("migrate", move, "--verbose"))
        move.check_moved()
        return set(re.findall(r'<- \{"execute": ?"([\w-]+)"', done.stderr))

    def test_nothing_is_hidden(self):
        used = self.move(Guest(disks=[Disk(), Disk(bus="scsi")], **WRITING))
        self.assertLess({"getfd", "block-export-add", "blockdev-mirror"}, used)

    def test_as_before_6_0(self):
        """No yank, no block-job-change."""
        hide = {"hide": ["yank", "query-yank", "block-job-change"]}
        used = self.move(Guest(disks=[Disk(), Disk(bus="scsi")], **WRITING), hide, hide)
        self.assertFalse(used & set(hide["hide"]))

    def test_as_before_5_2(self):
        """No block-export-add: nbd-server-add exports."""
        hide = {"hide": ["yank", "query-yank", "block-job-change", "block-export-add",
                         "block-export-del", "query-block-exports"]}
        used = self.move(Guest(disks=[Disk(), Disk(bus="scsi")], **WRITING), hide, hide)
        self.assertIn("nbd-server-add", used)
        self.assertFalse(used & set(hide["hide"]))

    def test_as_before_2_11(self):
        """No pause-before-switchover: the guest is stopped and the mirrors end first."""
        hide = {"hide": ["migrate-continue"], "hide_capabilities": ["pause-before-switchover"]}
        used = self.move(Guest(disks=[Disk(), Disk(bus="scsi")], **WRITING), hide)
        self.assertIn("stop", used)

    def test_as_before_2_11_paused(self):
        hide = {"hide": ["migrate-continue"], "hide_capabilities": ["pause-before-switchover"]}
        self.move(Guest(paused=True), hide)

    def test_as_before_2_11_interrupted(self):
        for step in ("stop", "part", "listen", "ram", "switchover"):
            with self.subTest(step=step):
                self.doCleanups()
                self.setUp()
                move = self.prepare(Guest(**WRITING))
                self.relay(move, "source", hide=["migrate-continue"],
                           hide_capabilities=["pause-before-switchover"])
                process = self.halted(move, step)
                process.send_signal(signal.SIGINT)
                self.goes_on(process, INTERRUPTED)
                move.check_stayed()

    def test_as_before_2_11_where_the_network_dies(self):
        """`stop` drains the mirrors first, and is not answered: the guest runs on here soon, not
        when QEMU gives their connections up."""
        move = self.prepare(Guest(**WRITING), watch=False)
        self.relay(move, "source", hide=["migrate-continue"],
                   hide_capabilities=["pause-before-switchover"])
        process = self.halted(move, "stop", "--timeout", "answer=4")
        self.b.block("49152-49215", "drop")
        said = self.goes_on(process, FAILED)
        self.assertIn("stop: source: stop: timed out after 4 s", said)
        self.b.unblock()
        move.check_stayed()

    def test_without_a_return_path(self):
        hide = {"hide_capabilities": ["return-path"]}
        self.move(Guest(**WRITING), hide, hide)

    def test_without_blockdev_mirror(self):
        used = self.move(Guest(**WRITING), {"hide": ["blockdev-mirror"]})
        self.assertIn("drive-mirror", used)

    def test_source_dies(self):
        """Its monitor's relay ends with it, so nobody listens there any more."""
        move = self.prepare(Guest(rate=0))
        relay = self.relay(move, "source")
        with Qmp(self.a.outside(relay.path)):
            move.source.kill()
        hosts.wait_until(lambda: refuses(self.a.outside(relay.path)), "nobody listens")


class Refusals(RelayTest):
    def refused(self, side, *words, **hidden):
        move = self.prepare(Guest(**WRITING))
        self.relay(move, side, **hidden)
        done = self.vmferry(*self.arguments("migrate", move), check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        move.check_stayed()

    def test_no_nbd_server(self):
        self.refused("destination", "hostb: its QEMU has no NBD server", "1 objection",
                     hide=["nbd-server-start", "nbd-server-add", "block-export-add"])

    def test_no_mirror(self):
        self.refused("source", "neither blockdev-mirror nor drive-mirror",
                     hide=["blockdev-mirror", "drive-mirror"])

    def test_no_late_block_activate(self):
        self.refused("destination", "hostb: this QEMU has no late-block-activate",
                     hide_capabilities=["late-block-activate"])


class TheRelay(RelayTest):
    def connect(self, **hidden):
        """A guest, and a client of its monitor by a relay."""
        move = self.prepare(Guest(rate=0))
        path = self.a.outside(self.relay(move, "source", **hidden).path)
        client = Qmp(path)
        self.addCleanup(client.close)
        return move, client, path

    def error(self, client, command, **arguments):
        with self.assertRaises(QmpError) as caught:
            client.command(command, arguments)
        return caught.exception

    def test_hidden_command(self):
        move, client, _ = self.connect(hide=["query-block"])
        error = self.error(client, "query-block")
        self.assertEqual(error.error_class, "CommandNotFound")
        self.assertEqual(error.desc, "The command query-block has not been found")
        names = {item["name"] for item in client.command("query-commands")}
        of_qemu = {item["name"] for item in move.source.watch.command("query-commands")}
        self.assertEqual(of_qemu - names, {"query-block"})

    def test_hidden_capability(self):
        move, client, _ = self.connect(hide_capabilities=["events"])
        wanted = [{"capability": "events", "state": True}, {"capability": "xbzrle", "state": True}]
        error = self.error(client, "migrate-set-capabilities", capabilities=wanted)
        self.assertEqual(error.error_class, "GenericError")
        self.assertIn("events", error.desc)
        self.assertNotIn("hidden", error.desc)
        client.command("migrate-set-capabilities", {"capabilities": wanted[1:]})
        states = {item["capability"]: item["state"]
                  for item in client.command("query-migrate-capabilities")}
        self.assertTrue(states["xbzrle"])
        of_qemu = {item["capability"]
                   for item in move.source.watch.command("query-migrate-capabilities")}
        self.assertEqual(of_qemu - set(states), {"events"})

    def test_answers_keep_their_order(self):
        """Commands sent at once are answered one after the other, by their ids."""
        _, client, _ = self.connect(hide=["query-block"])
        commands = ["query-name", "query-block", "query-commands", "query-block", "query-status"]
        lines = [json.dumps({"execute": command, "id": number})
                 for number, command in enumerate(commands)]
        client._socket.sendall("\n".join([*lines, ""]).encode())
        answers = [answer(client) for _ in commands]
        self.assertEqual([got["id"] for got in answers], list(range(5)))
        self.assertEqual(["error" in got for got in answers],
                         [False, True, False, True, False])
        self.assertNotIn({"name": "query-block"}, answers[2]["return"])

    def test_events_come(self):
        move, client, _ = self.connect()
        move.source.watch.command("stop")
        client.wait_event("STOP")

    def test_a_descriptor_goes_along(self):
        move, client, _ = self.connect()
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        line = json.dumps({"execute": "getfd", "arguments": {"fdname": "log"}}).encode()
        socket.send_fds(client._socket, [line + b"\n"], [writer])
        os.close(writer)
        self.assertIn("return", answer(client))
        client.command("closefd", fdname="log")
        self.assertTrue(select.select([reader], [], [], 10)[0], "somebody holds the descriptor")
        self.assertEqual(os.read(reader, 1), b"")

    def test_one_client_at_a_time(self):
        _, client, path = self.connect()
        with socket.socket(socket.AF_UNIX) as second:
            second.settimeout(0.3)
            second.connect(path)
            self.assertRaises(TimeoutError, second.recv, 1)
            client.close()
            second.settimeout(10)
            self.assertIn(b"QMP", second.recv(1000))

    def test_relative_image_of_the_source(self):
        """vmferry looks up the working directory of the process that listens."""
        directory = Guest().directory
        move = self.prepare(Guest(
            rate=0, qemu=["env", "-C", directory, *default_qemu()], extra=[
                "-blockdev", "file,node-name=extra,filename=guest.bin,locking=off",
                "-device", "virtio-blk-pci,drive=extra,id=devextra"]))
        self.relay(move, "source")
        done = self.vmferry(*self.arguments("check", move, "--json"), check=False)
        disks = {line["name"]: line["source"] for line in map(json.loads, done.stdout.splitlines())
                 if line["type"] == "disk"}
        self.assertEqual(disks["extra"], f"{directory}/guest.bin")


class InFront(RelayTest):
    """What QEMUs have on their path from the start, and errors made for a test."""

    def start(self, take_path):
        guest = Guest()
        path = f"{guest.directory}/qmp.sock"
        guest.qemu = in_front(path, default_qemu(), take_path=take_path)
        qemu = guest.start(self.a)
        self.addCleanup(qemu.close)
        behind_it = self.a.outside(behind(path))
        hosts.wait_until(lambda: os.path.exists(behind_it), "the relay is in its place")
        return qemu, Qmp(self.a.outside(path))

    def test_one_command_fails_once(self):
        for take_path in (False, True):
            with self.subTest(take_path=take_path):
                self.doCleanups()
                self.setUp()
                _, client = self.start(take_path)
                self.addCleanup(client.close)
                given = fail_next(self.a, "query-name")
                client.command("query-status")
                self.assertFalse(given())
                with self.assertRaisesRegex(QmpError, "made by a test"):
                    client.command("query-name")
                self.assertTrue(given())
                client.command("query-name")

    def test_a_descriptor_of_what_fails_is_dropped(self):
        _, client = self.start(take_path=True)
        self.addCleanup(client.close)
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        fail_next(self.a, "getfd")
        line = json.dumps({"execute": "getfd", "arguments": {"fdname": "log"}}).encode()
        socket.send_fds(client._socket, [line + b"\n"], [writer])
        os.close(writer)
        self.assertIn("error", answer(client))
        self.assertEqual(os.read(reader, 1), b"")

    def test_whoever_connects_sees_qemu(self):
        qemu, client = self.start(take_path=True)
        self.addCleanup(client.close)
        self.assertEqual(peer_pid(client._socket), qemu.process.pid)
        self.assertIn(client.path.rsplit("/", 1)[1] + ",", self.a.processes()[qemu.process.pid])

    def test_it_ends_with_its_qemu(self):
        qemu, client = self.start(take_path=False)
        client.close()
        qemu.kill()
        hosts.wait_until(lambda: not [line for line in self.a.processes().values()
                                      if "--in-front" in line], "the relay ends")
        self.assertFalse(os.path.exists(client.path))


def answer(client):
    return client._receive(time.monotonic() + hosts.DEADLINE_S)


def refuses(path):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
    return False


if __name__ == "__main__":
    unittest.main(verbosity=2)
