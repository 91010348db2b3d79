"""Ways to the other host that ssh_config(5) knows, with whole moves through them."""

import os
import pathlib
import signal
import unittest

import hosts
from rig import Guest
from test_faults import INTERRUPTED, REFUSED, FaultTest


class SshTest(FaultTest):
    def configure(self, *lines):
        """Puts these lines before all others of hosta's ssh_config."""
        path = pathlib.Path(self.a.outside(self.a.ssh_config))
        path.write_text("\n".join([*lines, path.read_text()]))


class Proxies(SshTest):
    def setUp(self):
        super().setUp()
        self.configure("Host hostb", "ProxyJump hostb4")  # one host by two names

    def test_the_data_address_is_asked_for(self):
        move = self.prepare(Guest(rate=0))
        done = self.vmferry(*self.arguments("migrate", move), check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("--data-address", done.stderr)
        self.assertIn("nothing was changed", done.stderr)
        move.check_stayed()

    def test_moves_by_a_jump(self):
        move = self.prepare(Guest(rate=300, sectors=127))
        self.vmferry(*self.arguments("migrate", move, "--data-address", self.b.ipv4))
        move.check_moved()

    def jumps(self):
        return [pid for pid, line in self.a.processes().items() if line.startswith("ssh ")]

    def test_no_jump_is_left_when_vmferry_is_killed(self):
        move = self.prepare(Guest(rate=0))
        process = self.halted(move, "copy", "--data-address", self.b.ipv4)
        self.assertTrue(self.jumps())
        process.kill()
        process.wait()
        hosts.wait_until(lambda: not self.jumps(), "the ssh of the ProxyJump ends")
        self.vmferry("recover", "--all", "-F", self.a.ssh_config)
        move.check_moved()  # from where it was, through a jump of its own

    def test_interrupted_by_the_terminal_it_undoes_through_the_jump(self):
        """Ctrl-C goes to the whole process group."""
        move = self.prepare(Guest(rate=0))
        process = self.halted(move, "copy", "--data-address", self.b.ipv4)
        os.killpg(process.pid, signal.SIGINT)
        self.goes_on(process, INTERRUPTED)
        move.check_stayed(may_complain=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
