"""What goes between two hosts is encrypted, by a key of which nothing is left."""

import base64
import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import unittest

import hosts
import wire
from rig import Disk, Guest
from test_faults import DONE, FAILED, FaultTest
from test_recover import RecoverTest

WRITING = {"rate": 300, "sectors": 127}
NBD, RAM = 49152, 49153
ENOUGH = 200_000  # bytes that a move sends at least to either port
KEYS = "/run/vmferry-*"


def keys_of(host):
    """Directories with a key, and what is in them."""
    return sorted(str(path)[len(f"/proc/{host.pid}/root"):] for pattern in (KEYS, KEYS + "/*")
                  for path in pathlib.Path(f"/proc/{host.pid}/root").glob(pattern[1:])
                  if not str(path).split("/run/")[1].startswith(
                      ("vmferry-test", "vmferry-etc", "vmferry-home")))


class Wire(FaultTest):
    def sniffed_move(self, *options, **kind):
        """What came to each port of hostb: bytes, and how often what the guest writes to its
        disk, and has in RAM, was in it."""
        guest = Guest(**WRITING, **kind)
        mark = struct.pack("<4sI", b"VMFF", guest.id)
        move = self.prepare(guest)
        with wire.sniffed(self.b, mark) as came:
            done = self.vmferry(*self.arguments("migrate", move, *options))
        move.check_moved()
        return came, done.stderr

    def test_nothing_of_the_guest_is_on_the_wire(self):
        came, said = self.sniffed_move()
        for port in (NBD, RAM):
            count, marks = came[port]
            self.assertGreater(count, ENOUGH)
            self.assertEqual(marks, 0, f"port {port}")
        self.assertNotIn("NOT ENCRYPTED", said)

    def test_without_encryption_it_is(self):
        """That the test above can fail."""
        came, said = self.sniffed_move("--encrypt=none")
        for port in (NBD, RAM):
            self.assertIn(port, came)
            count, marks = came[port]
            self.assertGreater(count, ENOUGH)
            self.assertGreater(marks, 100, f"port {port}")
        self.assertEqual(said.count("NOT ENCRYPTED"), 1)

    def test_drive_mirror(self):
        came, _ = self.sniffed_move("--mirror=drive")
        self.assertEqual([came[port][1] for port in (NBD, RAM)], [0, 0])

    def test_the_old_way(self):
        came, _ = self.sniffed_move("--mirror=none", style="drive")
        self.assertGreater(came[NBD][0], ENOUGH)  # disks and RAM on one port
        self.assertEqual([marks for _, marks in came.values()], [0] * len(came))

    def stranger_at(self, *options):
        move = self.prepare(Guest(**WRITING))
        process = self.halted(move, "target", *options)
        exports = [export["id"]
                   for export in move.destination.watch.command("query-block-exports")]
        replies = wire.stranger(self.a, self.b.ipv4, NBD, exports[0])
        self.moves_on(move, process)
        return [[reply for reply, _ in answers] for answers in replies]

    def moves_on(self, move, process):
        """Its QEMU says on stderr that there was a stranger."""
        self.goes_on(process, DONE)
        move.destination.wait_for_beats()
        move.check_moved_disks()

    def test_a_stranger_gets_nothing(self):
        self.assertEqual(self.stranger_at(),
                         [[wire.NBD_REP_ERR_TLS_REQD], [wire.NBD_REP_ERR_TLS_REQD]])

    def test_without_encryption_he_gets_all(self):
        lists, goes = self.stranger_at("--encrypt=none")
        self.assertIn(wire.NBD_REP_SERVER, lists)
        self.assertIn(wire.NBD_REP_INFO, goes)

    def test_a_stranger_with_another_key_gets_nothing(self):
        move = self.prepare(Guest(**WRITING))
        process = self.halted(move, "target")
        export = move.destination.watch.command("query-block-exports")[0]["id"]
        (key,) = [name for name in keys_of(self.b) if name.endswith(".psk")]
        sizes = [self.look_in(pathlib.Path(self.b.outside(key)).read_text(), export),
                 self.look_in("vmferry:" + "5a" * 32 + "\n", export)]
        self.moves_on(move, process)
        self.assertEqual(sizes, [True, False])

    def look_in(self, key, export):
        """Whether who has this key sees the export."""
        self.a.run(["mkdir", "-p", "other"])
        directory = f"{self.a.run(['pwd']).stdout.strip()}/other"
        pathlib.Path(self.a.outside(directory), "keys.psk").write_text(key)
        seen = self.a.run(["qemu-img", "info", "--object",
                           f"tls-creds-psk,id=k,dir={directory},endpoint=client,username=vmferry",
                           "--image-opts", f"driver=nbd,host={self.b.ipv4},port={NBD},"
                           f"export={export},tls-creds=k"], check=False)
        self.a.run(["rm", "-r", directory])
        return seen.returncode == 0


class Keys(RecoverTest):
    def test_the_key_is_seen_by_its_qemu_only(self):
        """Not by other users; not in a command line, the journal, or what --verbose says."""
        move = self.prepare(Guest(**WRITING))
        process = self.halted(move, "copy", "--verbose")
        directory, *files = keys_of(self.b)
        self.assertEqual(keys_of(self.a), [])
        for path, mode in ((directory, 0o40700), (files[-1], 0o100600)):
            self.assertEqual(os.stat(self.b.outside(path)).st_mode, mode, path)
        key = re.fullmatch("vmferry:([0-9a-f]{64})\n",
                           pathlib.Path(self.b.outside(files[-1])).read_text()).group(1)
        told = [*self.a.processes().values(), *self.b.processes().values(),
                *(pathlib.Path(self.a.outside(path)).read_text() for path in self.a.journals())]
        self.assertTrue(any(directory in text for text in told))
        self.assertFalse([text for text in told if key in text])
        self.assertNotIn(key, self.goes_on(process, DONE))
        move.check_moved()

    def test_json_does_not_tell_it(self):
        """Every line of QMP is there, also those that make the objects which have the key."""
        move = self.prepare(Guest(**WRITING))
        process = self.halted(move, "copy", "--verbose", "--json")
        (path,) = [path for path in keys_of(self.b) if path.endswith(".psk")]
        key = pathlib.Path(self.b.outside(path)).read_text().split(":")[1].strip()
        records = [pathlib.Path(self.a.outside(path)).read_text() for path in self.a.journals()]
        self.assertTrue(records)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=90)
        self.assertEqual(process.returncode, DONE, err)
        sent = [line["text"] for line in map(json.loads, out.splitlines())
                if line["type"] == "qmp" and line["direction"] == "sent"]
        self.assertTrue([text for text in sent if "tls-creds-psk" in text])
        for form in (key, key.upper(), base64.b64encode(bytes.fromhex(key)).decode()):
            self.assertFalse([text for text in (out, err, *records) if form in text])
        move.check_moved()

    def test_no_core_has_it(self):
        """Of a vmferry that crashes when it has drawn one, even where cores are wanted."""
        for halt, number, dumps in (("keys", signal.SIGABRT, True), ("probe", signal.SIGABRT, False),
                                    ("probe", signal.SIGSEGV, False)):
            with self.subTest(halt=halt, number=number):
                self.doCleanups()
                self.setUp()
                self.crashed(halt, number, dumps)

    def crashed(self, halt, number, dumps):
        """Before that step, by that signal; whether the kernel was to dump a core, and where one
        lies when it does so into the working directory."""
        move = self.prepare(Guest(rate=0))
        directory = f"{hosts.WORK}/cores"
        self.a.run(["mkdir", directory])
        process = self.a.popen(["sh", "-c", 'ulimit -c unlimited && exec "$0" "$@"',
                                *self.vmferry_argv(), *self.arguments("migrate", move)],
                               cwd=directory, env={
                                   "VMFERRY_TEST_HALT_BEFORE": halt,
                                   "ASAN_OPTIONS": "disable_coredump=0:handle_segv=0"},
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_for_halt(process, halt)
        _, status = self.ended_by(process.pid, number)
        self.assertEqual(os.WTERMSIG(status), number)
        self.assertEqual(os.WCOREDUMP(status), dumps)
        if pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip() == "core":
            self.assertEqual(len(os.listdir(self.a.outside(directory))), int(dumps))

    @staticmethod
    def ended_by(pid, number):
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
        return os.waitpid(pid, 0)

    def test_each_move_has_its_own(self):
        keys = set()
        for _ in range(2):
            self.doCleanups()
            self.setUp()
            move = self.prepare(Guest(**WRITING))
            process = self.halted(move, "serve")
            (path,) = [path for path in keys_of(self.b) if path.endswith(".psk")]
            keys.add(pathlib.Path(self.b.outside(path)).read_text())
            self.goes_on(process, DONE)
            move.check_moved()
        self.assertEqual(len(keys), 2)

    def test_a_kept_source_is_as_before(self):
        move = self.prepare(Guest(**WRITING))
        self.vmferry(*self.arguments("migrate", move, "--keep-source"))
        parameters = move.source.watch.command("query-migrate-parameters")
        self.assertEqual((parameters["tls-creds"], parameters["tls-hostname"]), ("", ""))
        objects = move.source.watch.command("qom-list", path="/objects")
        self.assertFalse([item for item in objects if "vmferry" in item["name"]])
        parameters = move.destination.watch.command("query-migrate-parameters")
        self.assertEqual(parameters["tls-creds"], "")
        move.check_moved()

    def test_the_users_own_name_comes_back(self):
        move = self.prepare(Guest(**WRITING))
        name = {"tls-hostname": "my.own"}
        move.source.watch.command("migrate-set-parameters", **name)
        move.settings[1].update(name)
        process = self.halted(move, "detach")
        process.kill()
        process.communicate()
        move.destination.kill()
        self.recover(move)
        move.check_stayed(may_complain=True)

    def test_killed_at_the_key(self):
        for moment in ("keys/begun", "keys/acted"):
            with self.subTest(moment=moment):
                self.doCleanups()
                self.setUp()
                move = self.killed(moment)
                self.assertIn("undone", self.recover(move))
                move.check_stayed()

    def test_killed_with_the_destination_gone(self):
        """Its directory is removed though no QEMU is there any more."""
        move = self.killed("copy")
        move.destination.kill()
        self.assertEqual(len([path for path in keys_of(self.b) if path.endswith(".psk")]), 1)
        self.recover(move)
        self.assertEqual(keys_of(self.b), [])
        move.check_stayed(may_complain=True)

    def test_another_users_qemu(self):
        """The key is its user's, not the login's."""
        move = self.prepare(Guest(dst_extra=["-runas", "nobody"], src_extra=["-runas", "nobody"],
                                  **WRITING))
        for host in (self.a, self.b):
            host.run(["chown", "-R", "nobody", move.guest.directory])
        process = self.halted(move, "serve")
        owners = {os.stat(self.b.outside(path)).st_uid for path in keys_of(self.b)}
        self.assertEqual(owners, {65534})
        self.goes_on(process, DONE)
        move.check_moved()

    def test_a_qemu_that_cannot_see_the_key(self):
        """Refused before anything was copied, with the other ways."""
        self.b.run(["mkdir", "empty"])
        empty = self.b.run(["readlink", "-f", "empty"]).stdout.strip()
        move = self.prepare(Guest(dst_extra=["-chroot", empty], **WRITING))
        done = self.vmferry(*self.arguments("migrate", move), check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        for words in ("hostb: its QEMU cannot take a key", "keys.psk", "--encrypt=x509:DIR",
                      "--encrypt=none"):
            self.assertIn(words, done.stderr)
        move.check_stayed()

    def test_the_plan_tells(self):
        move = self.prepare(Guest(**WRITING))
        for option, words in (("--encrypt=psk", "encrypted, by a key made for this move"),
                              ("--encrypt=none", "NOT ENCRYPTED")):
            done = self.vmferry(*self.arguments("check", move, option))
            self.assertIn(words, done.stdout)
        done = self.vmferry(*self.arguments("check", move, "--json"))
        self.assertIn('"encryption":"psk"', done.stdout)


class Certificates(FaultTest):
    PKI = "/run/vmferry-home/pki"

    def certificates(self, host, ca, name):
        """Gives this host what QEMU wants: certificates of one name, made by one authority."""
        directory = pathlib.Path(host.outside(self.PKI))
        directory.mkdir()
        (directory / "ca-cert.pem").write_bytes((ca / "ca-cert.pem").read_bytes())
        for end in ("server", "client"):
            openssl(directory, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", f"{end}-key.pem", "-out", "request",
                    "-subj", f"/CN={name}")
            (directory / "extensions").write_text(
                f"subjectAltName=DNS:{name}\nextendedKeyUsage={end}Auth\n"
                "keyUsage=digitalSignature,keyEncipherment\nbasicConstraints=CA:FALSE\n")
            openssl(directory, "x509", "-req", "-in", "request", "-CA", str(ca / "ca-cert.pem"),
                    "-CAkey", str(ca / "ca-key.pem"), "-CAcreateserial", "-days", "2",
                    "-extfile", "extensions", "-out", f"{end}-cert.pem")

    def authority(self, name):
        directory = pathlib.Path(self.a.outside("/run/vmferry-home")) / name
        directory.mkdir()
        openssl(directory, "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca-key.pem", "-out",
                "ca-cert.pem", "-subj", f"/CN={name}", "-days", "2",
                "-addext", "keyUsage=critical,keyCertSign")
        return directory

    def migrate(self, move):
        return self.vmferry(*self.arguments("migrate", move, f"--encrypt=x509:{self.PKI}"),
                            check=False)

    def test_certificates(self):
        ca = self.authority("ca")
        self.certificates(self.a, ca, "hosta")
        self.certificates(self.b, ca, "hostb")
        move = self.prepare(Guest(disks=[Disk(), Disk()], **WRITING))
        mark = struct.pack("<4sI", b"VMFF", move.guest.id)
        with wire.sniffed(self.b, mark) as came:
            done = self.migrate(move)
        self.assertEqual(done.returncode, DONE, done.stderr)
        self.assertEqual([came[port][1] for port in (NBD, RAM)], [0, 0])
        move.check_moved()

    def refused(self, *words):
        move = self.prepare(Guest(**WRITING))
        done = self.migrate(move)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        move.check_stayed(may_complain=True)

    def test_another_hosts_certificate(self):
        ca = self.authority("ca")
        self.certificates(self.a, ca, "hosta")
        self.certificates(self.b, ca, "hostc")
        self.refused("hostb")

    def test_another_authority(self):
        self.certificates(self.a, self.authority("ca"), "hosta")
        self.certificates(self.b, self.authority("another"), "hostb")
        self.refused("ertificate")

    def test_no_certificates(self):
        self.refused("cannot encrypt by certificates", "--encrypt=none")


def openssl(directory, *arguments):
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
