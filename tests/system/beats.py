"""What the guest said on its debug port: reading it, timing it.

read_beats() checks a whole log byte for byte; the log of a moved guest is the
source's followed by the destination's, and reads as if nothing had happened:
even a line cut in two by the switchover is whole again. A beat that is missing
or comes twice, or an acknowledgement, is a Wrong.
"""

import dataclasses
import os
import pathlib
import select
import threading
import time

LINE_LENGTH = 19  # "#HHHHHHHH,HHHHHHHH\n"
START_LENGTH = 10  # "!HHHHHHHH\n"


class Wrong(AssertionError):
    """The move did what it must not."""


@dataclasses.dataclass
class Beats:
    guest_id: int
    beats: int  # the last beat
    acked: int  # the last request acknowledged


def read_beats(*paths):
    """Reads a guest's logs, in the order it ran there."""
    return parse_beats(b"".join(pathlib.Path(path).read_bytes() for path in paths))


def parse_beats(log):
    if log[:1] != b"!" or len(log) < START_LENGTH:
        raise Wrong(f"the guest did not start: {log[:40]!r}")
    state = Beats(_number(log[1:9]), 0, 0)
    at = START_LENGTH
    while at < len(log):
        byte = log[at]
        if byte >= 0x80:
            state.beats = _next(state.beats, byte, 0x7F, "beat", at)
            at += 1
            if state.beats % 128 == 0 and log[at:at + 1] not in (b"#", b""):
                raise Wrong(f"no state line after beat {state.beats} (byte {at})")
        elif byte >= 0x40:
            state.acked = _next(state.acked, byte, 0x3F, "acknowledgement", at)
            at += 1
        else:
            line = log[at:at + LINE_LENGTH]
            if len(line) < LINE_LENGTH and at + len(line) == len(log):
                return state  # the log ends in the middle of it
            _check_line(line, state, at)
            at += LINE_LENGTH
    return state


def _next(last, byte, mask, what, at):
    if byte & mask != (last + 1) & mask:
        raise Wrong(f"{what} {last + 1} expected after {last}, but its low bits are "
                    f"{byte & mask:#x}, not {(last + 1) & mask:#x} (byte {at}): "
                    "one is missing, or came twice")
    return last + 1


def _check_line(line, state, at):
    if line[9:10] != b"," or line[18:] != b"\n":
        raise Wrong(f"not a line of the guest: {line!r} (byte {at})")
    first, second = _number(line[1:9]), _number(line[10:18])
    if line[:1] == b"$":
        raise Wrong(f"the guest found something wrong: code {first:#x}, number {second}")
    if line[:1] != b"#" or (first, second) != (state.beats, state.acked):
        raise Wrong(f"guest says beat {first} and request {second}, the log has "
                    f"{state.beats} and {state.acked} (byte {at})")


def _number(digits):
    if any(not 0x30 <= digit < 0x40 for digit in digits):
        raise Wrong(f"not a number of the guest: {digits!r}")
    return int("".join("%x" % (digit - 0x30) for digit in digits), 16)


class BeatReader:
    """Reads a guest's debug port through a FIFO, notes when it said what, and
    writes it on into the log. For Guest(timed_beats=True)."""

    def __init__(self, fifo, log):
        if not os.path.exists(fifo):
            os.mkfifo(fifo)
        self._fifo = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._log = open(log, "ab", buffering=0)
        self._stop_read, self._stop_write = os.pipe()
        self.times = []  # (when, how many beats), by time.time()
        self.acks = []  # (when, how many acknowledgements)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while True:
            ready, _, _ = select.select([self._fifo, self._stop_read], [], [])
            if self._fifo in ready:
                data = os.read(self._fifo, 65536)
                now = time.time()
                self._log.write(data)
                if count := sum(byte >= 0x80 for byte in data):
                    self.times.append((now, count))
                if count := sum(0x40 <= byte < 0x80 for byte in data):
                    self.acks.append((now, count))
            elif self._stop_read in ready:
                return

    def close(self):
        os.close(self._stop_write)
        self._thread.join()
        os.close(self._fifo)
        os.close(self._stop_read)
        self._log.close()


def largest_gap(*readers):
    """The longest silence of a guest, in seconds, over its hosts in order."""
    times = [when for reader in readers for when, _ in reader.times]
    return max((later - earlier for earlier, later in zip(times, times[1:])), default=0.0)
