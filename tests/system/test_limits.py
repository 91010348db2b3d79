"""--bandwidth and --downtime-limit: what the source's QEMU is told, and what comes of it."""

import json
import re
import unittest

from guest import MIB
from qmp import timestamp
from rig import Disk, Guest
from test_faults import DONE, FaultTest

RATE = 40 * MIB  # bytes a second


class Limits(FaultTest):
    def test_the_bandwidth_is_shared(self):
        """Among the disks, of which one is soon through, then it is RAM's; and is kept."""
        disks = [Disk(size=16 * MIB, region=(4, 8)), Disk(size=96 * MIB)]
        move = self.prepare(Guest(disks=disks, rate=0))
        process = self.halted(move, "ram", "--verbose", "--bandwidth", "40M",
                              "--downtime-limit", "123")
        parameters = move.source.watch.command("query-migrate-parameters")
        self.assertEqual((parameters["max-bandwidth"], parameters["downtime-limit"]), (RATE, 123))
        self.assertGreater(copy_s(move.source.watch), 0.9 * data_of(move) / RATE)
        said = self.goes_on(process, DONE)
        self.assertEqual(speeds(said, "vmferry-0"), {RATE // 2})
        self.assertEqual(speeds(said, "vmferry-1"), {RATE // 2, RATE})
        move.check_moved()


def data_of(move):
    """Bytes of the guest's disks that are no holes: some MiB are zeroes from their middle on."""
    guest = move.guest
    return sum(len((guest.original(number, mib) or b"").rstrip(b"\0"))
               for number, disk in enumerate(guest.disks) for mib in range(disk.size // MIB))


def copy_s(qmp):
    """From the first mirror's start to the last one's steady state, by QEMU's clock."""
    events = qmp.poll_events()
    begun = [timestamp(event) for event in events if event["event"] == "JOB_STATUS_CHANGE"
             and event["data"]["status"] == "running"]
    ready = [timestamp(event) for event in events if event["event"] == "BLOCK_JOB_READY"]
    return ready[-1] - begun[0]


def speeds(said, job):
    """Those that a mirror was given, by the lines of --verbose."""
    commands = [json.loads(line[line.index("{"):]) for line in said.splitlines()
                if re.search(r'"execute": ?"block-job-set-speed"', line)]
    return {command["arguments"]["speed"] for command in commands
            if command["arguments"]["device"] == job}


if __name__ == "__main__":
    unittest.main(verbosity=2)
