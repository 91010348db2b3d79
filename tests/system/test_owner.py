"""Who owns what vmferry makes on hostb, and what is planted there for it to fall over."""

import os
import pathlib
import signal
import subprocess
import unittest

import hosts
from rig import Disk
from test_faults import FAILED, INTERRUPTED, REFUSED
from test_files import Gate
from test_start import StartTest

NOBODY_KNOWS = 61234, 61235  # numbers without a name
LOGIN = 54321
TWO = [Disk(dst_image=False), Disk(format="qcow2", dst_image=False)]


class OwnerTest(StartTest):
    def know(self, host, uid, gid):
        """There are a user and a group "images" on this host."""
        for name, line in (("passwd", f"images:x:{uid}:{gid}::/:/bin/false\n"),
                           ("group", f"images:x:{gid}:\n")):
            here = pathlib.Path(host.outside(f"{hosts.ETC}/{name}"))
            here.write_text(pathlib.Path(f"/etc/{name}").read_text() + line)
            host.run(["mount", "--bind", f"{hosts.ETC}/{name}", f"/etc/{name}"], cwd="/")

    def prepare_owned(self, uid, gid, disks=TWO):
        move = self.prepare_start(disks=disks)
        for path in self.images(self.a, move):
            os.chown(path, uid, gid)
            os.chmod(path, 0o640)
        return move

    def assert_owner(self, path, uid, gid, mode=0o640):
        made = os.stat(path)
        self.assertEqual((made.st_uid, made.st_gid, made.st_mode & 0o7777), (uid, gid, mode), path)


class Owner(OwnerTest):
    def test_its_name_counts(self):
        self.know(self.a, 62000, 62001)
        self.know(self.b, 63000, 63001)
        move = self.prepare_owned(62000, 62001)
        said = self.migrate(move).stderr
        for path in self.images(self.b, move):
            self.assert_owner(path, 63000, 63001)
        self.assertNotIn("owner", said)
        move.check_moved()

    def test_its_number_does_where_nobody_has_that_name(self):
        self.know(self.a, 62000, 62001)
        move = self.prepare_owned(62000, 62001)
        self.migrate(move)
        for path in self.images(self.b, move):
            self.assert_owner(path, 62000, 62001)

    def test_without_a_name(self):
        move = self.prepare_owned(*NOBODY_KNOWS)
        self.migrate(move)
        for path in self.images(self.b, move):
            self.assert_owner(path, *NOBODY_KNOWS)
        move.check_moved()

    def test_it_is_removed_again(self):
        move = self.prepare_owned(*NOBODY_KNOWS)
        process = self.halted_start(move, "start")
        self.assert_owner(self.images(self.b, move)[0], *NOBODY_KNOWS)
        process.send_signal(signal.SIGINT)
        self.goes_on(process, INTERRUPTED)
        move.check_stayed()

    def test_a_root_that_may_not(self):
        """As on NFS: it stays root's, which is said once."""
        self.b.stop_sshd()
        self.b.sshd = self.b.popen(
            ["setpriv", "--bounding-set", "-chown", "--inh-caps", "-chown", "/usr/sbin/sshd", "-D",
             "-f", f"{hosts.ETC}/sshd_config"], stderr=subprocess.DEVNULL)
        hosts.wait_until(lambda: 22 in self.b.listening(), "sshd listens")
        move = self.prepare_owned(*NOBODY_KNOWS)
        said = self.migrate(move).stderr
        self.assertEqual(said.count("set the owner of"), 1, said)
        self.assertIn("it stays the login's", said)
        for path in self.images(self.b, move):
            self.assert_owner(path, 0, 0)
        move.check_moved()

    def test_a_login_that_is_not_root(self):
        """What it makes is its own, and nothing is said."""
        self.b.add_login("mover")
        move = self.prepare_owned(*NOBODY_KNOWS)
        os.chown(self.b.outside(move.guest.directory), LOGIN, LOGIN)
        arguments = self.arguments_of("migrate", move, "--start", "true")
        arguments[-1] = arguments[-1].replace("root@", "mover@")
        process = self.start_vmferry(*arguments, env={"VMFERRY_TEST_HALT_BEFORE": "start"},
                                     stdout=-1, stderr=-1, text=True)
        self.wait_for_halt(process, "start")
        for path in self.images(self.b, move):
            self.assert_owner(path, LOGIN, LOGIN)
        process.kill()
        self.assertNotIn("owner", process.communicate()[1])

    def test_what_has_the_name_by_then_is_not_given_away(self):
        """Somebody who may write to the directory puts a link there while qemu-img runs."""
        move = self.prepare_owned(*NOBODY_KNOWS, disks=TWO[1:])
        victim = self.b.outside(f"{hosts.WORK}/victim")
        pathlib.Path(victim).write_text("precious", encoding="ascii")
        self.b.shell(f"cp /usr/bin/qemu-img qemu-img.real; printf '#!/bin/sh\n"
                     f"{hosts.WORK}/qemu-img.real \"$@\" && cd {move.guest.directory} && "
                     f"for f in .*.vmferry-*; do mv $f ours; ln -s {hosts.WORK}/victim $f; done\n' "
                     f">qemu-img; chmod +x qemu-img; "
                     f"mount --bind {hosts.WORK}/qemu-img /usr/bin/qemu-img")
        process = self.halted_start(move, "start")
        process.kill()
        process.communicate()
        self.assert_owner(self.b.outside(f"{move.guest.directory}/ours"), *NOBODY_KNOWS)
        self.assert_owner(victim, 0, 0, mode=0o644)
        self.assertEqual(pathlib.Path(victim).read_text(encoding="ascii"), "precious")


class Planted(OwnerTest):
    """A link to somebody's file, or to nothing: neither is written through it, nor is it given
    away, nor is the link removed."""

    def setUp(self):
        super().setUp()
        self.victim = self.b.outside(f"{hosts.WORK}/victim")
        self.target = f"{hosts.WORK}/victim"

    def plant(self, path, target=None):
        os.symlink(target or self.target, path)

    def assert_untouched(self, link):
        self.assertTrue(os.path.islink(link))
        self.assertFalse(os.path.exists(self.victim), "something was made through the link")
        os.unlink(link)

    def test_at_the_final_path_before(self):
        move = self.prepare_owned(*NOBODY_KNOWS)
        link = self.images(self.b, move)[0]
        self.plant(link)
        done = self.migrate(move, check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("is a symbolic link to nothing", done.stderr)
        self.assert_untouched(link)
        move.check_stayed()

    def test_at_the_final_path_in_between(self):
        """Its file is there, by its temporary name, and goes again."""
        move = self.prepare_owned(*NOBODY_KNOWS)
        gate = Gate(self.b)
        process = self.start_vmferry(
            *self.arguments_of("migrate", move, "--start", self.command(move)),
            stdout=-1, stderr=-1, text=True)
        gate.wait()
        link = self.images(self.b, move)[0]
        self.plant(link)
        gate.open()
        self.assertIn("that already exists", self.goes_on(process, FAILED))
        self.assert_untouched(link)
        move.check_stayed(allowed_litter=[rf"{hosts.WORK}/(reached|gate|stat\..*)$"])

    def test_at_the_temporary_path(self):
        """By somebody who has learned the move's id."""
        move = self.prepare_owned(*NOBODY_KNOWS)
        process = self.halted_start(move, "create/begun")
        (journal,) = self.a.journals()
        image = self.images(self.b, move)[0]
        link = f"{os.path.dirname(image)}/.{os.path.basename(image)}.vmferry-{pathlib.Path(journal).stem}"
        self.plant(link)
        self.assertIn("already exists", self.goes_on(process, FAILED))
        self.assert_untouched(link)
        move.check_stayed()

    @unittest.skipIf(pathlib.Path("/proc/sys/fs/protected_symlinks").read_text() == "0\n",
                     "the kernel is told to follow such links (fs.protected_symlinks)")
    def test_as_a_directory_of_the_path(self):
        """By another user, in a directory like /tmp: the kernel does not follow it for root."""
        move = self.prepare_owned(*NOBODY_KNOWS)
        sticky = f"{hosts.WORK}/sticky"
        self.b.shell(f"mkdir {sticky} elsewhere; chmod 1777 {sticky}")
        self.plant(self.b.outside(f"{sticky}/images"), f"{hosts.WORK}/elsewhere")
        os.lchown(self.b.outside(f"{sticky}/images"), LOGIN, LOGIN)
        done = self.migrate(move, "--map", f"{move.guest.directory}={sticky}/images", check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("ermission denied", done.stderr)
        self.assertEqual(os.listdir(self.b.outside(f"{hosts.WORK}/elsewhere")), [])

    def test_an_operator_s_own_link_is_followed(self):
        """/var/lib/images -> /data: where it leads to the file is made."""
        move = self.prepare_owned(*NOBODY_KNOWS, disks=TWO[:1])
        self.b.shell("mkdir data; ln -s data images")
        images = f"{hosts.WORK}/images"
        start = self.command(move).replace(move.guest.image(0), f"{images}/disk0.img")
        self.vmferry(*self.arguments_of("migrate", move, "--start", start, "--map",
                                        f"{move.guest.directory}={images}"))
        self.assert_owner(self.b.outside(f"{hosts.WORK}/data/disk0.img"), *NOBODY_KNOWS)
        move.attach_destination()
        move.destination.quit()


if __name__ == "__main__":
    unittest.main(verbosity=2)
