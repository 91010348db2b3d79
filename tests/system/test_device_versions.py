"""QEMUs of different suites with one command line are the same machine: no objection arises.
Part of what versions/run passes."""

import unittest

from rig import Guest
from suites import newest_machine, qemu_of
from test_devices import PORTS, RICH, SLOTS
from test_faults import FaultTest


class Versions(FaultTest):
    """The same command line for two QEMUs of different suites."""

    def check(self, src, dst):
        qemus = [qemu_of(src), qemu_of(dst)]
        for machine, more in (("pc-i440fx", []), ("pc-q35", PORTS)):
            with self.subTest(machine=machine):
                self.doCleanups()
                self.setUp()
                self.accepted(qemus, machine, more)

    def accepted(self, qemus, machine, more):
        machine = newest_machine(*qemus).replace("pc-i440fx", machine)
        move = self.prepare(Guest(qemu=qemus[0], dst_qemu=qemus[1], machine=machine, rate=0,
                                  extra=[*RICH, *more, "-m", SLOTS]))
        self.vmferry(*self.arguments("check", move))

    def test_bullseye_to_bookworm(self):
        self.check("bullseye", "bookworm")

    def test_bookworm_to_trixie(self):
        self.check("bookworm", "trixie")

    def test_bookworm_to_trixie_backports(self):
        self.check("bookworm", "trixie-backports")


if __name__ == "__main__":
    unittest.main(verbosity=2)
