"""--clone: the destination's QEMU is made out of the source's command line, on a host where
nothing was prepared, and is bound to the move until the guest runs there."""

import os
import re
import signal
import unittest

import hosts
import lockers
from rig import Disk, Guest
from test_faults import DONE, FAILED, HUMAN, INTERRUPTED, REFUSED, FaultTest

WRITING = {"rate": 300, "sectors": 127}
SOCKETS = [r"\.sock$", r"\.log$"]
SILENCE_S = 150  # after which the guard has given up: 60 s, and what a busy machine adds
RANDOM_NODES = [r"node: #block"]  # of a -drive, other ones than the source's


class CloneTest(FaultTest):
    def prepare_clone(self, **settings):
        guest = Guest(**({"disks": [Disk(dst_image=False), Disk(dst_image=False, bus="scsi")]}
                         | WRITING | settings))
        return self.prepare(guest, start_destination=False)

    def arguments_of(self, command, move, *options):
        return [command, "--clone", "-F", self.a.ssh_config, *options, move.source.qmp_sock,
                "root@hostb"]

    def guard_goes(self):
        """Where vmferry was cut off nobody waits for the shell over there, and it is the last."""
        hosts.wait_until(lambda: not [line for line in self.b.processes().values()
                                      if re.search(r"made=|^sleep|setsid", line)],
                         "the guard goes")

    def migrate(self, move, *options, **more):
        return self.vmferry(*self.arguments_of("migrate", move, *options), **more)

    def check(self, move, *options, **more):
        return self.vmferry(*self.arguments_of("check", move, *options), **more)

    def no_images(self, move):
        for number in range(len(move.guest.disks)):
            self.assertFalse(os.path.exists(self.b.outside(move.guest.image(number))))

    def no_qemu(self):
        return not [line for line in self.b.processes().values() if "qemu" in line]

    def halted_clone(self, move, step, *options):
        process = self.start_vmferry(*self.arguments_of("migrate", move, *options),
                                     env={"VMFERRY_TEST_HALT_BEFORE": step},
                                     stdout=-1, stderr=-1, text=True)
        self.wait_for_halt(process, step)
        return process


class Clone(CloneTest):
    def test_blockdev(self):
        move = self.prepare_clone()
        self.migrate(move)
        move.check_moved()

    def test_drive(self):
        move = self.prepare_clone(style="drive")
        self.migrate(move)
        move.check_moved(RANDOM_NODES)

    def test_other_media(self):
        move = self.prepare_clone(cdrom="iso", floppy=True, pflash=True)
        self.migrate(move)
        move.check_moved(RANDOM_NODES)

    def test_paused(self):
        move = self.prepare_clone(paused=True)
        self.migrate(move)
        move.check_moved()

    def test_daemonized_with_a_pid_file(self):
        pid_file = f"{hosts.WORK}/vm1.pid"
        move = self.prepare_clone(extra=["-pidfile", pid_file])
        self.migrate(move)
        with open(self.b.outside(pid_file)) as file:
            pid = int(file.read())
        self.assertIn("-incoming", self.b.processes()[pid])
        move.check_moved(allowed_litter=[r"vm1\.pid$"])

    def test_another_directory(self):
        move = self.prepare_clone()
        elsewhere = f"{hosts.WORK}/elsewhere"
        self.b.shell(f"mkdir {elsewhere}; cp {move.guest.directory}/guest.bin {elsewhere}")
        self.migrate(move, "--map", f"{move.guest.directory}={elsewhere}")
        self.assertTrue(os.path.exists(self.b.outside(f"{elsewhere}/disk0.img")))
        self.no_images(move)

    def moves_as(self, uid, gid):
        guest = Guest(disks=[Disk(dst_image=False)], **WRITING)
        give = f"chmod -R a+rwX {guest.directory}"
        for host in (self.a, self.b):
            host.shell("[ ! -e /dev/kvm ] || { mknod -m 666 /run/kvm c 10 232; "
                       "mount --bind /run/kvm /dev/kvm; }")
        guest.qemu = ["sh", "-c", f'{give}; exec setpriv --reuid {uid} --regid {gid} '
                      '--clear-groups -- "$0" "$@"', self.qemu_path()]
        move = self.prepare(guest, start_destination=False)
        self.b.shell(give)
        self.migrate(move)
        move.attach_destination()
        qemu = os.stat(f"/proc/{move.destination.process.pid}")
        self.assertEqual((qemu.st_uid, qemu.st_gid), (uid, gid))
        image = os.stat(self.b.outside(guest.image(0)))
        self.assertEqual((image.st_uid, image.st_gid), (uid, gid))
        self.guard_goes()
        move.check_moved()

    def test_another_user(self):
        """It is that user's over there, too, and nothing stays above it."""
        self.moves_as(65534, 65534)

    def test_a_user_without_a_name(self):
        self.moves_as(64055, 64056)

    def test_same_host(self):
        move = self.prepare_clone(disks=[Disk(dst_image=False)])
        other = f"{hosts.WORK}/other"
        self.a.shell(f"mkdir {other}; cp {move.guest.directory}/guest.bin {other}")
        said = self.vmferry("migrate", "--clone", "--disk", f"disk0={other}/disk0.img",
                            move.source.qmp_sock, f"{other}/qmp.sock", check=False)
        self.assertEqual(said.returncode, REFUSED, said.stderr)
        for name in ("watch.sock", "status.sock", "beat.log"):
            self.assertIn(f"{move.guest.directory}/{name} of -chardev is the source's own",
                          said.stderr)
        unchanged = move.guest.image(0)
        self.vmferry("migrate", "--clone", "--keep-source", "--map",
                     f"{move.guest.directory}={other}", move.source.qmp_sock, f"{other}/qmp.sock")
        self.assertTrue(os.path.exists(self.a.outside(unchanged)))
        self.assertTrue(os.path.exists(self.a.outside(f"{other}/disk0.img")))

    def test_a_socket_that_somebody_has(self):
        move = self.prepare_clone(disks=[Disk(dst_image=False)])
        path = f"{move.guest.directory}/status.sock"
        self.b.popen(["python3", "-c", "import socket, sys, signal; s = socket.socket("
                      "socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); signal.pause()", path])
        hosts.wait_until(lambda: path in self.b.unix_sockets(), "somebody listens")
        done = self.migrate(move, check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn(f"hostb: a program listens on {path} already", done.stderr)

    def test_it_lives_on_its_own(self):
        """Nothing of ours is left: no guard, no shell."""
        move = self.prepare_clone()
        self.migrate(move)
        self.guard_goes()
        self.cut_ssh()
        move.check_moved()

    def test_check_prints_the_command_line(self):
        move = self.prepare_clone()
        said = self.check(move).stdout
        self.assertRegex(said, r"(?m)^  \* '?-incoming'?$")
        self.assertRegex(said, r"(?m)^  \* .*pc-i440fx-\d")
        self.assertRegex(said, r"(?m)^    '?-nodefaults'?$")
        self.no_images(move)
        move.check_stayed()

    def test_what_does_not_move_must_be_there(self):
        move = self.prepare_clone(cdrom="iso")
        os.unlink(self.b.outside(f"{move.guest.directory}/guest.bin"))
        os.unlink(self.b.outside(f"{move.guest.directory}/cd.iso"))
        done = self.migrate(move, check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        for name in ("guest.bin", "cd.iso"):
            self.assertIn(f"hostb: there is no {move.guest.directory}/{name}", done.stderr)
        self.no_images(move)
        move.check_stayed()

    def test_a_qemu_that_does_not_start(self):
        """Its words reach the user."""
        move = self.prepare_clone()
        os.symlink("/bin/false", self.b.outside(f"{hosts.WORK}/none"))
        self.b.run(["mount", "--bind", "/bin/false", self.qemu_path()], cwd="/")
        done = self.migrate(move, check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn("clone: hostb:", done.stderr)
        self.no_images(move)
        os.unlink(self.b.outside(f"{hosts.WORK}/none"))
        move.check_stayed()

    @staticmethod
    def qemu_path():
        return "/usr/bin/qemu-system-x86_64"

    def test_what_cannot_be_repeated(self):
        move = self.prepare_clone(src_extra=["-snapshot"])
        done = self.migrate(move, check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("-snapshot", done.stderr)
        self.assertIn("--start", done.stderr)
        move.check_stayed()


class Bound(CloneTest):
    """At steps where something else is over there than at the one before; the fault matrix has
    them all, each with these faults and more (test_matrix, variant "clone")."""

    def test_killed_at_each_step(self):
        """kill -9 of vmferry: over there everything goes by itself."""
        for step in ("create", "clone", "accept", "hold", "export", "copy"):
            with self.subTest(step=step):
                self.doCleanups()
                self.setUp()
                move = self.prepare_clone()
                process = self.halted_clone(move, step)
                process.kill()
                process.communicate()
                hosts.wait_until(self.no_qemu, "the QEMU over there ends")
                for number in range(2):
                    image = self.b.outside(move.guest.image(number))
                    hosts.wait_until(lambda: not os.path.exists(image), "its files go")
                self.assertEqual(move.source.watch.status(), "running")

    def test_ssh_cut_at_each_step(self):
        for step in ("create", "clone", "accept", "hold", "copy", "ram", "switchover"):
            with self.subTest(step=step):
                self.doCleanups()
                self.setUp()
                move = self.prepare_clone()
                process = self.halted_clone(move, step)
                self.cut_ssh()
                self.goes_on(process, FAILED)
                self.all_was_taken_back(move)

    def all_was_taken_back(self, move):
        hosts.wait_until(self.no_qemu, "the QEMU over there ends")
        self.no_images(move)
        self.guard_goes()
        move.check_stayed(allowed_litter=SOCKETS, may_complain=True)

    def test_ssh_cut_at_the_point_of_no_return(self):
        """Heard of in time it is undone; else the destination is asked again, and is done."""
        move = self.prepare_clone()
        process = self.halted_clone(move, "run")
        self.cut_ssh()
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=90)
        self.assertIn(process.returncode, (DONE, FAILED), out + err)
        if process.returncode == FAILED:
            self.all_was_taken_back(move)
        else:
            self.guard_goes()
            move.check_moved([*RANDOM_NODES, *SOCKETS])

    def test_sigint_at_each_step(self):
        for step in ("guard", "create", "clone", "accept", "copy", "ram", "switchover"):
            with self.subTest(step=step):
                self.doCleanups()
                self.setUp()
                move = self.prepare_clone()
                process = self.halted_clone(move, step)
                process.send_signal(signal.SIGINT)
                self.goes_on(process, INTERRUPTED)
                self.assertTrue(self.no_qemu())
                self.no_images(move)
                move.check_stayed(allowed_litter=SOCKETS)

    def test_source_ends_when_all_is_over_there(self):
        """The last of the guest is the QEMU that we have started: it stays, with its files."""
        move = self.prepare_clone()
        process = self.halted_clone(move, "run")
        move.source.kill()
        self.goes_on(process, HUMAN)
        move.attach_destination()
        for number in range(2):
            self.assertTrue(os.path.exists(self.b.outside(move.guest.image(number))))
        move.destination.watch.command("cont")
        move.destination.wait_for_beats()

    def all_goes_over_there(self, move):
        """Within the time after which the guard, not hearing of us, gives up."""
        hosts.wait_until(self.no_qemu, "the QEMU over there ends", SILENCE_S)
        for number in range(2):
            image = self.b.outside(move.guest.image(number))
            hosts.wait_until(lambda: not os.path.exists(image), "its files go")
        self.guard_goes()

    def test_network_gone_silently(self):
        """No sshd sees that."""
        move = self.prepare_clone()
        process = self.halted_clone(move, "copy")
        self.b.swallow_all()
        self.goes_on(process, HUMAN)
        self.assertEqual(move.source.watch.status(), "running")
        self.all_goes_over_there(move)
        self.assertTrue(self.ssh_sessions())

    def test_stopped_for_long(self):
        """When it goes on it finds nothing over there any more."""
        move = self.prepare_clone()
        process = self.halted_clone(move, "free")
        self.all_goes_over_there(move)
        said = self.goes_on(process, FAILED)
        self.assertIn("hostb", said)
        move.check_stayed(allowed_litter=SOCKETS, may_complain=True)

    def test_cont_refused(self):
        """By then the guard has let go of it, and takes it back all the same."""
        move = self.prepare_clone(disks=[Disk(dst_image=False), Disk()])
        process = self.start_vmferry(*self.arguments_of("migrate", move, "--disk", "disk0"),
                                     env={"VMFERRY_TEST_HALT_BEFORE": "run"},
                                     stdout=-1, stderr=-1, text=True)
        self.wait_for_halt(process, "run")
        locker = lockers.another_guest(self.b, move.guest.image(1))
        said = self.goes_on(process, FAILED)
        self.assertIn("lock", said)
        locker.kill()
        locker.wait()
        self.assertTrue(self.no_qemu())
        self.assertFalse(os.path.exists(self.b.outside(move.guest.image(0))))
        move.check_stayed(allowed_litter=SOCKETS)

    def test_a_guard_that_does_not_let_go(self):
        """No `cont` is sent then."""
        move = self.prepare_clone()
        process = self.start_vmferry(*self.arguments_of("migrate", move, "--timeout",
                                                        "switchover=2", "--timeout", "answer=5"),
                                     env={"VMFERRY_TEST_HALT_BEFORE": "free"},
                                     stdout=-1, stderr=-1, text=True)
        self.wait_for_halt(process, "free")
        guards = [pid for pid, line in self.b.processes().items() if "made=" in line]
        for pid in guards:
            os.kill(pid, signal.SIGSTOP)
        process.send_signal(signal.SIGCONT)
        move.source.watch.wait_status("running")
        _, said = process.communicate(timeout=90)
        self.assertIn(process.returncode, (FAILED, HUMAN), said)
        self.assertIn("the guard to let go", said)
        for pid in guards:
            os.kill(pid, signal.SIGCONT)
        self.all_goes_over_there(move)
        self.vmferry("recover", "-F", self.a.ssh_config, "--all")
        move.check_stayed(allowed_litter=SOCKETS, may_complain=True)

    def test_killed_after_the_point_of_no_return(self):
        move = self.prepare_clone()
        process = self.halted_clone(move, "release")
        process.kill()
        process.communicate()
        self.cut_ssh()
        move.attach_destination()
        move.destination.wait_for_beats()
        self.assertEqual(move.destination.watch.status(), "running")


if __name__ == "__main__":
    unittest.main(verbosity=2)
