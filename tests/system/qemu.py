"""A running QEMU of a test guest."""

import os
import pathlib
import re
import select
import signal

import hosts
from beats import BeatReader, Wrong
from program import accelerator
from qmp import Qmp, QmpClosed


# 5.2's NBD server says so of a client that hangs up; vmferry does when the mirrors have ended.
HARMLESS = re.compile(".*Disconnect client, due to: Failed to read request: Unexpected end-of-file.*")


class Qemu:
    """A running QEMU of a guest on a host."""

    def __init__(self, guest, host, argv=None):
        """Starts it; without argv takes the one that somebody else started."""
        self.guest, self.host = guest, host
        self.directory = guest.directory
        self.qmp_sock = f"{guest.directory}/qmp.sock"
        self.beat_log = host.outside(guest.beat_log)
        self.stderr_path = host.outside(f"{guest.directory}/stderr.log")
        self.beats = guest.timed_beats and BeatReader(host.outside(guest.beat_path), self.beat_log)
        if argv:
            with open(self.stderr_path, "ab") as stderr:
                self.process = host.popen(argv, stdout=stderr, stderr=stderr)
        else:
            self.process = _find_process(guest, host)
        self.watch = None
        try:
            self.watch = self._connect()
        except BaseException:
            self.close()
            raise

    def _connect(self):
        """Connects to the monitor, which is there soon or QEMU has ended."""
        path = self.host.outside(f"{self.directory}/watch.sock")
        hosts.wait_until(lambda: os.path.exists(path) or self.check_alive(),
                         f"{self.host.name}: QEMU has a monitor")
        try:
            return Qmp(path)
        except (OSError, QmpClosed):
            self.process.wait(hosts.DEADLINE_S)
            self.check_alive()

    def check_alive(self):
        """Raises an error with what QEMU said if it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.host.name}: QEMU ended with {self.process.returncode}: "
                               f"{self.stderr()}")

    def stderr(self):
        path = pathlib.Path(self.stderr_path)
        return path.read_text() if path.exists() else ""

    def has_beaten(self, more):
        """Whether the log has that many bytes."""
        try:
            return os.path.getsize(self.beat_log) >= more
        except FileNotFoundError:
            return False

    def wait_for_beats(self, count=64, deadline_s=hosts.DEADLINE_S):
        """Waits until the guest has said that many bytes more."""
        wanted = count + (os.path.getsize(self.beat_log) if self.has_beaten(1) else 0)
        hosts.wait_until(lambda: self.has_beaten(wanted) or self.check_alive(),
                         f"{self.guest.name} beats on {self.host.name}", deadline_s)

    def running(self):
        """Whether the process is there and runs the guest."""
        return self.status() == "running"

    def status(self):
        """QEMU's word for it; "gone" when its monitor has ended, its process maybe not yet."""
        try:
            return "gone" if self.process.poll() is not None else self.watch.status()
        except QmpClosed:
            return "gone"

    def quit(self):
        """Ends QEMU in good order; nothing if it has ended."""
        if self.process.poll() is None:
            try:
                self.watch.command("quit")
            except QmpClosed:
                pass
        self.process.wait(hosts.DEADLINE_S)

    def kill(self):
        """Ends the process like a crash would."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def close(self):
        """Ends everything; may be called twice and at any time."""
        self.kill()
        if self.watch:
            self.watch.close()
        if self.beats:
            self.beats.close()
            self.beats = None

    def check_errors(self):
        """Asserts that QEMU complained about nothing."""
        said = HARMLESS.sub("", self.stderr())
        if match := re.search(".*(conflict|error|fail|assert).*", said, re.IGNORECASE):
            raise Wrong(f"{self.host.name}: QEMU said: {match.group()}")


class _Process:
    """A process that is not our child, with what we need of a Popen."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = None
        self._pidfd = os.pidfd_open(pid)

    def poll(self):
        if self.returncode is None and select.select([self._pidfd], [], [], 0)[0]:
            os.close(self._pidfd)
            self.returncode = 0  # nobody tells us
        return self.returncode

    def wait(self, timeout=hosts.DEADLINE_S):
        hosts.wait_until(lambda: self.poll() is not None, f"process {self.pid} ends", timeout)

    def kill(self):
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _find_process(guest, host):
    for pid, line in host.processes().items():
        if re.search(rf"^\S*qemu\S* .*-name \S*{guest.name}\b", line):
            return _Process(pid)
    raise Wrong(f"{host.name}: no QEMU of {guest.name} runs")


def loses_memory(qemu):
    """Whether this QEMU's migration may lose what the guest writes to RAM:
    TCG before 9.0 does, and it looks like a corrupted guest."""
    return accelerator() == "tcg" and qemu.watch.greeting["QMP"]["version"]["qemu"]["major"] < 9
