"""What can be seen by who sits on the network between two hosts: the packets that come to one of
them, and what its ports tell a stranger."""

import contextlib
import json
import signal
import subprocess
import sys

import hosts

# As root in the host's network namespace: what came to each port, and how often each of the
# marks was in it, once it is told to end.
SNIFF = """
import collections, json, signal, socket, sys
marks = [bytes.fromhex(mark) for mark in sys.argv[1:]]
seen = collections.defaultdict(lambda: [0] * (1 + len(marks)))
def look(packet):
    if packet[12:14] != b"\\x08\\x00" or packet[23] != 6:
        return
    tcp = 14 + (packet[14] & 15) * 4
    count = seen[int.from_bytes(packet[tcp + 2:tcp + 4], "big")]
    payload = packet[tcp + (packet[tcp + 12] >> 4) * 4:]
    count[0] += len(payload)
    for i, mark in enumerate(marks):
        count[1 + i] += payload.count(mark)
signal.signal(signal.SIGTERM, lambda *_: wire.setblocking(False))  # what has come is still read
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.setsockopt(socket.SOL_SOCKET, 33, 256 << 20)  # SO_RCVBUFFORCE
wire.settimeout(0.2)
wire.bind(("eth0", 0))
print("ready", flush=True)
while True:
    try:
        look(wire.recv(1 << 17))
    except TimeoutError:
        pass
    except BlockingIOError:
        break
print(json.dumps(seen))
"""


@contextlib.contextmanager
def sniffed(host, *marks):
    """Yields a dict; afterwards it has {port: [bytes, occurrences of each mark]} of all that came
    to this host by TCP."""
    came = {}
    process = host.popen([sys.executable, "-c", SNIFF, *(mark.hex() for mark in marks)],
                         stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield came
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=hosts.DEADLINE_S)
        came.update({int(port): counts for port, counts in json.loads(out).items()})
    finally:
        process.kill()
        process.communicate()


# A client of NBD that knows nothing of TLS (the protocol's proto.md): asks for the list of exports,
# and for one, and says what was answered to each.
STRANGER = """
import json, socket, struct, sys
def exactly(n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more: raise EOFError
        data += more
    return data
def ask(option, data=b""):
    s.sendall(b"IHAVEOPT" + struct.pack(">II", option, len(data)) + data)
    replies = []
    while True:
        _, _, reply, length = struct.unpack(">QIII", exactly(20))
        replies.append((reply, exactly(length).decode("latin-1")))
        if reply == 1 or reply >= 1 << 31: return replies
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
greeting = exactly(18)
assert greeting[:16] == b"NBDMAGICIHAVEOPT", greeting
s.sendall(struct.pack(">I", 3))
name = sys.argv[3].encode()
print(json.dumps([ask(3), ask(7, struct.pack(">I", len(name)) + name + b"\\0\\0")]))
"""

NBD_REP_ACK = 1
NBD_REP_SERVER = 2
NBD_REP_INFO = 3
NBD_REP_ERR_TLS_REQD = 2 ** 31 + 5


def stranger(host, address, port, export):
    """What an NBD server answers who has no key: to LIST, and to GO of this export. A list of
    replies (number, data) each."""
    done = host.run([sys.executable, "-c", STRANGER, address, port, export])
    return json.loads(done.stdout)
