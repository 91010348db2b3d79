"""The base class of vmferry's system tests.

    class Test(MoveTest):
        def test_it(self):
            guest = Guest(disks=[Disk(), Disk(bus="scsi")], rate=300, sectors=127)
            move = self.prepare(guest)           # both QEMUs, the guest writes
            self.vmferry("migrate", move.source.qmp_sock, "hostb:" + move.destination.qmp_sock)
            move.check_moved()                   # nothing lost, never two, no litter

Each test has its own two hosts, which end with it, however it ends.
"""

import contextlib
import os
import pathlib
import re
import unittest

import hosts
import verify
from beats import Wrong, largest_gap
from guest import Disk, Guest
from qemu import Qemu, loses_memory
from watcher import Watcher

# What a login leaves when its connection has ended: sshd, and what waits for the end of its stdin
# for --encrypt=ssh. They end of that, and not at once.
ENDS_BY_ITSELF = re.compile("process: (sshd: |sudo |cat$)")

# What tests/all builds; ctest names another in $VMFERRY.
BUILT = pathlib.Path(__file__).resolve().parents[2] / "build/src/vmferry"

__all__ = ["Disk", "Guest", "Move", "MoveTest", "Watcher", "Wrong"]


class MoveTest(unittest.TestCase):
    pair = None

    def setUp(self):
        self.pair = hosts.Pair()
        self.addCleanup(self.pair.close)
        self.a, self.b = self.pair.a, self.pair.b

    def prepare(self, guest, start_destination=True, watch=True):
        """Starts the guest on hosta and its destination on hostb, or leaves
        that to vmferry, which finds all files there that it needs."""
        move = Move(guest, self.a, self.b, start_destination, watch)
        self.addCleanup(move.close)
        return move

    def vmferry(self, *arguments, check=True, timeout_s=120, **options):
        """Runs vmferry on hosta to its end."""
        return self.a.run([*self.vmferry_argv(), *arguments], check=check,
                          timeout_s=timeout_s, **options)

    def start_vmferry(self, *arguments, **options):
        """Starts vmferry on hosta; a Popen to signal, read and wait for."""
        process = self.a.popen([*self.vmferry_argv(), *arguments], **options)
        self.addCleanup(_end, process)
        return process

    @staticmethod
    def vmferry_argv():
        return [os.environ.get("VMFERRY", str(BUILT))]


class Move:
    """A guest, its source and its destination, and how things were before."""

    def __init__(self, guest, src_host, dst_host, start_destination=True, watch=True):
        self.guest, self.src_host, self.dst_host = guest, src_host, dst_host
        self.source = self.destination = self.watcher = None
        try:
            self._start(start_destination, watch)
        except BaseException:
            self.close()
            raise

    def _start(self, start_destination, watch):
        if start_destination:
            self.destination = self.guest.start_destination(self.dst_host)
        else:
            self.guest.make_destination_images(self.dst_host)
        self.source = self.guest.start(self.src_host)
        if loses_memory(self.source):
            raise unittest.SkipTest("TCG of QEMU before 9.0 loses what the guest writes to RAM")
        self.before = self.traces()
        self.settings = verify.migration_settings(self.source.watch)
        if watch:
            self.watcher = Watcher(self.guest, self.src_host, self.dst_host)
            self.watcher.start()

    def attach_destination(self):
        """Takes the destination that vmferry started for ours."""
        self.destination = Qemu(self.guest, self.dst_host)
        process = self.dst_host.processes()[self.destination.process.pid]
        self.before[1].things |= {f"process: {process}", *(
            thing for thing in self.before[0].things if self.guest.name in thing)}

    def traces(self):
        return [verify.Traces.of(host, *filter(None, [qemu])) for host, qemu in
                ((self.src_host, self.source), (self.dst_host, self.destination))]

    def check_litter(self, allowed=()):
        """Asserts that neither host holds anything it did not before."""
        with contextlib.suppress(TimeoutError):
            hosts.wait_until(lambda: not self._ending(), "the logins have ended", 10)
        for before, after in zip(self.before, self.traces()):
            before.check(after, allowed)

    def _ending(self):
        """What a login has left that was not there before."""
        return [thing for before, host in zip(self.before, (self.src_host, self.dst_host))
                for thing in verify.processes_of(host) - before.things
                if ENDS_BY_ITSELF.match(thing)]

    def check_moved(self, allowed_litter=(), may_complain=False):
        """Asserts that the guest runs on the destination only and lost nothing;
        ends it. Returns its Beats. may_complain: its QEMU may have said on stderr that a
        client of its NBD server was lost."""
        if not self.destination:
            self.attach_destination()
        self._check_goes_on(self.destination)
        return self._check(self.destination, allowed_litter, lambda: verify.check_moved(
            self.guest, self.source, self.destination), may_complain)

    def check_moved_disks(self):
        """Only the part of check_moved that looks at disks and beats."""
        return verify.check_moved(self.guest, self.source, self.destination)

    def check_stayed(self, allowed_litter=(), may_complain=False):
        """Asserts that the guest still runs on the source only, lost nothing
        and is as if nobody had tried to move it; ends it. may_complain: its
        QEMU may have said on stderr that a migration failed."""
        self._check_goes_on(self.source)
        if verify.migration_settings(self.source.watch) != self.settings:
            raise Wrong("migration capabilities or parameters were not put back: "
                        f"{self.settings} became {verify.migration_settings(self.source.watch)}")
        return self._check(self.source, allowed_litter,
                           lambda: verify.check_stayed(self.guest, self.source), may_complain)

    def _check_goes_on(self, qemu):
        if self.guest.paused:
            if (status := qemu.watch.status()) != "paused":
                raise Wrong(f"the guest was paused and is {status}")
        else:
            qemu.watch.wait_status("running")
            qemu.wait_for_beats()

    def _check(self, runs_on, allowed_litter, check, may_complain=False):
        if self.watcher:
            self.watcher.check()
        self.check_litter(allowed_litter)
        if not may_complain:
            runs_on.check_errors()
        return check()

    def source_unchanged(self):
        """To be called when the source has stopped: an object whose check()
        asserts that its images have not changed since."""
        return verify.Unchanged(self.source.host, *map(self.guest.image,
                                                       range(len(self.guest.disks))))

    def gap_s(self):
        """The guest's longest silence (needs timed_beats)."""
        return largest_gap(self.source.beats, self.destination.beats)

    def close(self):
        if self.watcher:
            self.watcher.stop()
        for qemu in filter(None, (self.source, self.destination)):
            qemu.close()


def _end(process):
    if process.poll() is None:
        process.kill()
    process.wait()
