"""Watches that a guest never runs twice.

Three witnesses. QEMU's own STOP and RESUME events carry timestamps of one
clock, so the times each side ran are known exactly. A thread asks both sides
for their status all the time, A, B and A again: if A ran before and after B
did, both ran. And the guest's beats (beats.py) would repeat.
"""

import dataclasses
import os
import threading
import time

from beats import Wrong
from qmp import Qmp, QmpClosed, timestamp


@dataclasses.dataclass
class Span:
    """A time during which the guest ran on a side; end None: it still does."""
    side: str
    start: float
    end: float | None


class Watcher:
    """start() it before the move, or use it as a context manager; then check().
    It watches the guest on these hosts, whether its QEMU is there already,
    comes later or comes again. there: the guest with its other paths on the
    last of them, where that is one host for both."""

    def __init__(self, guest, *hosts, there=None, interval_s=0.003):
        self._interval_s = interval_s
        self._sides = [_Side(guest, host) for host in hosts]
        if there:
            self._sides.append(_Side(there, hosts[-1]))
        self._both = []
        self.samples = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self):
        self._sample_all()
        self._thread.start()

    def stop(self):
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            for side in self._sides:
                side.finish()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def spans(self):
        """When the guest ran where, by QEMU's events, in order of time."""
        return sorted((span for side in self._sides for span in side.spans),
                      key=lambda span: span.start)

    def pause_s(self):
        """How long the guest ran nowhere, between the first span and the last."""
        spans = self.spans()
        return sum(later.start - earlier.end for earlier, later in zip(spans, spans[1:]))

    def check(self):
        """Asserts that the guest never ran twice."""
        self.stop()
        if self._both:
            raise Wrong(f"both sides ran the guest: {self._both}")
        spans = self.spans()
        for earlier, later in zip(spans, spans[1:]):
            if earlier.end is None or earlier.end > later.start:
                raise Wrong(f"ran on {later.side} before it stopped on {earlier.side}: "
                            f"{earlier}, {later}")

    def _watch(self):
        while not self._stop.is_set():
            self._sample_all()
            time.sleep(self._interval_s)

    def _sample_all(self):
        for one, other in zip(self._sides, self._sides[1:]):
            for first, second in ((one, other), (other, one)):
                if first.running() and second.running() and first.running():
                    self._both.append((time.time(), first.name, second.name))
        self.samples += 1


class _Side:
    def __init__(self, guest, host):
        self.name = host.name
        self.spans = []
        self._socket = host.outside(f"{guest.directory}/status.sock")
        self._qmp = None

    def running(self):
        """Whether the guest runs here now; keeps the spans."""
        try:
            if self._qmp is None:
                return self._connect()
            status = self._qmp.status()
            self._take_events()
            return status == "running"
        except QmpClosed:
            self._end()
            return False

    def finish(self):
        if self._qmp:
            try:
                self._qmp.poll_events()
                self._take_events()
                self._qmp.close()
            except QmpClosed:
                self._end()

    def _connect(self):
        """Connects if there is a QEMU, and begins a span if it runs."""
        if not os.path.exists(self._socket):
            return False
        try:
            self._qmp = Qmp(self._socket, deadline_s=0)
        except OSError:
            return False
        running = self._qmp.status() == "running"
        self._take_events()
        if running and not self._in_span():
            self.spans.append(Span(self.name, time.time(), None))
        return running

    def _end(self):
        """QEMU is gone; the guest ran there till now at most. What it said before may
        still be there to be read, if it was our command that did not get through."""
        if self._qmp:
            try:
                self._qmp.poll_events()
            except QmpClosed:
                pass
            self._take_events()
            self._qmp.close()
            self._qmp = None
        if self._in_span():
            self.spans[-1].end = time.time()

    def _in_span(self):
        return self.spans and self.spans[-1].end is None

    def _take_events(self):
        for event in self._qmp.events:
            if event["event"] == "RESUME" and not self._in_span():
                self.spans.append(Span(self.name, timestamp(event), None))
            elif event["event"] == "STOP" and self._in_span():
                self.spans[-1].end = timestamp(event)
        self._qmp.events.clear()
