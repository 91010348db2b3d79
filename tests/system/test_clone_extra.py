"""--copy-extra: what does not move and is not on the destination is copied there at first."""

import json
import os
import signal
import unittest

import hosts
from program import become, default_qemu
from rig import Disk
from test_clone import RANDOM_NODES, SOCKETS, CloneTest
from test_clone_guests import CODE, NOBODY, Daemon, UefiTest
from test_faults import DONE, FAILED, INTERRUPTED, REFUSED


class CopyExtra(CloneTest):
    def prepare_extra(self, missing, **settings):
        move = self.prepare_clone(**({"cdrom": "iso", "disks": [Disk(dst_image=False)]}
                                     | settings))
        self.missing = [f"{move.guest.directory}/{name}" for name in missing]
        for path in self.missing:
            os.unlink(self.b.outside(path))
        return move

    def contents(self, host, path):
        with open(host.outside(path), "rb") as file:
            return file.read()

    def no_extras(self):
        for path in self.missing:
            self.assertFalse(os.path.exists(self.b.outside(path)), path)

    def test_they_are_copied(self):
        move = self.prepare_extra(["guest.bin", "cd.iso"])
        os.chmod(self.a.outside(self.missing[1]), 0o440)
        self.migrate(move, "--copy-extra")
        for path in self.missing:
            self.assertEqual(self.contents(self.b, path), self.contents(self.a, path))
        self.assertEqual(os.stat(self.b.outside(self.missing[1])).st_mode & 0o7777, 0o440)
        move.check_moved([*RANDOM_NODES, r"guest\.bin$", r"cd\.iso$"])

    def test_their_owner_is_that_of_the_source_s(self):
        move = self.prepare_extra(["cd.iso"])
        os.chown(self.a.outside(self.missing[0]), 61234, 61235)
        self.migrate(move, "--copy-extra")
        made = os.stat(self.b.outside(self.missing[0]))
        self.assertEqual((made.st_uid, made.st_gid), (61234, 61235))
        move.check_moved([*RANDOM_NODES, r"cd\.iso$"])

    def test_a_link_in_its_place(self):
        """Nothing is made where it leads to."""
        move = self.prepare_extra(["cd.iso"])
        process = self.halted_clone(move, "extra", "--copy-extra")
        os.symlink("victim", self.b.outside(self.missing[0]))
        self.assertIn("already exists", self.goes_on(process, FAILED))
        self.assertFalse(os.path.exists(self.b.outside(f"{move.guest.directory}/victim")))
        os.unlink(self.b.outside(self.missing[0]))
        move.check_stayed()

    def test_they_are_the_other_user_s(self):
        guest = Daemon(disks=[Disk(dst_image=False)], cdrom="iso",
                       extra=become("nobody"), rate=300, sectors=127)
        guest.owner = "nobody"
        move = self.prepare(guest, start_destination=False)
        path = self.b.outside(f"{guest.directory}/cd.iso")
        os.unlink(path)
        self.migrate(move, "--copy-extra")
        self.assertEqual(os.stat(path).st_uid, NOBODY)
        move.check_moved([*RANDOM_NODES, *SOCKETS, r"cd\.iso$"])

    def test_an_existing_file_stays(self):
        move = self.prepare_extra(["cd.iso"])
        path = self.b.outside(f"{move.guest.directory}/guest.bin")
        before = os.stat(path)
        self.migrate(move, "--copy-extra")
        self.assertEqual(os.stat(path).st_mtime_ns, before.st_mtime_ns)
        move.check_moved([*RANDOM_NODES, r"cd\.iso$"])

    def test_one_that_came_meanwhile_stays(self):
        """It is created exclusively."""
        move = self.prepare_extra(["cd.iso"])
        process = self.halted_clone(move, "extra", "--copy-extra")
        path = self.b.outside(self.missing[0])
        with open(path, "w") as file:
            file.write("precious")
        said = self.goes_on(process, FAILED)
        self.assertIn("already exists", said)
        self.assertEqual(self.contents(self.b, self.missing[0]), b"precious")
        os.unlink(path)
        self.no_images(move)
        move.check_stayed()

    def test_check_lists_them(self):
        move = self.prepare_extra(["guest.bin", "cd.iso"])
        said = self.check(move, "--copy-extra")
        self.assertIn(f"copied first: {self.missing[1]} (1.0 MiB)", said.stdout)
        told = [json.loads(line) for line in
                self.check(move, "--copy-extra", "--json").stdout.splitlines()]
        self.assertEqual([(line["source"], line["destination"], line["size_bytes"])
                          for line in told if line["type"] == "extra"],
                         [(path, path, os.path.getsize(self.a.outside(path)))
                          for path in self.missing])
        self.no_extras()
        move.check_stayed()

    def test_refused_with_the_way_out(self):
        move = self.prepare_extra(["cd.iso"])
        done = self.migrate(move, check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("copy it there (--copy-extra does)", done.stderr)

    def test_a_floppy_is_not_copied(self):
        """The guest could write to it meanwhile."""
        move = self.prepare_extra(["floppy.img"], floppy=True, cdrom=None)
        done = self.migrate(move, "--copy-extra", check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("the guest may write to it, so --copy-extra does not copy it", done.stderr)
        self.no_extras()
        move.check_stayed()

    def test_no_room(self):
        move = self.prepare_extra(["cd.iso"])
        os.truncate(self.a.outside(self.missing[0]), 1 << 43)
        done = self.migrate(move, "--copy-extra", check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("not enough free space", done.stderr)
        self.no_extras()

    def test_undone_at_each_step(self):
        """Ctrl-C, a cut connection, kill -9: they go like the disks that were made."""
        faults = {"sigint": (lambda process: process.send_signal(signal.SIGINT), INTERRUPTED),
                  "cut": (lambda process: self.cut_ssh(), FAILED),
                  "kill": (lambda process: process.kill(), -signal.SIGKILL)}
        for fault, (act, code) in faults.items():
            for step in ("extra", "clone", "copy"):
                with self.subTest(fault=fault, step=step):
                    self.doCleanups()
                    self.setUp()
                    move = self.prepare_extra(["guest.bin", "cd.iso"])
                    process = self.halted_clone(move, step, "--copy-extra")
                    act(process)
                    self.goes_on(process, code)
                    for path in self.missing:
                        hosts.wait_until(lambda: not os.path.exists(self.b.outside(path)),
                                         f"{path} goes")
                    hosts.wait_until(self.no_qemu, "the QEMU over there ends")
                    hosts.wait_until(lambda: not os.path.exists(
                        self.b.outside(move.guest.image(0))), "its disk goes")
                    self.guard_goes()
                    if fault != "kill":
                        move.check_stayed(allowed_litter=SOCKETS, may_complain=True)

    def test_recovered_when_nobody_guards_them_any_more(self):
        """vmferry dies between the guard's release and the point of no return, then the QEMU over
        there: recover takes back what was made."""
        move = self.prepare_extra(["guest.bin", "cd.iso"])
        process = self.halted_clone(move, "run", "--copy-extra")
        process.kill()
        process.communicate()
        move.attach_destination()
        move.destination.kill()
        stranger = self.b.outside(self.missing[1])
        os.rename(stranger, stranger + ".mine")
        with open(stranger, "w", encoding="ascii") as file:
            file.write("somebody's")
        done = self.vmferry("recover", "-F", self.a.ssh_config, move.guest.name, check=False)
        self.assertEqual(done.returncode, DONE, done.stdout + done.stderr)
        self.assertFalse(os.path.exists(self.b.outside(self.missing[0])))
        with open(stranger, encoding="ascii") as file:
            self.assertEqual(file.read(), "somebody's")
        self.no_images(move)

    def test_interrupted_in_the_middle(self):
        """A big one, over a slow link: it tells how far it is, and ends when it is told to."""
        move = self.prepare_extra(["cd.iso"])
        with open(self.a.outside(self.missing[0]), "wb") as file:
            file.write(os.urandom(1 << 20) * 64)
        self.a.slow_link("40mbit")
        process = self.start_vmferry(*self.arguments_of("migrate", move, "--copy-extra", "--json"),
                                     stdout=-1, stderr=-1, text=True)
        for line in process.stdout:
            told = json.loads(line)
            if told["type"] == "progress" and told["done_bytes"] > 2 << 20:
                break
        self.assertEqual((told["name"], told["total_bytes"]), ("cd.iso", 64 << 20))
        self.assertTrue(os.path.exists(self.b.outside(self.missing[0])))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, INTERRUPTED, out + err)
        self.a.slow_link(None)
        self.no_extras()
        self.no_images(move)
        move.check_stayed()

    def test_changed_while_it_is_copied(self):
        move = self.prepare_extra(["cd.iso"])
        process = self.halted_clone(move, "extra", "--copy-extra")
        with open(self.a.outside(self.missing[0]), "ab") as file:
            file.write(b"more")
        said = self.goes_on(process, FAILED)
        self.assertIn("was changed while it was copied", said)
        self.no_extras()
        move.check_stayed()


class CopyVariableStore(UefiTest):
    def halted_before_clone(self):
        process = self.start_vmferry("migrate", "--clone", "--copy-extra", "-F",
                                     self.a.ssh_config, f"{self.DIRECTORY}/qmp.sock",
                                     "root@hostb", env={"VMFERRY_TEST_HALT_BEFORE": "clone"},
                                     stdout=-1, stderr=-1, text=True)
        self.wait_for_halt(process, "clone")
        return process

    def test_what_is_written_after_the_copy_is_not_lost(self):
        os.unlink(self.b.outside(f"{self.DIRECTORY}/vars.fd"))
        process = self.halted_before_clone()
        self.assertEqual(self.vars(self.b), self.vars(self.a))
        copied = self.vars(self.b)
        seen = len(self.serial(self.a))
        self.watch.command("system_reset")
        hosts.wait_until(lambda: b"Shell>" in self.serial(self.a)[seen:], "the UEFI shell", 120)
        self.assertNotEqual(self.vars(self.a), copied)
        self.goes_on(process, DONE)
        self.check_uefi_moved()

    def test_a_store_that_is_no_raw_image_is_not_copied(self):
        """Its metadata may change while it is copied."""
        raw, qcow2 = (f"{self.DIRECTORY}/vars.{name}" for name in ("fd", "qcow2"))
        self.a.run(["qemu-img", "convert", "-U", "-f", "raw", "-O", "qcow2", raw, qcow2])
        source = self.a.popen([
            *default_qemu(), "-name", "two", "-M", "pc", "-accel", "tcg", "-m", "128",
            "-nodefaults", "-display", "none", "-S",
            "-qmp", f"unix:{self.DIRECTORY}/two.sock,server=on,wait=off",
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={CODE}",
            "-drive", f"if=pflash,unit=1,format=qcow2,file={qcow2}"])
        self.addCleanup(source.wait)
        self.addCleanup(source.kill)
        socket = f"{self.DIRECTORY}/two.sock"
        hosts.wait_until(lambda: socket in self.a.unix_sockets(), "its monitor")
        done = self.vmferry("migrate", "--clone", "--copy-extra", "-F", self.a.ssh_config,
                            socket, "root@hostb", check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("--copy-extra does not copy it", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
