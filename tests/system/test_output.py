"""Whoever does not take what vmferry says - a terminal stopped with Ctrl-S, a pipe that
nobody reads - does not hold up the move, and the guest least of all."""

import fcntl
import json
import os
import select
import termios
import time
import tty
import unittest

import hosts
from rig import Guest
from test_faults import DONE, FaultTest

WRITING = {"rate": 300, "sectors": 127}
PAUSE_MAX_S = 2  # far more than any pause, far less than anybody waits here


class Output(FaultTest):
    def run_into(self, move, *options, **outputs):
        return self.start_vmferry(*self.arguments("migrate", move, "--verbose", *options),
                                  **outputs)

    def check_moved(self, move):
        """Moved, though nobody reads; vmferry itself may wait at its end."""
        hosts.wait_until(lambda: move.source.process.poll() is not None, "the source has ended")
        move.destination.wait_for_beats()
        self.assertLess(move.watcher.pause_s(), PAUSE_MAX_S)

    def stopped_terminal(self):
        master, slave = os.openpty()
        for end in (master, slave):
            self.addCleanup(os.close, end)
        tty.setraw(slave)
        termios.tcflow(slave, termios.TCOOFF)
        return master, slave

    def full_pipe(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        fill(writer)
        return reader, writer

    def test_terminal_is_stopped_and_goes_on(self):
        """Nothing was lost, and the end is said at last."""
        move = self.prepare(Guest(**WRITING))
        master, slave = self.stopped_terminal()
        process = self.run_into(move, stderr=slave)
        self.check_moved(move)
        self.assertEqual(available(master), b"")
        termios.tcflow(slave, termios.TCOON)
        said = read_until(master, b" s\n").decode()
        self.assertEqual(process.wait(30), DONE)
        places = [said.index(f"vmferry: {word}:")
                  for word in ("mirror", "copy", "switchover", "run", "end", "done")]
        self.assertEqual(places, sorted(places))
        move.check_moved()

    def test_terminal_stays_stopped(self):
        """It is waited for, but not for ever."""
        move = self.prepare(Guest(**WRITING))
        _, slave = self.stopped_terminal()
        process = self.run_into(move, stderr=slave)
        self.check_moved(move)
        self.assertEqual(process.wait(30), DONE)
        move.check_moved()

    def test_json_that_nobody_reads(self):
        move = self.prepare(Guest(**WRITING))
        _, writer = self.full_pipe()
        process = self.run_into(move, "--json", stdout=writer)
        os.close(writer)
        self.check_moved(move)
        self.assertEqual(process.wait(30), DONE)
        move.check_moved()

    def test_json_that_is_read_late(self):
        move = self.prepare(Guest(**WRITING))
        reader, writer = self.full_pipe()
        process = self.run_into(move, "--json", stdout=writer)
        os.close(writer)
        self.check_moved(move)
        with open(reader, "rb", closefd=False) as pipe:
            lines = [json.loads(line) for line in pipe.read().lstrip(b"\0").splitlines()]
        self.assertEqual(process.wait(30), DONE)
        self.assertEqual(lines[-1]["type"], "result")
        begun = [line["step"] for line in lines
                 if line["type"] == "step" and line["state"] == "begun"]
        self.assertEqual(begun, [line["step"] for line in lines
                                 if line["type"] == "step" and line["state"] == "done"])
        self.assertIn("switchover", begun)
        move.check_moved()

    def goes_away(self, stream, *options):
        move = self.prepare(Guest(**WRITING))
        reader, writer = os.pipe()
        process = self.run_into(move, *options, **{stream: writer})
        os.close(writer)
        os.close(reader)
        self.assertEqual(process.wait(60), DONE)
        move.check_moved()

    def test_reader_of_stderr_goes_away(self):
        self.goes_away("stderr")

    def test_reader_of_json_goes_away(self):
        self.goes_away("stdout", "--json")


def fill(pipe):
    """Writes zeroes until it takes no more. The flag is of the description: put it back."""
    flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    try:
        while True:
            os.write(pipe, bytes(4096))
    except BlockingIOError:
        fcntl.fcntl(pipe, fcntl.F_SETFL, flags)


def available(fd):
    return os.read(fd, 4096) if select.select([fd], [], [], 0)[0] else b""


def read_until(fd, end, deadline_s=hosts.DEADLINE_S):
    said = b""
    deadline = time.monotonic() + deadline_s
    while not said.endswith(end):
        if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
            raise TimeoutError(f"the terminal got only this: {said[-500:]}")
        said += os.read(fd, 65536)
    return said


if __name__ == "__main__":
    unittest.main(verbosity=2)
