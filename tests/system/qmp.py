"""A small synchronous QMP client for tests.

One object is one connection to a monitor socket. A QEMU serves one client a
socket, which is why every test QEMU has three: qmp.sock for vmferry,
watch.sock for the test, status.sock for the Watcher.

Events are kept in the order they came, each as QEMU sent it (with QEMU's own
timestamp), until somebody waits for them.
"""

import errno
import json
import socket
import time

DEADLINE_S = 30


class QmpError(Exception):
    """QEMU answered a command with an error."""

    def __init__(self, command, error):
        super().__init__(f"{command}: {error['desc']}")
        self.error_class = error["class"]
        self.desc = error["desc"]


class QmpClosed(Exception):
    """The connection ended: QEMU is gone."""


class Qmp:
    def __init__(self, path, deadline_s=DEADLINE_S):
        """Connects to the monitor at path (as seen from outside), which may
        only come into being within deadline_s; 0: it must be there."""
        self.path = path
        self.events = []
        self._buffer = b""
        self._socket = _connect(path, deadline_s)
        try:
            self.greeting = self._receive(time.monotonic() + DEADLINE_S)
            self.command("qmp_capabilities")
        except BaseException:
            self.close()
            raise

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def command(self, name, arguments=None, deadline_s=DEADLINE_S, **more):
        """Runs a command and returns its answer. Arguments come as a dict, or
        as keywords with _ for -."""
        arguments = dict(arguments or {})
        arguments |= {key.replace("_", "-"): value for key, value in more.items()}
        message = {"execute": name}
        if arguments:
            message["arguments"] = arguments
        try:
            self._socket.settimeout(deadline_s)
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise QmpClosed(f"{self.path}: {error}") from error
        deadline = time.monotonic() + deadline_s
        while True:
            answer = self._receive(deadline)
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise QmpError(name, answer["error"])
            else:
                return answer["return"]

    def human(self, line):
        """Runs a command of the human monitor."""
        return self.command("human-monitor-command", {"command-line": line})

    def status(self):
        return self.command("query-status")["status"]

    def poll_events(self):
        """Takes in what has come without waiting; all events not yet waited for."""
        while True:
            try:
                self._take_event(time.monotonic())
            except TimeoutError:
                return self.events

    def wait_event(self, name, deadline_s=DEADLINE_S, **data):
        """Waits for an event of this name whose data has these values, removes
        it from the kept ones and returns it."""
        deadline = time.monotonic() + deadline_s
        seen = 0
        while True:
            for event in self.events[seen:]:
                if event["event"] == name and _has(event.get("data", {}), data):
                    self.events.remove(event)
                    return event
            seen = len(self.events)
            self._take_event(deadline)

    def wait_status(self, *wanted, deadline_s=DEADLINE_S):
        """Waits until query-status tells one of these; returns it."""
        deadline = time.monotonic() + deadline_s
        while (status := self.status()) not in wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.path}: status {status}, not {wanted}")
            time.sleep(0.002)
        return status

    def _take_event(self, deadline):
        message = self._receive(deadline)
        assert "event" in message, message
        self.events.append(message)

    def _receive(self, deadline):
        while b"\n" not in self._buffer:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.0001))
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                raise TimeoutError(f"{self.path}: QEMU said nothing in time") from None
            except OSError as error:
                raise QmpClosed(f"{self.path}: {error}") from error
            if not data:
                raise QmpClosed(f"{self.path}: QEMU closed the connection")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)


def timestamp(event):
    """When QEMU sent the event, in seconds since 1970."""
    stamp = event["timestamp"]
    return stamp["seconds"] + stamp["microseconds"] / 1e6


def _has(data, wanted):
    return all(data.get(key.replace("_", "-")) == value for key, value in wanted.items())


def _connect(path, deadline_s):
    deadline = time.monotonic() + deadline_s
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(DEADLINE_S)
            connection.connect(path)
            return connection
        except OSError as error:
            connection.close()
            if time.monotonic() > deadline or error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
                raise
            time.sleep(0.002)
