"""A QMP monitor in front of a QEMU's, which can do less than that QEMU can.

    relay = Relay(host, qemu.qmp_sock, hide=["nbd-server-add", "block-export-add"])
    self.addCleanup(relay.close)
    self.vmferry("migrate", ..., f"hostb:{relay.path}")

What is hidden is in no list that QEMU gives, and who uses it all the same gets
QEMU's own error: the relay passes the command on by a name that no QEMU knows
and takes that name out of the answer. So errors come in their order, in the
words of that QEMU. query-qmp-schema and the human monitor hide nothing.

It is a process of its own on the host, as QEMU is: it has QEMU's root and
working directory, which vmferry looks up, serves one client at a time, and
ends when QEMU does.

in_front() gives a QEMU one on its own path, from its start. Either has one
command answered by an error when a test wants it: fail_next().
"""

import array
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

import hosts

DISGUISE = "x-hidden-"
FAILING = "x-failing-"
FAIL = f"{hosts.ETC}/fail"  # holds the command to be answered by an error, the next time
ERROR = {"class": "GenericError", "desc": "an error made by a test"}
DESCRIPTORS_MAX = 16
TAKES_DESCRIPTOR = ("getfd", "add-fd")


class Relay:
    def __init__(self, host, qmp_sock, hide=(), hide_capabilities=()):
        self.path = os.path.join(os.path.dirname(qmp_sock), "relay.sock")
        self._outside = host.outside(self.path)
        self._process = host.popen(
            [sys.executable, "-B", os.path.abspath(__file__), qmp_sock, self.path,
             json.dumps({"commands": list(hide), "capabilities": list(hide_capabilities)})],
            stdout=subprocess.PIPE)
        if self._process.stdout.readline() != b"ready\n":
            self.close()
            raise RuntimeError(f"{host.name}: no relay to {qmp_sock}")

    def close(self):
        """Ends it; may be called twice."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        if os.path.exists(self._outside):
            os.unlink(self._outside)


def in_front(qmp_sock, qemu, take_path=False, hide_capabilities=()):
    """What goes before the arguments of a QEMU (program and what goes before its own), for a
    relay to be on the path of its monitor. The QEMU gets another path for it, on its command
    line; or, take_path, it has the path to itself and then loses it: its command line stays as
    it was, and it is the QEMU that the kernel names to whoever connects to the relay. Only
    then does it matter when one connects: behind(qmp_sock) is there when that is done."""
    return [sys.executable, "-B", os.path.abspath(__file__), "--in-front", qmp_sock,
            str(int(take_path)),
            json.dumps({"commands": [], "capabilities": list(hide_capabilities)}), *qemu]


def behind(qmp_sock):
    """Where the QEMU is that has a relay in front of it."""
    return f"{qmp_sock}.behind"


def fail_next(host, command):
    """The next such command to a relayed QEMU on that host is not done but answered by an
    error. Returns what tells whether that has happened."""
    path = host.outside(FAIL)
    with open(path, "w") as file:
        file.write(command)
    return lambda: not os.path.exists(path)


class QemuGone(Exception):
    """Nobody listens on QEMU's monitor."""


class Disguise:
    """Changes the lines of one connection, both ways."""

    def __init__(self, hidden):
        self._commands, self._capabilities = hidden["commands"], hidden["capabilities"]
        self._asked = []  # (command, whether it fails), not yet answered; QEMU keeps their order
        self._out_of_band = []  # ids of what is not in that order

    def to_qemu(self, line):
        """The line as QEMU gets it, and whether descriptors came with it."""
        message = parse(line)
        # An empty line is not answered; what is out of band comes out of order, and no list
        # is asked for so.
        if "exec-oob" in message:
            self._out_of_band.append(message.get("id"))
        if not line.strip() or "exec-oob" in message:
            return line, False
        command = message.get("execute")
        failing = is_to_fail(command)
        self._asked.append((command, failing))
        if failing:
            line = encode(message | {"execute": FAILING + command})
        elif command in self._commands:
            line = encode(message | {"execute": DISGUISE + command})
        elif command == "migrate-set-capabilities":
            self._disguise_capabilities(message)
            line = encode(message)
        return line, command in TAKES_DESCRIPTOR

    def from_qemu(self, line):
        message = parse(line)
        if "error" in message:
            line = line.replace(DISGUISE.encode(), b"")
        if message.get("id") in self._out_of_band:
            self._out_of_band.remove(message["id"])
        elif "return" in message or "error" in message:
            command, failing = self._asked.pop(0) if self._asked else (None, False)
            if failing:
                return encode(message | {"error": ERROR})
            key, hidden = {"query-commands": ("name", self._commands),
                           "query-migrate-capabilities": ("capability", self._capabilities),
                           }.get(command, (None, ()))
            if key and "return" in message:
                message["return"] = [item for item in message["return"]
                                     if item[key] not in hidden]
                line = encode(message)
        return line

    def _disguise_capabilities(self, message):
        for item in message.get("arguments", {}).get("capabilities", []):
            if item.get("capability") in self._capabilities:
                item["capability"] = DISGUISE + item["capability"]


class Connection:
    """A client and the connection to QEMU that is for it alone."""

    def __init__(self, client, qemu, hidden):
        self._client, self._qemu, self._disguise = client, qemu, Disguise(hidden)
        self._from_client, self._from_qemu = b"", b""
        self._descriptors = []

    def serve(self):
        """Until one of both closes it."""
        poll = select.poll()
        for end in (self._client, self._qemu):
            poll.register(end, select.POLLIN)
        try:
            while True:
                for fd, _ in poll.poll():
                    pass_on = (self._pass_to_qemu if fd == self._client.fileno()
                               else self._pass_to_client)
                    if not pass_on():
                        return
        except OSError:  # an end is gone
            pass
        finally:
            self._drop_descriptors()

    def _pass_to_qemu(self):
        data, descriptors, _, _ = socket.recv_fds(self._client, 65536, DESCRIPTORS_MAX)
        self._descriptors += descriptors
        *lines, self._from_client = (self._from_client + data).split(b"\n")
        for line in lines:
            line, with_descriptor = self._disguise.to_qemu(line)
            if with_descriptor and self._descriptors:
                if FAILING.encode() in line:  # not that QEMU keeps it for the next command
                    self._qemu.sendall(line + b"\n")
                else:
                    send_with_descriptor(self._qemu, line + b"\n", self._descriptors[0])
                os.close(self._descriptors.pop(0))
            else:
                self._qemu.sendall(line + b"\n")
        return bool(data)

    def _pass_to_client(self):
        data = self._qemu.recv(65536)
        *lines, self._from_qemu = (self._from_qemu + data).split(b"\n")
        for line in lines:
            self._client.sendall(self._disguise.from_qemu(line) + b"\n")
        return bool(data)

    def _drop_descriptors(self):
        for fd in self._descriptors:
            os.close(fd)


def parse(line):
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def encode(message):
    return json.dumps(message).encode()


def send_with_descriptor(qemu, line, descriptor):
    """It goes with the first byte, as QEMU wants it."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    sent = qemu.sendmsg([line], ancillary)
    qemu.sendall(line[sent:])


def is_to_fail(command):
    """Whether a test wants an error now; it gets one."""
    try:
        with open(FAIL) as file:
            wanted = file.read()
    except FileNotFoundError:
        return False
    if wanted == command:
        os.unlink(FAIL)
    return wanted == command


def connect(path):
    qemu = socket.socket(socket.AF_UNIX)
    try:
        qemu.connect(path)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        qemu.close()
        raise QemuGone from error
    return qemu


def peer_pid(qemu):
    credentials = qemu.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], sys.byteorder)


def be_where(pid):
    """Has that process's root and working directory from now on."""
    directory = os.open(f"/proc/{pid}/cwd", os.O_PATH)
    os.chroot(f"/proc/{pid}/root")
    os.fchdir(directory)
    os.close(directory)


def serve_clients(listener, qmp_sock, hidden, qemu_process):
    """One at a time, until QEMU is gone."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(qemu_process, select.POLLIN)
    while qemu_process not in (fd for fd, _ in poll.poll()):
        client = listener.accept()[0]
        with client, connect(qmp_sock) as qemu:
            Connection(client, qemu, hidden).serve()


def main(qmp_sock, path, hidden):
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    with connect(qmp_sock) as qemu:
        pid = peer_pid(qemu)
    qemu_process = os.pidfd_open(pid)
    be_where(pid)
    listener.listen(1)
    print("ready", flush=True)
    try:
        serve_clients(listener, qmp_sock, json.loads(hidden), qemu_process)
    except QemuGone:
        pass
    listener.close()
    if not os.path.exists(qmp_sock):  # QEMU removes it at an end in good order
        os.unlink(path)


def start_in_front(qmp_sock, take_path, hidden, *argv):
    """Becomes the QEMU of argv, and leaves a child that is the relay."""
    listener, starter = socket.socket(socket.AF_UNIX), os.getpid()
    for path in (qmp_sock, behind(qmp_sock)):  # of one that was killed
        if os.path.exists(path):
            os.unlink(path)
    if int(take_path):
        listener.bind(f"{qmp_sock}.relay")
        listener.listen(1)  # the kernel notes our pid
    else:
        listener.bind(qmp_sock)
        argv = [word.replace(f"path={qmp_sock},", f"path={behind(qmp_sock)},") for word in argv]
    if os.fork() == 0:
        os.setsid()
        quiet = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(quiet, fd)
        relay_in_front(listener, qmp_sock, int(take_path), json.loads(hidden), starter)
    else:
        os.execvp(argv[0], argv)


def relay_in_front(listener, qmp_sock, take_path, hidden, starter):
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    pid = await_qemu(qmp_sock if take_path else behind(qmp_sock), starter)
    if pid is None:
        os.unlink(f"{qmp_sock}.relay" if take_path else qmp_sock)
        return
    qemu_process = os.pidfd_open(pid)
    if take_path:
        os.rename(qmp_sock, behind(qmp_sock))
        os.rename(f"{qmp_sock}.relay", qmp_sock)
    else:
        listener.listen(1)
    try:
        serve_clients(listener, behind(qmp_sock), hidden, qemu_process)
    except QemuGone:
        pass
    listener.close()
    for path in (qmp_sock, behind(qmp_sock)):
        if os.path.exists(path):
            os.unlink(path)


def await_qemu(path, starter):
    """The pid of the QEMU that listens there, some day: the starter, or its child, if it is to
    go on in the background. None: it has ended."""
    deadline = time.monotonic() + hosts.DEADLINE_S
    with contextlib.suppress(ProcessLookupError):
        starter_fd = os.pidfd_open(starter)
        while time.monotonic() < deadline:
            ended = select.select([starter_fd], [], [], 0.001)[0]
            try:
                with connect(path) as qemu:
                    return peer_pid(qemu)
            except QemuGone:
                if ended and not os.path.exists(path):
                    break
    return None


if __name__ == "__main__":
    if sys.argv[1] == "--in-front":
        start_in_front(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
