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
"""

import array
import json
import os
import select
import signal
import socket
import subprocess
import sys

import hosts

DISGUISE = "x-hidden-"
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


class QemuGone(Exception):
    """Nobody listens on QEMU's monitor."""


class Disguise:
    """Changes the lines of one connection, both ways."""

    def __init__(self, hidden):
        self._commands, self._capabilities = hidden["commands"], hidden["capabilities"]
        self._asked = []  # the commands that are not yet answered; QEMU keeps their order

    def to_qemu(self, line):
        """The line as QEMU gets it, and whether descriptors go along."""
        message = parse(line)
        # An empty line is not answered; what is out of band comes out of order, and no list
        # is asked for so.
        if not line.strip() or "exec-oob" in message:
            return line, False
        command = message.get("execute")
        self._asked.append(command)
        if command in self._commands:
            line = encode(message | {"execute": DISGUISE + command})
        elif command == "migrate-set-capabilities":
            self._disguise_capabilities(message)
            line = encode(message)
        return line, command in TAKES_DESCRIPTOR

    def from_qemu(self, line):
        message = parse(line)
        if "error" in message:
            line = line.replace(DISGUISE.encode(), b"")
        if "return" in message or "error" in message:
            command = self._asked.pop(0) if self._asked else None
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


if __name__ == "__main__":
    main(*sys.argv[1:])
