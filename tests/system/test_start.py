"""vmferry makes the destination's files and has its QEMU started (--start)."""

import os
import shlex
import signal
import stat
import unittest

import hosts
from guest import MIB
from rig import Disk, Guest
from test_faults import FAILED, HUMAN, INTERRUPTED, REFUSED, FaultTest

WRITING = {"rate": 300, "sectors": 127}


class StartTest(FaultTest):
    def prepare_start(self, **settings):
        guest = Guest(**({"disks": [Disk(dst_image=False)]} | WRITING | settings))
        return self.prepare(guest, start_destination=False)

    def command(self, move):
        """What starts the waiting QEMU on hostb and returns."""
        return shlex.join([*move.guest.argv(is_source=False), "-daemonize"])

    def migrate(self, move, *options, **more):
        options = ["--start", self.command(move), *options]
        return self.vmferry(*self.arguments_of("migrate", move, *options), **more)

    def arguments_of(self, command, move, *options):
        return [command, "-F", self.a.ssh_config, *options, move.source.qmp_sock,
                f"root@hostb:{move.source.qmp_sock}"]

    def images(self, host, move):
        return [host.outside(move.guest.image(number))
                for number in range(len(move.guest.disks))]

    def halted_start(self, move, step):
        process = self.start_vmferry(
            *self.arguments_of("migrate", move, "--start", self.command(move)),
            env={"VMFERRY_TEST_HALT_BEFORE": step}, stdout=-1, stderr=-1, text=True)
        self.wait_for_halt(process, step)
        return process


class Start(StartTest):
    def test_files_are_made_like_the_source(self):
        move = self.prepare_start(disks=[Disk(dst_image=False), Disk(dst_image=False)])
        os.chmod(self.images(self.a, move)[0], 0o640)
        self.migrate(move)
        made = os.stat(self.images(self.b, move)[0])
        self.assertEqual(stat.S_IMODE(made.st_mode), 0o640)
        self.assertEqual(made.st_size, 64 * MIB)
        move.check_moved()

    def test_qcow2_is_made_like_the_source(self):
        move = self.prepare_start(disks=[Disk(format="qcow2", dst_image=False)])
        image = move.guest.image(0)
        said = self.migrate(move)
        about = self.b.run(["qemu-img", "info", "-U", image]).stdout
        self.assertIn("cluster_size: 65536", about)
        self.assertIn("compat: 1.1", about)
        self.assertNotIn("backing file:", about, said.stderr)
        move.check_moved()

    def test_an_existing_file_is_used(self):
        move = self.prepare_start(disks=[Disk(dst_image=False), Disk()])
        self.migrate(move)
        move.check_moved()

    def test_another_directory(self):
        move = self.prepare_start()
        elsewhere = f"{hosts.WORK}/elsewhere"
        self.b.run(["mkdir", elsewhere])
        start = self.command(move).replace(move.guest.image(0), f"{elsewhere}/disk0.img")
        self.vmferry(*self.arguments_of("migrate", move, "--start", start, "--map",
                                        f"{move.guest.directory}={elsewhere}"))
        made = os.stat(self.b.outside(f"{elsewhere}/disk0.img"))
        self.assertEqual(made.st_size, 64 * MIB)
        move.attach_destination()
        move.destination.wait_for_beats()
        move.destination.quit()

    def test_only_the_file_that_was_made_is_removed(self):
        """--map names one file, --start another, which is somebody's: it stays."""
        move = self.prepare_start(disks=[Disk()])
        elsewhere = f"{hosts.WORK}/elsewhere"
        self.b.run(["mkdir", elsewhere])
        done = self.migrate(move, "--map", f"{move.guest.directory}={elsewhere}", check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn("let both name the same file", done.stderr)
        self.assertTrue(os.path.exists(self.images(self.b, move)[0]), "a user's file was removed")
        self.assertFalse(os.path.exists(self.b.outside(f"{elsewhere}/disk0.img")))

    def test_a_file_in_use_is_not_removed(self):
        """--start starts a QEMU with another monitor: it is not seen, its file stays."""
        move = self.prepare_start()
        start = self.command(move).replace("qmp.sock", "other.sock")
        done = self.vmferry(*self.arguments_of("migrate", move, "--start", start,
                                               "--timeout", "start=1"), check=False)
        self.assertEqual(done.returncode, HUMAN, done.stderr)
        self.assertIn("in use", done.stderr)
        self.assertTrue(os.path.exists(self.images(self.b, move)[0]))

    def test_check_changes_nothing(self):
        move = self.prepare_start()
        done = self.vmferry(*self.arguments_of("check", move, "--start", self.command(move)))
        for word in ("disk0", "64.0 MiB", move.guest.image(0), "will be created", "blockdev-mirror",
                     "49152", "-incoming", "switchover"):
            self.assertIn(word, done.stdout)
        self.assertFalse(os.path.exists(self.images(self.b, move)[0]))
        move.check_stayed()

    def test_check_tells_what_each_qemu_can(self):
        move = self.prepare(Guest(rate=0))
        said = self.vmferry(*self.arguments("check", move, "--verbose")).stdout
        self.assertRegex(said, r"(?m)^source can: .*\bblockdev-mirror\b.*")
        self.assertRegex(said, r"(?m)^hostb can: .*\bnbd-server-start\b.*")
        self.assertRegex(said, r"(?m)^hostb cannot:")

    def test_command_fails(self):
        move = self.prepare_start()
        done = self.vmferry(*self.arguments_of("migrate", move, "--start",
                                               "echo no such machine >&2; exit 7"), check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        for word in ("hostb", "no such machine", "7"):
            self.assertIn(word, done.stderr)
        move.check_stayed()

    def test_no_monitor_comes(self):
        move = self.prepare_start()
        done = self.vmferry(*self.arguments_of("migrate", move, "--start", "true",
                                               "--timeout", "start=1"), check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn(move.source.qmp_sock, done.stderr)
        move.check_stayed()

    def test_started_qemu_runs_another_guest(self):
        """It waits for nothing: it is ended again, and the files go."""
        move = self.prepare_start()
        argv = move.guest.argv(is_source=False)
        argv = argv[:argv.index("-incoming")] + argv[argv.index("-incoming") + 2:]
        done = self.vmferry(*self.arguments_of("migrate", move, "--start",
                                               shlex.join([*argv, "-daemonize"])), check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn("-incoming defer", done.stderr)
        self.assertFalse(os.path.exists(self.images(self.b, move)[0]))
        move.check_stayed(allowed_litter=[r"\.sock$", r"\.log$"])

    def test_sigint_at_every_step(self):
        steps = ["create", "start", "accept", "hold", "copy", "ram", "switchover"]
        for step in steps:
            with self.subTest(step=step):
                self.doCleanups()
                self.setUp()
                move = self.prepare_start()
                process = self.halted_start(move, step)
                process.send_signal(signal.SIGINT)
                self.goes_on(process, INTERRUPTED)
                self.assertFalse(os.path.exists(self.images(self.b, move)[0]))
                move.check_stayed(allowed_litter=[r"\.sock$", r"\.log$"])

    def test_ssh_cut(self):
        """Before the command was sent nothing of it can be left over there."""
        for step in ("create", "start", "accept", "hold"):
            with self.subTest(step=step):
                self.doCleanups()
                self.setUp()
                move = self.prepare_start()
                process = self.halted_start(move, step)
                self.cut_ssh()
                self.goes_on(process, FAILED)
                self.assertFalse(os.path.exists(self.images(self.b, move)[0]))
                move.check_stayed(allowed_litter=[r"\.sock$", r"\.log$"])

    def test_a_missing_directory_is_refused(self):
        move = self.prepare_start()
        done = self.migrate(move, "--map", f"{move.guest.directory}=/nowhere", check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("/nowhere", done.stderr)
        move.check_stayed()

    def test_no_room_is_refused(self):
        move = self.prepare_start()
        small = f"{hosts.WORK}/small"
        self.b.run(["mkdir", small])
        self.b.run(["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", small], cwd="/")
        done = self.migrate(move, "--map", f"{move.guest.directory}={small}", check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("not enough free space", done.stderr)
        self.assertIn("4.0 MiB", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
