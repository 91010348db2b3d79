"""vmferry is killed (SIGKILL), and recover settles what it has left: the guest runs on exactly
one side, and nothing is left that the outcome does not need."""

import json
import os
import pathlib
import unittest

import hosts
from rig import Disk, Guest
from test_faults import DONE, FAILED, HUMAN, REFUSED, FaultTest


def calls_while_stopped(test, *arguments):
    """The system calls that read, write and sync, of a whole vmferry: those between its hearing
    that the guest has stopped here and that it runs over there."""
    trace = test.a.outside(f"{hosts.WORK}/trace")
    test.a.run(["strace", "-o", trace, "-s", "4000", "-e",
                "trace=recvfrom,pwrite64,fdatasync,fsync", *test.vmferry_argv(), *arguments])
    calls = pathlib.Path(trace).read_text().splitlines()
    os.unlink(trace)
    stopped = next(i for i, call in enumerate(calls) if r'\"STOP\"' in call)
    runs = next(i for i, call in enumerate(calls) if call.startswith("pwrite64")
                and r'\"run\"' in call and r'\"done\"' in call)
    return calls[stopped:runs]


class RecoverTest(FaultTest):
    def killed(self, moment, guest=None, *options):
        """A move whose vmferry died at that moment; see VMFERRY_TEST_HALT_BEFORE."""
        move = self.prepare(guest or Guest(disks=[Disk(), Disk(bus="scsi")], rate=300,
                                           sectors=127))
        process = self.halted(move, moment, *options)
        process.kill()
        process.communicate()
        return move

    def command(self, *arguments, code=DONE):
        done = self.vmferry(*arguments, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def recover(self, move, code=DONE, *options):
        return self.command("recover", "-F", self.a.ssh_config, *options, move.guest.name,
                            code=code)


class Recover(RecoverTest):
    def test_before_the_copy_it_undoes(self):
        for moment in ("hold/begun", "settings/acted", "mirror/begun"):
            with self.subTest(moment=moment):
                self.doCleanups()
                self.setUp()
                move = self.killed(moment)
                self.assertIn("undone", self.recover(move))
                move.check_stayed()

    def test_a_copy_goes_on(self):
        for moment in ("copy", "listen/acted"):
            with self.subTest(moment=moment):
                self.doCleanups()
                self.setUp()
                move = self.killed(moment)
                self.assertIn("recovered", self.recover(move))
                move.check_moved()

    def test_in_the_switchover_it_goes_on(self):
        for moment in ("ram/acted", "detach/acted", "switchover/acted"):
            with self.subTest(moment=moment):
                self.doCleanups()
                self.setUp()
                move = self.killed(moment)
                self.recover(move)
                move.check_moved()

    def test_past_the_point_of_no_return_it_finishes(self):
        for moment in ("run/begun", "run/acted", "end/acted"):
            with self.subTest(moment=moment):
                self.doCleanups()
                self.setUp()
                move = self.killed(moment)
                self.recover(move)
                move.check_moved()

    def test_the_other_side_is_gone_and_was_not_told_to_run(self):
        for moment in ("copy", "switchover/acted"):
            with self.subTest(moment=moment):
                self.doCleanups()
                self.setUp()
                move = self.killed(moment)
                move.destination.kill()
                self.recover(move)
                move.check_stayed(may_complain=True)

    def test_the_other_side_is_gone_and_may_have_run(self):
        move = self.killed("run/begun")
        move.destination.kill()
        for _ in range(2):
            said = self.recover(move, HUMAN)
            self.assertIn("`cont`", said)
            self.assertEqual(move.source.watch.status(), "postmigrate")

    def test_then_a_human_lets_it_run_on_the_source(self):
        """As exit status 6 says; what was set and made there is taken back."""
        move = self.killed("run/begun")
        move.destination.kill()
        self.recover(move, HUMAN)
        move.source.watch.command("cont")
        self.recover(move)
        move.check_stayed()

    def test_migrate_recovers_first(self):
        move = self.killed("settings/acted")
        said = self.command("migrate", "-F", self.a.ssh_config, move.source.qmp_sock,
                            f"root@hostb:{move.destination.qmp_sock}")
        self.assertIn("earlier move", said)
        move.check_moved()

    def test_migrate_recovers_first_through_another_monitor(self):
        """`check` objects to the earlier move, and not to what that has left in QEMU."""
        second = f"{hosts.WORK}/second.sock"
        move = self.killed("mirror/acted", Guest(
            rate=300, sectors=127, src_extra=["-qmp", f"unix:{second},server=on,wait=off"]))
        arguments = ("-F", self.a.ssh_config, second, f"root@hostb:{move.destination.qmp_sock}")
        said = self.command("check", *arguments, code=REFUSED)
        self.assertIn(f"`vmferry recover {move.guest.name}`", said)
        self.assertIn("(1 objection)", said)
        self.assertIn("earlier move", self.command("migrate", *arguments))
        move.check_moved()

    def test_migrate_elsewhere_tells_where_the_guest_is(self):
        """The earlier move could only be finished, and that was to another place."""
        move = self.killed("run/begun")
        said = self.command("migrate", "-F", self.a.ssh_config, move.source.qmp_sock,
                            "root@hostb:/run/elsewhere.sock", code=HUMAN)
        self.assertIn("it is on hostb now", said)
        move.check_moved()

    def test_nothing_to_recover(self):
        self.assertEqual(self.command("recover", "--all"), "")


class Journal(RecoverTest):
    def test_while_the_guest_stands_still_it_waits_for_the_disk_once(self):
        """For the record of the point of no return, before `cont` is sent."""
        move = self.prepare(Guest(rate=300, sectors=127))
        between = calls_while_stopped(self, *self.arguments("migrate", move))
        self.assertEqual(len([call for call in between if "sync(" in call]), 1, between)
        self.assertTrue(any(r'\"run\"' in call for call in between if "pwrite64" in call))
        move.check_moved()


class Status(RecoverTest):
    def test_abandoned(self):
        move = self.killed("copy")
        said = json.loads(self.command("status", "-F", self.a.ssh_config, "--json"))
        self.assertEqual(said["guest"], move.guest.name)
        self.assertTrue(said["abandoned"])
        self.assertIn("running", said["source_seen"])
        self.assertIn("inmigrate", said["destination_seen"])
        self.assertIn("abandoned", self.command("status", "-F", self.a.ssh_config))

    def test_under_way(self):
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, "copy")
        said = json.loads(self.command("status", "--json"))
        self.assertEqual(said["pid"], process.pid)
        second = self.command("migrate", "-F", self.a.ssh_config, move.source.qmp_sock,
                              f"root@hostb:{move.destination.qmp_sock}", code=REFUSED)
        self.assertIn(str(process.pid), second)
        self.goes_on(process, DONE)
        move.check_moved()


    def test_a_journal_does_not_reach_the_terminal(self):
        """Its texts are anybody's."""
        sample = pathlib.Path(__file__).resolve().parents[1] / "fuzz/corpus/journal/good-full.json"
        record = json.loads(sample.read_text(encoding="utf-8")) | {"state": "begun",
                                                                   "outcome": "open"}
        self.assertIn("%1b[31m", record["guest"])
        directory = pathlib.Path(self.a.outside("/var/lib/vmferry"))
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / f"{record['id']}.journal").write_text(json.dumps(record) + "\n")
        for arguments in ("status",), ("recover", "--all"):
            done = self.vmferry(*arguments, "--timeout", "connect=2", check=False)
            self.assertIn("guest", done.stdout + done.stderr)
            self.assertNotIn("\x1b", done.stdout + done.stderr)


class Cancel(RecoverTest):
    def test_under_way(self):
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.start_vmferry(*self.arguments("migrate", move, "--bandwidth", "100k"),
                                     stdout=-1, stderr=-1, text=True)
        move.source.watch.wait_event("JOB_STATUS_CHANGE")
        self.assertIn("cancelled", self.command("cancel", move.guest.name))
        process.communicate()
        move.check_stayed()

    def test_nobody_works_on_it(self):
        move = self.killed("copy")
        self.assertIn("recover", self.command("cancel", move.guest.name, code=FAILED))


if __name__ == "__main__":
    unittest.main()
