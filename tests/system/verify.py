"""Tells whether a move kept what it must keep.

check_disks() compares every byte of the guest's disks with what ought to be
there: Guest.original(), and over it what the guest wrote, computed from the
number of the last request that was acknowledged. One request more may have
been under way: its place may hold it, in whole or in part, or not.

Litter is told by comparing a Traces of before with one of after.
"""

import dataclasses
import hashlib
import os
import re
import tempfile

import hosts
from beats import Wrong, read_beats
from guest import MIB, SECTOR
from qmp import QmpClosed


def check_moved(guest, source, destination):
    """Everything about a finished move of a guest that may still run on the
    destination; it is ended for this. Returns its Beats."""
    destination.quit()
    source.quit()
    beats = read_beats(source.beat_log, destination.beat_log)
    check_disks(guest, destination.host, beats.acked)
    if guest.keeps_holes:
        check_sparse(guest, source.host, destination.host)
    return beats


def check_stayed(guest, source):
    """The same of a guest that was not moved and is still on the source."""
    source.quit()
    beats = read_beats(source.beat_log)
    check_disks(guest, source.host, beats.acked)
    return beats


def check_disks(guest, host, acked):
    """Asserts that this host's images hold what the guest wrote, acked being
    its last request acknowledged. No QEMU may have them open."""
    expected = [dict() for _ in guest.disks]  # lba -> seq
    for seq in range(1, acked + 1):
        number, lba = guest.place(seq)
        expected[number][lba] = seq
    under_way = guest.place(acked + 1) if guest.rate else None
    for number in range(len(guest.disks)):
        with open_raw(guest, host, number) as image:
            _check_disk(guest, number, image, expected[number],
                        under_way[1] if under_way and under_way[0] == number else None, acked + 1)


def check_sparse(guest, src_host, dst_host, slack=2 * MIB):
    """Asserts that the holes of the source are holes on the destination: it
    may have more only of the region, where the guest went on writing; and what
    the source has in a backing image may be in the image itself."""
    for number, disk in enumerate(guest.disks):
        src, dst = (os.stat(host.outside(guest.image(number))).st_blocks * 512
                    for host in (src_host, dst_host))
        if disk.backing:
            src += os.stat(src_host.outside(guest.backing(number))).st_blocks * 512
        if dst > src + disk.region[1] * MIB + slack:
            raise Wrong(f"disk {number}: {src} bytes allocated became {dst}")


class Unchanged:
    """Asserts that files stay as they are from now on: contents, size, times."""

    def __init__(self, host, *paths):
        self._host, self._paths = host, paths
        self._before = self._look()

    def check(self):
        now = self._look()
        changed = [path for path, before, after in zip(self._paths, self._before, now)
                   if before != after]
        if changed:
            raise Wrong(f"{self._host.name}: changed: {', '.join(changed)}")

    def _look(self):
        return [_identity(self._host.outside(path)) for path in self._paths]


@dataclasses.dataclass
class Traces:
    """What a host and a QEMU on it hold that somebody could leave behind."""
    things: set

    @classmethod
    def of(cls, host, *qemus):
        things = processes_of(host)
        things |= {f"port: {port}" for port in host.listening()}
        things |= {f"socket: {path}" for path in host.unix_sockets()}
        things |= {f"file: {path}" for path in host.files()}
        things |= {f"journal: {path}" for path in host.journals()}
        for qemu in qemus:
            if qemu.process.poll() is None:
                things |= {f"QEMU {qemu.guest.name}: {thing}" for thing in _in_qemu(qemu)}
        return cls(things)

    def check(self, after, allowed=()):
        """Asserts that nothing is there that was not before, but what one of
        these patterns matches."""
        litter = sorted(thing for thing in after.things - self.things
                        if not any(re.search(pattern, thing) for pattern in allowed))
        if litter:
            raise Wrong("left behind:\n  " + "\n  ".join(litter))


def processes_of(host):
    return {f"process: {line}" for line in host.processes().values()}


def _in_qemu(qemu):
    """What can be left in a QEMU; nothing in one that is just ending."""
    try:
        return set(_things_of(qemu.watch))
    except QmpClosed:
        qemu.process.wait(hosts.DEADLINE_S)
        return set()


def _things_of(qmp):
    for node in qmp.command("query-named-block-nodes"):
        # a random name is what a -drive has, or what was left without a name
        yield f"node: {node['node-name']}"
    for job in qmp.command("query-jobs"):
        yield f"job: {job['id']}"
    for block in qmp.command("query-block"):
        for bitmap in block.get("inserted", {}).get("dirty-bitmaps", ()):
            yield f"bitmap: {bitmap.get('name')}"
    for item in qmp.command("qom-list", path="/objects"):
        yield f"object: {item['name']}"
    for chardev in qmp.command("query-chardev"):
        yield f"chardev: {chardev['label']}"
    for export in qmp.command("query-block-exports"):
        yield f"export: {export['id']}"


def migration_settings(qmp):
    """What a migration sets in a QEMU; equal before and after if it was undone."""
    capabilities = {item["capability"]: item["state"]
                    for item in qmp.command("query-migrate-capabilities")}
    return capabilities, qmp.command("query-migrate-parameters")


def open_raw(guest, host, number):
    """A disk's contents as a file, whatever its format."""
    path = guest.image(number)
    with open(host.outside(path), "rb") as image:
        format = "qcow2" if image.read(4) == b"QFI\xfb" else "raw"
    if format == "raw":
        return open(host.outside(path), "rb")
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(host.outside(path))) as raw:
        name = f"{os.path.dirname(path)}/{os.path.basename(raw.name)}"
        host.run(["qemu-img", "convert", "-f", format, "-O", "raw", path, name])
        return open(raw.name, "rb")


def _check_disk(guest, number, image, written, under_way, under_way_seq):
    disk = guest.disks[number]
    start, length = disk.region
    for mib in range(-(-disk.size // MIB)):
        if not start <= mib < start + length:
            size = min(MIB, disk.size - mib * MIB)
            got = os.pread(image.fileno(), size, mib * MIB)
            if got != (guest.original(number, mib) or bytes(MIB))[:size]:
                raise Wrong(f"disk {number}: MiB {mib}, which the guest never writes, differs")
    expected = bytearray().join(guest.original(number, mib) or bytes(MIB)
                                for mib in range(start, start + length))
    for lba, seq in written.items():
        offset = lba * SECTOR - start * MIB
        expected[offset:offset + guest.sectors * SECTOR] = guest.request(seq)
    got = os.pread(image.fileno(), length * MIB, start * MIB)
    if under_way is not None:
        _accept(expected, got, under_way * SECTOR - start * MIB, guest.request(under_way_seq))
    if got != expected:
        raise Wrong(_difference(guest, number, got, expected))


def _accept(expected, got, offset, data):
    """Takes what is there for expected, sector by sector, where it is data."""
    for at in range(0, len(data), SECTOR):
        if got[offset + at:offset + at + SECTOR] == data[at:at + SECTOR]:
            expected[offset + at:offset + at + SECTOR] = data[at:at + SECTOR]


def _difference(guest, number, got, expected):
    at = next(at for at in range(0, len(expected), SECTOR)
              if got[at:at + SECTOR] != expected[at:at + SECTOR])
    lba = at // SECTOR + guest.disks[number].region[0] * MIB // SECTOR
    count = sum(got[at:at + SECTOR] != expected[at:at + SECTOR]
                for at in range(0, len(expected), SECTOR))
    return (f"disk {number}: {count} sectors of the guest's region are wrong; the first, "
            f"sector {lba}, holds {_describe(got[at:at + SECTOR])}, "
            f"not {_describe(expected[at:at + SECTOR])}")


def _describe(sector):
    if sector[-32:-28] == b"VMFY":
        return f"request {int.from_bytes(sector[-16:-12], 'little')}"
    return "zeroes" if sector == bytes(len(sector)) else f"no request ({sector[:16]!r})"


def _identity(path):
    stat = os.stat(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha1").hexdigest()
    return stat.st_size, stat.st_mtime_ns, stat.st_blocks, digest
