"""The source's QEMU does not answer any more in the middle of a move (here: it is stopped, by
SIGSTOP). It is said soon, with what is not known; when it answers again recover settles it."""

import os
import signal
import time
import unittest

import hosts
from rig import Guest
from test_faults import DONE, HUMAN, for_each
from test_recover import RecoverTest

SHORT = ["--timeout", "connect=2", "--timeout", "answer=2", "--timeout", "switchover=2"]
SOON_S = 30  # twice 2 s, then a second for each thing that cannot be taken back; and a busy machine


class HangingSource(RecoverTest):
    def hangs(self, step):
        """What vmferry said, and the move."""
        move = self.prepare(Guest(rate=300, sectors=127), watch=False)  # who watches would hang, too
        process = self.halted(move, step, *SHORT)
        os.kill(move.source.process.pid, signal.SIGSTOP)
        begun = time.monotonic()
        said = self.goes_on(process, HUMAN)
        self.assertLess(time.monotonic() - begun, SOON_S)
        self.assertIn("seen: source: its QEMU cannot be asked", said)
        return said, move

    @for_each(["copy", "switchover"])
    def test_before_the_guest_is_over_there(self, step):
        said, move = self.hangs(step)
        self.assertRegex(said, rf"{step}: source: \S+: timed out after 2 s")
        self.assertFalse(move.destination.running())
        os.kill(move.source.process.pid, signal.SIGCONT)
        if step == "switchover":  # it was told to end, and may wait for what the source sends
            hosts.wait_until(lambda: move.destination.process.poll() is not None, "it ends")
        self.recover(move)
        move.check_stayed(may_complain=True)

    def test_afterwards(self):
        said, move = self.hangs("end")
        self.assertIn("the guest runs on hostb, but the source's stopped QEMU could not be ended",
                      said)
        self.assertIn("its QEMU hangs", self.recover(move, HUMAN, *SHORT))
        self.assertTrue(move.destination.running())
        os.kill(move.source.process.pid, signal.SIGCONT)
        self.recover(move)
        move.check_moved()


if __name__ == "__main__":
    unittest.main(verbosity=2)
