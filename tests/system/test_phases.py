"""The five phases by hand, over two hosts that cannot reach one another by SSH: the cookies
are carried by the test."""

import os
import pathlib
import shlex
import signal
import stat
import unittest

import hosts
import lockers
from guest import MIB
from rig import Disk, Guest
from test_faults import DONE, FAILED, HUMAN, INTERRUPTED, REFUSED, FaultTest

WRITING = {"rate": 300, "sectors": 127}


class PhaseTest(FaultTest):
    def setUp(self):
        super().setUp()
        for host in (self.a, self.b):
            host.stop_sshd()

    def phase(self, name, cookie=None, *options, code=DONE, env=None):
        """Runs a phase where it belongs; its cookie."""
        host = self.b if name in ("prepare", "finish") else self.a
        done = host.run([*self.vmferry_argv(), name, *options, self.socket], check=False,
                        timeout_s=120, input=cookie or "", env=env)
        self.assertEqual(done.returncode, code, done.stderr)
        self.said = done.stderr
        return done.stdout

    def prepare_move(self, guest, **more):
        move = self.prepare(guest, **more)
        self.socket = move.source.qmp_sock  # the same path on both
        return move

    def up_to_perform(self, *options):
        return self.phase("perform", self.phase("prepare", self.phase("begin")), *options)

    def move_by_hand(self, begin=(), prepare=(), perform=(), confirm=()):
        cookie = self.phase("begin", None, *begin)
        cookie = self.phase("prepare", cookie, *prepare)
        cookie = self.phase("perform", cookie, *perform)
        cookie = self.phase("finish", cookie)
        return self.phase("confirm", cookie, *confirm)


class Good(PhaseTest):
    def moved(self, guest, **options):
        move = self.prepare_move(guest)
        last = self.move_by_hand(**options)
        self.assertEqual(last, "")
        move.check_moved()

    def test_writing(self):
        self.moved(Guest(disks=[Disk(), Disk(bus="scsi")], **WRITING))

    def test_disks_in_an_iothread(self):
        self.moved(Guest(disks=[Disk(bus="scsi"), Disk(bus="scsi")], iothread=True, **WRITING))

    def test_the_cookies(self):
        move = self.prepare_move(Guest(**WRITING))
        c1 = self.phase("begin")
        self.assertRegex(c1, rf'<nbd>\s*<disk src="{move.guest.image(0)}" size="{64 * MIB}"/>')
        c2 = self.phase("prepare", c1)
        self.assertRegex(c2, r'<nbd port="49152"/>')
        c3 = self.phase("perform", c2)
        self.assertRegex(c3, r'<nbd port="-1"/>')
        self.assertIn("at once", self.said)
        c4 = self.phase("finish", c3)
        self.assertNotIn("<nbd", c4)
        self.phase("confirm", c4)
        move.check_moved()

    def test_paused(self):
        self.moved(Guest(paused=True))

    def test_larger_and_smaller(self):
        self.moved(Guest(disks=[Disk(dst_size=96 * MIB), Disk(dst_size=16 * MIB)], **WRITING))

    def test_drive_mirror_and_address(self):
        self.moved(Guest(**WRITING), prepare=["--data-address", self.b.ipv4],
                   perform=["--mirror=drive", "--bandwidth", "100M"])

    def test_the_old_way(self):
        """begin asks for it, prepare and perform follow."""
        self.moved(Guest(disks=[Disk(), Disk(bus="scsi")], style="drive", **WRITING),
                   begin=["--mirror=none"])

    def test_the_old_way_by_prepare(self):
        self.moved(Guest(style="drive", **WRITING), prepare=["--mirror=none"])

    def test_finish_may_be_run_twice(self):
        move = self.prepare_move(Guest(**WRITING))
        c3 = self.up_to_perform()
        self.phase("finish", c3)
        self.phase("confirm", self.phase("finish", c3))
        move.check_moved()

    def test_finish_again_leaves_a_guest_paused_that_its_user_has_paused(self):
        move = self.prepare_move(Guest(**WRITING))
        c3 = self.up_to_perform()
        c4 = self.phase("finish", c3)
        move.destination.watch.command("stop")
        self.phase("finish", c3)
        self.assertEqual(move.destination.watch.status(), "paused")
        move.destination.watch.command("cont")
        self.phase("confirm", c4)
        move.check_moved()

    def test_the_source_may_be_kept(self):
        move = self.prepare_move(Guest(**WRITING))
        self.move_by_hand(confirm=["--keep-source"])
        self.assertEqual(move.source.watch.status(), "postmigrate")
        move.check_moved()

    def test_files_and_qemu_are_made(self):
        move = self.prepare_move(Guest(disks=[Disk(dst_image=False)], **WRITING),
                                 start_destination=False)
        image = move.guest.image(0)
        os.chmod(self.a.outside(image), 0o640)
        start = shlex.join([*move.guest.argv(is_source=False), "-daemonize"])
        self.move_by_hand(prepare=["--start", start])
        self.assertEqual(stat.S_IMODE(os.stat(self.b.outside(image)).st_mode), 0o640)
        self.assertEqual(os.listxattr(self.b.outside(image)), [], "the mark is off")
        move.check_moved()

    def test_another_path(self):
        move = self.prepare_move(Guest(disks=[Disk(dst_image=False)], **WRITING),
                                 start_destination=False)
        elsewhere = f"{hosts.WORK}/elsewhere.img"
        start = shlex.join([*move.guest.argv(is_source=False), "-daemonize"])
        self.move_by_hand(prepare=["--start", start.replace(move.guest.image(0), elsewhere),
                                   "--disk", f"disk0={elsewhere}"])
        self.assertEqual(os.stat(self.b.outside(elsewhere)).st_size, 64 * MIB)
        move.attach_destination()
        move.destination.wait_for_beats()
        move.destination.quit()


class Wrong(PhaseTest):
    def test_of_the_wrong_phase(self):
        move = self.prepare_move(Guest(rate=0))
        c1 = self.phase("begin")
        self.assertEqual(self.phase("perform", c1, code=REFUSED), "")
        self.assertIn("this is the cookie of begin; perform takes that of prepare", self.said)
        move.check_stayed()

    def test_of_another_guest(self):
        move = self.prepare_move(Guest(rate=0, extra=[
            "-uuid", "11111111-2222-3333-4444-555555555555"]))
        c1 = self.phase("begin").replace("11111111", "99999999")
        self.phase("prepare", c1, code=REFUSED)
        self.assertIn("waits for another guest", self.said)
        c2 = self.phase("prepare", self.phase("begin")).replace("11111111", "99999999")
        self.phase("perform", c2, code=REFUSED)
        self.assertIn("source: its QEMU is another guest's than the cookie's", self.said)

    def test_of_disks_that_are_not_there(self):
        move = self.prepare_move(Guest(rate=0))
        cookie = self.phase("begin").replace("disk0", "disk7").replace("dev0", "dev7")
        self.phase("prepare", cookie, code=REFUSED)
        self.assertIn("disk disk7: the QEMU on destination has no disk", self.said)
        move.check_stayed()

    def test_no_cookie_at_all(self):
        move = self.prepare_move(Guest(rate=0))
        for phase in ("prepare", "perform", "finish", "confirm"):
            self.phase(phase, "", code=REFUSED)
            self.assertIn("stdin is empty", self.said)
            self.phase(phase, "<nonsense", code=REFUSED)
        move.check_stayed()

    def test_options_of_another_phase(self):
        move = self.prepare_move(Guest(rate=0))
        self.phase("begin", None, "--keep-source", code=2)
        self.assertIn("--keep-source is no option of begin", self.said)
        self.phase("prepare", self.phase("begin"), "--disk", "disk0", code=REFUSED)
        self.assertIn("was said in begin", self.said)
        move.check_stayed()


class Failed(PhaseTest):
    def prepare_started(self):
        move = self.prepare_move(Guest(disks=[Disk(dst_image=False)], **WRITING),
                                 start_destination=False)
        start = shlex.join([*move.guest.argv(is_source=False), "-daemonize"])
        return move, self.phase("prepare", self.phase("begin"), "--start", start)

    def test_perform_that_fails_is_taken_back_on_both_sides(self):
        move, c2 = self.prepare_started()
        self.b.block("49152-49215", "reject")
        c3 = self.phase("perform", c2, code=FAILED)
        self.assertIn("firewall", self.said)
        self.b.unblock()
        c4 = self.phase("finish", c3, code=FAILED)
        self.assertIn("perform has failed", self.said)
        self.assertFalse(os.path.exists(self.b.outside(move.guest.image(0))))
        self.phase("confirm", c4, code=FAILED)
        self.assertIn("the guest is on the source as before", self.said)
        move.check_stayed(allowed_litter=[r"\.sock$", r"\.log$"])

    def test_perform_interrupted_at_each_step(self):
        for step in ("settings", "target", "copy", "ram", "detach", "switchover"):
            with self.subTest(step=step):
                self.doCleanups()
                self.setUp()
                move, c2 = self.prepare_started()
                c3 = self.interrupted_perform(c2, step)
                c4 = self.phase("finish", c3, code=FAILED)
                self.phase("confirm", c4, code=FAILED)
                self.assertFalse(os.path.exists(self.b.outside(move.guest.image(0))))
                move.check_stayed(allowed_litter=[r"\.sock$", r"\.log$"])

    def interrupted_perform(self, cookie, step):
        process = self.halted_phase("perform", cookie, step)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=90)
        self.assertEqual(process.returncode, 5, err)
        return out

    def halted_phase(self, name, cookie, step, *options):
        """With its cookie read; it is about to take this step."""
        host = self.b if name in ("prepare", "finish") else self.a
        process = host.popen([*self.vmferry_argv(), name, *options, self.socket], stdin=-1,
                             stdout=-1, stderr=-1, text=True,
                             env={"VMFERRY_TEST_HALT_BEFORE": step})
        process.stdin.write(cookie)
        process.stdin.close()
        process.stdin = None
        self.wait_for_halt(process, step)
        return process

    def test_prepare_interrupted_before_it_lets_ram_come(self):
        """It takes back what it has made, and nobody has anything to carry on."""
        move = self.prepare_move(Guest(disks=[Disk(dst_image=False)], **WRITING),
                                 start_destination=False)
        start = shlex.join([*move.guest.argv(is_source=False), "-daemonize"])
        process = self.halted_phase("prepare", self.phase("begin"), "expect", "--start", start)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=90)
        self.assertEqual((process.returncode, out), (INTERRUPTED, ""), err)
        self.assertFalse(os.path.exists(self.b.outside(move.guest.image(0))))
        move.check_stayed(allowed_litter=[r"\.sock$", r"\.log$"])

    def test_finish_killed_while_the_nbd_server_is_there(self):
        """The guest is whole over there, and does not run: finish again runs it."""
        move = self.prepare_move(Guest(**WRITING))
        c3 = self.up_to_perform()
        process = self.halted_phase("finish", c3, "unserve")
        process.kill()
        process.communicate()
        self.assertEqual(move.destination.watch.status(), "paused")
        self.phase("confirm", self.phase("finish", c3))
        move.check_moved()

    def test_finish_interrupted_while_the_nbd_server_is_there(self):
        """It is the source's guest again, when confirm has read that."""
        move = self.prepare_move(Guest(**WRITING))
        process = self.halted_phase("finish", self.up_to_perform(), "unserve")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        c4, err = process.communicate(timeout=90)
        self.assertEqual(process.returncode, HUMAN, err)
        self.assertIn("holds the guest, stopped", err)
        self.phase("confirm", c4, code=FAILED)
        move.destination.quit()
        move.check_stayed()

    def test_a_file_that_is_not_ours_is_not_removed(self):
        """A cookie from a hostile host names any file."""
        move, c2 = self.prepare_started()
        self.b.block("49152-49215", "reject")
        c3 = self.phase("perform", c2, code=FAILED)
        self.b.unblock()
        victim = f"{hosts.WORK}/victim"
        pathlib.Path(self.b.outside(victim)).write_text("precious")
        c4 = self.phase("finish", c3.replace(f'dst="{move.guest.image(0)}"', f'dst="{victim}"'),
                        code=HUMAN)
        self.assertIn(f"{victim}: it does not carry the mark", self.said)
        self.assertEqual(pathlib.Path(self.b.outside(victim)).read_text(), "precious")
        self.phase("confirm", c4, code=FAILED)

    def test_finish_that_fails_lets_confirm_take_the_guest_back(self):
        """A disk that does not move is another guest's over there."""
        guest = Guest(disks=[Disk(), Disk()], rate=0)
        move = self.prepare_move(guest)
        c2 = self.phase("prepare", self.phase("begin", None, "--disk", "disk0"))
        c3 = self.phase("perform", c2)
        locker = lockers.another_guest(self.b, guest.image(1))
        c4 = self.phase("finish", c3, code=HUMAN)
        self.assertIn("lock", self.said)
        self.assertIn("holds the guest, stopped", self.said)
        locker.kill()
        locker.wait()
        self.phase("confirm", c4, code=FAILED)
        # that QEMU must never run it now, whoever tries
        self.phase("finish", c3, code=REFUSED)
        self.assertIn("a finish has failed here before", self.said)
        self.assertEqual(move.destination.watch.status(), "paused")
        move.destination.quit()
        move.check_stayed()

    def test_the_cookie_of_another_perform_does_not_run_the_guest(self):
        """perform fails, is run again and succeeds: the first one's cookies are old."""
        move = self.prepare_move(Guest(**WRITING))
        c2 = self.phase("prepare", self.phase("begin"))
        self.b.block("49152", "reject")
        old = self.phase("perform", c2, code=FAILED)
        self.b.unblock()
        c3 = self.phase("perform", c2)
        c4 = self.phase("finish", c3)
        self.phase("finish", old, code=REFUSED)
        self.assertIn("runs a guest", self.said)
        self.phase("confirm", old.replace('phase="perform"', 'phase="finish"')
                   .replace('<nbd port="-1"/>', ""), code=REFUSED)
        self.assertIn("handed over by another perform", self.said)
        self.phase("confirm", c4)
        move.check_moved()

    def test_a_guest_that_runs_is_not_ended(self):
        move = self.prepare_move(Guest(**WRITING))
        c4 = self.phase("finish", self.up_to_perform())
        move.destination.watch.command("stop")
        move.source.watch.command("cont")
        self.phase("confirm", c4, code=REFUSED)
        self.assertIn('its guest is "running"', self.said)
        self.assertEqual(move.source.watch.status(), "running")


if __name__ == "__main__":
    unittest.main(verbosity=2)
