"""A destination that is a bare path: both QEMUs are on this host, no SSH is needed."""

import os
import shlex
import unittest

import hosts
from beats import read_beats
from qemu import Qemu
from rig import Disk, Guest, MoveTest, Watcher
from verify import Traces, check_disks

WRITING = {"rate": 300, "sectors": 127}


class There(Guest):
    """The guest with all its files in another directory."""
    @property
    def directory(self):
        return f"{hosts.WORK}/there"


class OneHost(MoveTest):
    def setUp(self):
        super().setUp()
        self.a.stop_sshd()

    def prepare_one(self, *disks):
        self.guest, self.there = (kind(disks=[*disks], **WRITING) for kind in (Guest, There))
        self.there.make_destination_images(self.a)
        self.source = self.guest.start(self.a)
        self.addCleanup(self.source.close)

    def migrate(self, *options):
        with Watcher(self.guest, self.a, there=self.there) as watcher:
            self.vmferry("migrate", *options, "--map",
                         f"{self.guest.directory}={self.there.directory}",
                         *(f"{guest.directory}/qmp.sock" for guest in (self.guest, self.there)))
        watcher.check()

    def check_moved(self, destination, before, allowed=()):
        destination.wait_for_beats()
        before.check(Traces.of(self.a, destination), allowed)
        destination.quit()
        self.assertIsNotNone(self.source.process.poll())
        beats = read_beats(self.source.beat_log, destination.beat_log)
        check_disks(self.there, self.a, beats.acked)

    def test_a_qemu_that_waits(self):
        self.prepare_one(Disk(), Disk(bus="scsi"))
        destination = Qemu(self.there, self.a, self.there.argv(is_source=False))
        self.addCleanup(destination.close)
        before = Traces.of(self.a, destination)
        self.migrate()
        self.check_moved(destination, before)

    def test_one_that_is_started(self):
        """By a shell of this host, with the files that it lacks."""
        self.prepare_one(Disk(dst_image=False), Disk(bus="scsi"))
        before = Traces.of(self.a, self.source)
        image = self.there.image(0)
        os.chmod(self.a.outside(self.guest.image(0)), 0o640)
        self.migrate("--start", shlex.join([*self.there.argv(is_source=False), "-daemonize"]))
        destination = Qemu(self.there, self.a)
        self.addCleanup(destination.close)
        self.assertEqual(os.stat(self.a.outside(image)).st_mode & 0o777, 0o640)
        self.check_moved(destination, before, [rf"{self.there.directory}/"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
