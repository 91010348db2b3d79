"""--encrypt=ssh: disks and RAM go through SSH, and no other port is needed."""

import struct
import unittest

import wire
from rig import Disk, Guest
from test_faults import FaultTest

WRITING = {"rate": 300, "sectors": 127}
SSH = 22
ALL_BUT_SSH = "1-21, 23-65535"


class Through(FaultTest):
    def moved(self, *options, **kind):
        """A move with every other port closed; what came to each port."""
        guest = Guest(**WRITING, **kind)
        move = self.prepare(guest)
        self.b.block(ALL_BUT_SSH, "reject")
        mark = struct.pack("<4sI", b"VMFF", guest.id)
        with wire.sniffed(self.b, mark) as came:
            done = self.vmferry(*self.arguments("migrate", move, "--encrypt=ssh", *options))
        self.b.unblock()
        move.check_moved()
        self.assertEqual(set(came), {SSH})
        count, marks = came[SSH]
        self.assertEqual(marks, 0)
        return done.stderr

    def test_two_disks(self):
        said = self.moved(disks=[Disk(), Disk(bus="scsi")])
        self.assertNotIn("NOT ENCRYPTED", said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
