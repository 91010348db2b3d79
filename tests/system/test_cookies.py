"""Cookies that are old, lost, of another move or given twice, and what else could lead to two
guests, or none."""

import os
import pathlib
import shlex
import signal
import unittest

import hosts
import lockers
from rig import Disk, Guest
from test_faults import DONE, FAILED, HUMAN, REFUSED
from test_phases import WRITING, PhaseTest


class CookieTest(PhaseTest):
    def any_phase(self, name, cookie=None, *options, host=None, socket=None, env=None):
        """As phase(), whatever the exit code; that and the cookie."""
        host = host or (self.b if name in ("prepare", "finish") else self.a)
        done = host.run([*self.vmferry_argv(), name, *options, socket or self.socket],
                        check=False, timeout_s=120, input=cookie or "", env=env)
        self.said = done.stderr
        return done.returncode, done.stdout

    def interrupted(self, name, cookie, step, number=signal.SIGINT):
        """A phase that gets the signal just before a step; its exit code and cookie."""
        host = self.b if name in ("prepare", "finish") else self.a
        process = host.popen([*self.vmferry_argv(), name, self.socket], stdin=-1, stdout=-1,
                             stderr=-1, text=True, env={"VMFERRY_TEST_HALT_BEFORE": step})
        process.stdin.write(cookie)
        process.stdin.close()
        process.stdin = None
        self.wait_for_halt(process, step)
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        out, self.said = process.communicate(timeout=90)
        return process.returncode, out

    def failed_perform(self, c2):
        self.b.block("49152", "reject")
        code, cookie = self.any_phase("perform", c2)
        self.b.unblock()
        self.assertEqual(code, FAILED)
        return cookie

    def failed_finish(self, move, c3):
        """A second disk is another guest's over there."""
        locker = lockers.another_guest(self.b, move.guest.image(1))
        c4 = self.phase("finish", c3, code=HUMAN)
        locker.kill()
        locker.wait()
        return c4

    def statuses(self, move):
        return [qemu.status() for qemu in (move.source, move.destination)]

    def start_command(self, move):
        return shlex.join([*move.guest.argv(is_source=False), "-daemonize"])


class Two(CookieTest):
    def test_a_finish_interrupted_before_it_looked(self):
        """It has noted nothing over there, so its cookie must not let the source run."""
        move = self.prepare_move(Guest(**WRITING))
        c3 = self.up_to_perform()
        code, c4 = self.interrupted("finish", c3, "look")
        if c4:
            self.any_phase("confirm", c4)
        self.any_phase("finish", c3)
        found = self.statuses(move)
        move.watcher.check()
        self.assertEqual(found.count("running"), 1, found)

    def test_the_failed_finish_of_an_earlier_move(self):
        move = self.prepare_move(Guest(disks=[Disk(), Disk()], rate=0))
        c2 = self.phase("prepare", self.phase("begin", None, "--disk", "disk0"))
        old = self.failed_finish(move, self.phase("perform", c2))
        self.phase("confirm", old, code=FAILED)
        move.destination.quit()
        move.destination = move.guest.start_destination(self.b)
        c2 = self.phase("prepare", self.phase("begin", None, "--disk", "disk0"))
        c4 = self.phase("finish", self.phase("perform", c2))
        self.any_phase("confirm", old)
        found = self.statuses(move)
        move.watcher.check()
        self.assertEqual(found.count("running"), 1, found)

    def test_finish_where_the_guest_has_moved_on_from(self):
        """B's QEMU was kept, stopped, when the guest left it again."""
        move = self.prepare_move(Guest(**WRITING))
        c3 = self.up_to_perform()
        self.phase("confirm", self.phase("finish", c3))
        move.source.process.wait(20)
        home = move.guest.start_destination(self.a)
        self.addCleanup(home.close)
        cookie = None
        for name, host in (("begin", self.b), ("prepare", self.a), ("perform", self.b),
                           ("finish", self.a)):
            code, cookie = self.any_phase(name, cookie, host=host)
            self.assertEqual(code, DONE, self.said)
        self.any_phase("confirm", cookie, "--keep-source", host=self.b)
        self.any_phase("finish", c3)
        found = [home.watch.status(), move.destination.watch.status()]
        self.assertEqual(found, ["running", "postmigrate"])


class Neither(CookieTest):
    def test_perform_twice(self):
        """`vmferry perform < c2 > c3`, and the same line again."""
        move = self.prepare_move(Guest(disks=[Disk(dst_image=False)], **WRITING),
                                 start_destination=False)
        c2 = self.phase("prepare", self.phase("begin"), "--start", self.start_command(move))
        move.attach_destination()
        c3 = self.phase("perform", c2)
        code, again = self.any_phase("perform", c2)
        if again:
            code, c4 = self.any_phase("finish", again)
            if c4:
                self.any_phase("confirm", c4)
        found = self.statuses(move)
        self.assertNotEqual(found[1], "gone", found)
        self.assertTrue(os.path.exists(self.b.outside(move.guest.image(0))))

    def test_an_old_failed_cookie_ends_the_moved_guest(self):
        """The guest was moved, and is paused by its user."""
        move = self.prepare_move(Guest(rate=0))
        c2 = self.phase("prepare", self.phase("begin"))
        old = self.failed_perform(c2)
        self.phase("confirm", self.phase("finish", self.phase("perform", c2)))
        move.source.process.wait(20)
        move.destination.watch.command("stop")
        self.any_phase("finish", old)
        found = self.statuses(move)
        self.assertEqual(found, ["gone", "paused"])

    def test_an_old_failed_cookie_deletes_the_moved_disk(self):
        """It went to another path, and its guest was shut down since."""
        move = self.prepare_move(Guest(disks=[Disk(dst_image=False)], rate=0),
                                 start_destination=False)
        elsewhere = f"{hosts.WORK}/elsewhere.img"
        start = self.start_command(move).replace(move.guest.image(0), elsewhere)
        c2 = self.phase("prepare", self.phase("begin"), "--start", start,
                        "--disk", f"disk0={elsewhere}")
        old = self.failed_perform(c2)
        self.phase("confirm", self.phase("finish", self.phase("perform", c2)))
        marks = os.listxattr(self.b.outside(elsewhere))
        move.attach_destination()
        move.destination.quit()
        self.any_phase("finish", old)
        self.assertTrue(os.path.exists(self.b.outside(elsewhere)), "the guest's only disk")
        self.assertEqual(marks, [])

    def test_finish_on_another_guests_socket(self):
        """Neither guest has a UUID; the other one runs there."""
        move = self.prepare_move(Guest(rate=0))
        other = Guest(name="vm2", rate=0)
        there = other.start(self.b)
        self.addCleanup(there.close)
        c3 = self.up_to_perform()
        code, c4 = self.any_phase("finish", c3, socket=there.qmp_sock)
        if c4:
            self.any_phase("confirm", c4)
        found = self.statuses(move)
        self.assertEqual(found[0], "postmigrate", found)

    def test_a_failed_cookie_on_another_guests_socket(self):
        move = self.prepare_move(Guest(rate=0))
        other = Guest(name="vm2", rate=0)
        there = other.start(self.b)
        self.addCleanup(there.close)
        there.watch.command("stop")
        old = self.failed_perform(self.phase("prepare", self.phase("begin")))
        self.any_phase("finish", old, socket=there.qmp_sock)
        self.assertIsNone(there.process.poll(), "vm2 was ended")

    def test_confirm_with_the_cookie_of_an_earlier_move(self):
        """The guest was moved once, is on the source again, and is on its way again."""
        move = self.prepare_move(Guest(rate=0))
        c4 = self.phase("finish", self.up_to_perform())
        self.phase("confirm", c4)
        move.source.process.wait(20)
        move.destination.quit()
        move.source = move.guest.start(self.a)
        move.destination = move.guest.start_destination(self.b)
        self.up_to_perform()
        self.any_phase("confirm", c4)
        found = self.statuses(move)
        self.assertEqual(found, ["postmigrate", "paused"])

    def test_perform_killed_before_detach(self):
        """And gone on with by the cookies there are."""
        move = self.prepare_move(Guest(**WRITING))
        c2 = self.phase("prepare", self.phase("begin"))
        self.interrupted("perform", c2, "detach", signal.SIGKILL)
        code, c3 = self.any_phase("perform", c2)
        code, c4 = self.any_phase("finish", c3) if c3 else (0, "")
        code, _ = self.any_phase("confirm", c4) if c4 else (0, "")
        found = self.statuses(move)
        if "as before" in self.said:
            self.assertEqual(found[0], "running", found)
        else:
            self.assertEqual(code, HUMAN)

    def test_the_destination_dies_before_finish(self):
        move = self.prepare_move(Guest(**WRITING))
        c3 = self.up_to_perform()
        move.destination.kill()
        code, c4 = self.any_phase("finish", c3)
        if c4:
            self.any_phase("confirm", c4)
        found = self.statuses(move)
        self.assertTrue(code == HUMAN or found[0] == "running", (code, found, self.said))

    def test_perform_whose_cookie_is_lost(self):
        """/dev/full; then it is tried again."""
        move = self.prepare_move(Guest(**WRITING))
        c2 = self.phase("prepare", self.phase("begin"))
        pathlib.Path(self.a.outside(f"{hosts.WORK}/c2")).write_text(c2)
        done = self.a.run(["sh", "-c", f"{self.vmferry_argv()[0]} perform {self.socket} "
                           f"<{hosts.WORK}/c2 >/dev/full"], check=False, timeout_s=60)
        os.unlink(self.a.outside(f"{hosts.WORK}/c2"))
        self.assertEqual(done.returncode, HUMAN)
        self.assertIn("end it there", done.stderr)
        self.assertEqual(self.statuses(move), ["running", "paused"])
        move.destination.quit()
        move.check_stayed()

    def test_a_failed_finish_whose_cookie_is_lost(self):
        move = self.prepare_move(Guest(disks=[Disk(), Disk()], rate=0))
        c2 = self.phase("prepare", self.phase("begin", None, "--disk", "disk0"))
        c3 = self.phase("perform", c2)
        self.failed_finish(move, c3)
        code, c4 = self.any_phase("finish", c3)
        self.assertEqual(code, REFUSED)
        self.phase("confirm", c4, code=FAILED)
        self.assertEqual(self.statuses(move), ["running", "paused"])
        move.destination.quit()
        move.check_stayed()

    def test_prepare_whose_cookie_is_lost(self):
        move = self.prepare_move(Guest(disks=[Disk(dst_image=False)], **WRITING),
                                 start_destination=False)
        c1 = f"{hosts.WORK}/c1"
        pathlib.Path(self.b.outside(c1)).write_text(self.phase("begin"))
        argv = [*self.vmferry_argv(), "prepare", self.socket, "--start", self.start_command(move)]
        done = self.b.run(["sh", "-c", f"{shlex.join(argv)} <{c1} >/dev/full"], check=False,
                          timeout_s=60)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertFalse(os.path.exists(self.b.outside(move.guest.image(0))))
        os.unlink(self.b.outside(c1))
        move.check_stayed(allowed_litter=[r"\.sock$", r"\.log$"])


class Paused(CookieTest):
    def test_confirm_does_not_run_a_guest_that_its_user_paused(self):
        """perform failed late and has taken the guest back; then its user paused it."""
        move = self.prepare_move(Guest(rate=0))
        c2 = self.phase("prepare", self.phase("begin"))
        self.b.block("49153", "reject")
        c3 = self.phase("perform", c2, code=FAILED)
        self.b.unblock()
        c4 = self.phase("finish", c3, code=FAILED)
        move.source.watch.command("stop")
        self.phase("confirm", c4, code=FAILED)
        self.assertEqual(move.source.watch.status(), "paused")


class Lost(CookieTest):
    def test_an_older_cookie_with_the_disks_in_another_order(self):
        """Of two preparations of the same guest, perform gets the first one's cookie."""
        move = self.prepare_move(Guest(disks=[Disk(), Disk(bus="scsi")], **WRITING))
        old = self.phase("prepare", self.phase("begin", None, "--disk", "disk1",
                                               "--disk", "disk0"))
        move.destination.quit()
        move.destination = move.guest.start_destination(self.b)
        self.phase("prepare", self.phase("begin"))
        code, c3 = self.any_phase("perform", old)
        if code == DONE:
            self.phase("confirm", self.phase("finish", c3))
            move.check_moved()


class Litter(CookieTest):
    def test_a_destination_whose_path_climbs(self):
        """Its QEMU names its image by a path with ".." in it."""
        guest = Guest(rate=0)
        move = self.prepare_move(guest, start_destination=False)
        os.makedirs(self.b.outside(f"{guest.directory}/x"))
        guest.make_destination_images(self.b)
        argv = [word.replace(guest.image(0), f"{guest.directory}/x/../disk0.img")
                for word in guest.argv(is_source=False)]
        from qemu import Qemu
        move.destination = Qemu(guest, self.b, argv)
        code, c2 = self.any_phase("prepare", self.phase("begin"))
        self.assertEqual(code, FAILED, self.said)
        self.assertIn("has a \"..\" in it", self.said)
        self.assertNotIn(49152, self.b.listening())

    def test_the_mode_of_a_file_is_no_more_than_that(self):
        move = self.prepare_move(Guest(disks=[Disk(dst_image=False)], rate=0),
                                 start_destination=False)
        c1 = self.phase("begin").replace('mode="0644"', 'mode="6755"')
        self.phase("prepare", c1, "--start", self.start_command(move))
        mode = os.stat(self.b.outside(move.guest.image(0))).st_mode
        self.assertEqual(mode & 0o7777, 0o755)

    def test_a_paused_guest_that_was_taken_back_is_not_as_before(self):
        """QEMU calls it "postmigrate", and does not migrate such a guest: that is said."""
        move = self.prepare_move(Guest(disks=[Disk(), Disk()], rate=0, paused=True))
        c2 = self.phase("prepare", self.phase("begin", None, "--disk", "disk0"))
        c3 = self.phase("perform", c2)
        _, c4 = self.interrupted("finish", c3, "unserve")
        self.phase("confirm", c4, code=FAILED)
        self.assertNotIn("as before", self.said)
        self.assertIn('"postmigrate" on the source now: let it run there (`cont`)', self.said)
        self.assertEqual(move.source.watch.status(), "postmigrate")

    def test_the_users_own_unlimited_bandwidth(self):
        guest = Guest(disks=[Disk(), Disk()], rate=0)
        move = self.prepare_move(guest)
        move.source.watch.command("migrate-set-parameters", {"max-bandwidth": 0})
        c2 = self.phase("prepare", self.phase("begin", None, "--disk", "disk0"))
        c4 = self.failed_finish(move, self.phase("perform", c2))
        self.phase("confirm", c4, code=FAILED)
        now = move.source.watch.command("query-migrate-parameters")
        self.assertEqual((now["max-bandwidth"], now["downtime-limit"]), (0, 300))


if __name__ == "__main__":
    unittest.main(verbosity=2)
