"""Watches that a guest never runs twice.

Three witnesses. QEMU's own STOP and RESUME events carry timestamps of one
clock, so the times each side ran are known exactly. A thread asks both sides
for their status all the time, A, B and A again: if A ran before and after B
did, both ran. And the guest's beats (beats.py) would repeat.
"""

import dataclasses
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
    """Use as a context manager around the move; then check()."""

    def __init__(self, *qemus, interval_s=0.003):
        self._interval_s = interval_s
        self._sides = [_Side(qemu) for qemu in qemus]
        self._both = []
        self.samples = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            for side in self._sides:
                side.finish()

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
            for one, other in zip(self._sides, self._sides[1:]):
                self._sample(one, other)
                self._sample(other, one)
            self.samples += 1
            time.sleep(self._interval_s)

    def _sample(self, one, other):
        if one.running() and other.running() and one.running():
            self._both.append((time.time(), one.name, other.name))


class _Side:
    def __init__(self, qemu):
        self.name = qemu.host.name
        self.spans = []
        self._ended = None
        self._qmp = Qmp(qemu.host.outside(f"{qemu.directory}/status.sock"))
        if self.running():
            self.spans.append(Span(self.name, time.time(), None))

    def running(self):
        if self._ended:
            return False
        try:
            status = self._qmp.status()
        except QmpClosed:
            self._end()
            return False
        self._take_events()
        return status == "running"

    def finish(self):
        if not self._ended:
            try:
                self._qmp.poll_events()
            except QmpClosed:
                self._end()
            self._take_events()
        self._qmp.close()

    def _end(self):
        """QEMU is gone; the guest ran there till now at most."""
        self._ended = time.time()
        self._take_events()
        if self.spans and self.spans[-1].end is None:
            self.spans[-1].end = self._ended

    def _take_events(self):
        for event in self._qmp.events:
            running = self.spans and self.spans[-1].end is None
            if event["event"] == "RESUME" and not running:
                self.spans.append(Span(self.name, timestamp(event), None))
            elif event["event"] == "STOP" and running:
                self.spans[-1].end = timestamp(event)
        self._qmp.events.clear()
