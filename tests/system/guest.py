"""The guests that tests move: their disks, their QEMUs, their settings.

A guest runs tests/guest/guest.c (see there what it does) as its firmware. A disk of it holds,
before the start, a cheap pattern with holes, which original() tells again for
any MiB; the guest then writes to a region of it only. So whatever is on a
disk later, verify.py can say what ought to be there.
"""

import dataclasses
import functools
import os
import pathlib
import random
import re
import select
import shlex
import signal
import struct
import subprocess
import tempfile
import time

import hosts
from beats import BeatReader, Wrong
from qmp import Qmp, QmpClosed

MIB = 1 << 20
SECTOR = 512
GUEST_SOURCES = pathlib.Path(__file__).resolve().parent.parent / "guest"
CFLAGS = ("-m32 -march=i686 -Os -Wall -Wextra -Werror -ffreestanding -fno-pic -fno-pie "
          "-fno-stack-protector -fno-asynchronous-unwind-tables -mno-sse -mno-mmx "
          "-fcf-protection=none -fno-tree-loop-distribute-patterns").split()

# The same as in guest.c. The settings: magic, guest id, disks, sectors, rate,
# credit_max, scattered, dirty_per_beat, dirty_pages, 4 x (bus, unit, start, slots).
SETTINGS = struct.Struct("<8s 8I 16I")
BUSES = {"virtio": 0, "scsi": 1, "ide": 2}
FILLER = struct.Struct("<4s 3I")
STAMP = struct.Struct("<4s 7I")
FILLERS = (SECTOR - STAMP.size) // FILLER.size


@dataclasses.dataclass
class Disk:
    size: int = 64 * MIB
    format: str = "raw"  # or qcow2
    bus: str = "virtio"  # or scsi, ide
    region: tuple = (4, 16)  # MiB: where the guest writes: start and length
    dst_size: int | None = None  # of the destination's image, if not the same
    dst_image: bool = True  # False: there is none before the migration
    dst_format: str | None = None  # if not the same


@dataclasses.dataclass
class Guest:
    name: str = "vm1"
    disks: list = dataclasses.field(default_factory=lambda: [Disk()])
    rate: int = 100  # requests a second; 0: an idle guest
    sectors: int = 8  # a request, 1 to 127
    scattered: bool = True  # or one request after the other
    dirty_per_beat: int = 0  # pages of RAM it writes a beat, about 1000 a second
    dirty_pages: int = 1024  # of 4 KiB; it goes round over these
    paused: bool = False  # is paused when start() returns
    discard: str = "unmap"  # or ignore: then the destination keeps no holes
    ram_mib: int = 32
    style: str = "blockdev"  # or drive
    cache: str = "none"  # or writeback
    machine: str = "pc"
    timed_beats: bool = False  # see beats.py
    extra: list = dataclasses.field(default_factory=list)  # QEMU arguments, both sides
    src_extra: list = dataclasses.field(default_factory=list)
    dst_extra: list = dataclasses.field(default_factory=list)
    cdrom: str | None = None  # "empty" or "iso"
    floppy: bool = False
    pflash: bool = False
    qemu: list | None = None  # program and what goes before it; both sides
    dst_qemu: list | None = None  # if not the same
    id: int = 0x1234

    def __post_init__(self):
        for number, disk in enumerate(self.disks):
            assert self._region(number)[1] > 0, "a region must hold a request"
            assert sum(disk.region) * MIB <= disk.size, "a region must be on its disk"

    @property
    def directory(self):
        return f"{hosts.WORK}/{self.name}"

    def image(self, number):
        """The path of a disk's image, the same on both hosts."""
        return f"{self.directory}/disk{number}.img"

    def place(self, seq):
        """Where request seq goes: (disk, LBA), as guest.c computes it."""
        number, n = seq % len(self.disks), seq // len(self.disks)
        if self.scattered:
            n = n * 0x9E3779B1 & 0xFFFFFFFF
            n ^= n >> 15
        start, slots = self._region(number)
        return number, start + n % slots * self.sectors

    def request(self, seq):
        """The data of request seq."""
        number, lba = self.place(seq)
        stamp = _summed(STAMP, b"VMFY", self.id, number, lba, seq, self.sectors, 0)
        return b"".join(filler + stamp for filler in _fillers(self.id, self.sectors))

    def original(self, number, mib):
        """What MiB mib of the disk holds before the guest starts; None for a
        hole. Depends on disk and place, so that mixed-up data is seen."""
        if mib % 4 == 3:
            return None
        tag = b"disk %d MiB %d;" % (number, mib)
        shift = (mib * 7919 + number * 104729) % MIB
        data = tag + (_noise()[shift:] + _noise()[:shift])[len(tag):]
        return data if mib % 4 else data[:MIB // 2].ljust(MIB, b"\0")

    # ---- images

    def make_images(self, host):
        """The disks as the source has them."""
        os.makedirs(host.outside(self.directory), exist_ok=True)
        for number, disk in enumerate(self.disks):
            raw = host.outside(self.image(number))
            with open(raw, "wb") as file:
                file.truncate(disk.size)
                for mib in range(-(-disk.size // MIB)):
                    data = self.original(number, mib)
                    if data is not None:
                        data = data[:disk.size - mib * MIB].rstrip(b"\0")
                        os.pwrite(file.fileno(), data, mib * MIB)
            if disk.format != "raw":
                os.rename(raw, raw + ".raw")
                host.run(["qemu-img", "convert", "-O", disk.format, self.image(number) + ".raw",
                          self.image(number)])
                os.unlink(raw + ".raw")
        self._make_other_media(host)

    def make_destination_images(self, host):
        """Empty disks as the destination has them, those that it has, and all
        else that its QEMU needs."""
        os.makedirs(host.outside(self.directory), exist_ok=True)
        for number, disk in enumerate(self.disks):
            if disk.dst_image:
                host.run(["qemu-img", "create", "-q", "-f", disk.dst_format or disk.format,
                          self.image(number), str(disk.dst_size or disk.size)])
        self._make_other_media(host)

    def _make_other_media(self, host):
        with open(host.outside(f"{self.directory}/guest.bin"), "wb") as file:
            file.write(self.program())
        for name, size, wanted in (("cd.iso", MIB, self.cdrom == "iso"),
                                   ("floppy.img", 1440 << 10, self.floppy),
                                   ("vars.fd", 128 << 10, self.pflash)):
            if wanted:
                with open(host.outside(f"{self.directory}/{name}"), "wb") as file:
                    file.write(b"\xff" * size)

    # ---- QEMU

    def start(self, host, deadline_s=hosts.DEADLINE_S):
        """Makes the images and starts the source; returns when it beats, or
        has beaten and is paused."""
        self.make_images(host)
        qemu = Qemu(self, host, self.argv(is_source=True))
        try:
            qemu.wait_for_beats(deadline_s=deadline_s)
            if self.paused:
                qemu.watch.command("stop")
        except BaseException:
            qemu.close()
            raise
        return qemu

    def start_destination(self, host):
        """Makes the images and starts the destination, waiting for RAM."""
        self.make_destination_images(host)
        return Qemu(self, host, self.argv(is_source=False))

    def argv(self, is_source):
        """QEMU's command line, the same on both sides up to its end."""
        if is_source:
            program, last = self.qemu, self.src_extra
        else:
            program, last = self.dst_qemu or self.qemu, ["-incoming", "defer", "-S", *self.dst_extra]
        monitors = []
        for name in ("qmp", "watch", "status"):
            monitors += ["-chardev", f"socket,id={name},path={self.directory}/{name}.sock,"
                         "server=on,wait=off", "-mon", f"chardev={name},mode=control"]
        return [*(program or default_qemu()), "-name", self.name, "-machine", self.machine, *ACCELERATORS[accelerator()],
                "-m", str(self.ram_mib), "-nodefaults", "-display", "none", "-vga", "none",
                "-no-user-config", *monitors,
                "-chardev", f"file,id=beat,path={self.beat_path},append=on",
                "-device", "isa-debugcon,iobase=0xe9,chardev=beat",
                *self._disk_arguments(is_source), *self._other_media_arguments(), *self.extra, *last]

    @property
    def beat_log(self):
        return f"{self.directory}/beat.log"

    @property
    def beat_path(self):
        return f"{self.directory}/beat.fifo" if self.timed_beats else self.beat_log

    def _disk_arguments(self, is_source):
        arguments = []
        if any(disk.bus == "scsi" for disk in self.disks):
            arguments += ["-device", "virtio-scsi-pci,id=scsi0"]
        for number, disk in enumerate(self.disks):
            format = disk.format if is_source else disk.dst_format or disk.format
            arguments += self._backend_arguments(number, format)
            unit = sum(other.bus == disk.bus for other in self.disks[:number])
            device = {"virtio": "virtio-blk-pci",
                      "scsi": f"scsi-hd,bus=scsi0.0,scsi-id={unit}",
                      "ide": f"ide-hd,bus=ide.{unit // 2},unit={unit % 2}"}[disk.bus]
            arguments += ["-device", f"{device},id=dev{number},drive=disk{number}"]
        return arguments

    def _backend_arguments(self, number, format):
        direct = {"none": "on", "writeback": "off"}[self.cache]
        if self.style == "drive":
            return ["-drive", f"if=none,id=disk{number},format={format},"
                    f"cache={self.cache},discard={self.discard},file={self.image(number)}"]
        options = f"cache.direct={direct},discard={self.discard}"
        return ["-blockdev", f"file,node-name=disk{number}-file,{options},"
                f"filename={self.image(number)}",
                "-blockdev", f"{format},node-name=disk{number},{options},"
                f"file=disk{number}-file"]

    def _other_media_arguments(self):
        arguments = [] if self.pflash else ["-bios", f"{self.directory}/guest.bin"]
        if self.cdrom:
            media = f",format=raw,file={self.directory}/cd.iso" if self.cdrom == "iso" else ""
            arguments += ["-drive", f"if=none,id=cd,media=cdrom,readonly=on{media}",
                          "-device", "ide-cd,bus=ide.1,unit=1,drive=cd"]
        if self.floppy:
            arguments += ["-device", "isa-fdc,id=fdc", "-drive",
                          f"if=none,id=floppy,format=raw,file={self.directory}/floppy.img",
                          "-device", "floppy,bus=fdc.0,drive=floppy"]
        if self.pflash:
            arguments += ["-drive", "if=pflash,unit=0,format=raw,readonly=on,"
                          f"file={self.directory}/guest.bin",
                          "-drive", f"if=pflash,unit=1,format=raw,file={self.directory}/vars.fd"]
        return arguments

    def _region(self, number):
        start, length = self.disks[number].region
        return start * MIB // SECTOR, length * MIB // SECTOR // self.sectors

    def program(self):
        """The guest's firmware with its settings."""
        disks = []
        for number, disk in enumerate(self.disks):
            unit = sum(other.bus == disk.bus for other in self.disks[:number])
            disks += [BUSES[disk.bus], unit, *self._region(number)]
        disks += [0] * (16 - len(disks))
        image = bytearray(guest_image())
        SETTINGS.pack_into(image, 0, b"VMFGUEST", self.id, len(self.disks), self.sectors,
                           self.rate, max(1000, self.rate * 100), self.scattered,
                           self.dirty_per_beat, self.dirty_pages, *disks)
        return bytes(image)


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
        return self.process.poll() is None and self.watch.status() == "running"

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
        if match := re.search(".*(conflict|error|fail|assert).*", self.stderr(), re.IGNORECASE):
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


def default_qemu():
    return shlex.split(os.environ.get("VMFERRY_TEST_QEMU", "qemu-system-x86_64"))


@functools.cache
def guest_image():
    """The guest's machine code, built on first use."""
    ready_made = os.environ.get("VMFERRY_TEST_GUEST")
    if ready_made:
        return pathlib.Path(ready_made).read_bytes()
    with tempfile.TemporaryDirectory() as directory:
        objects = []
        for source in ("start.S", "guest.c"):
            objects.append(f"{directory}/{source}.o")
            subprocess.run(["gcc", *CFLAGS, "-c", GUEST_SOURCES / source, "-o", objects[-1]],
                           check=True)
        subprocess.run(["ld", "-m", "elf_i386", "-T", GUEST_SOURCES / "guest.ld", "--oformat",
                        "binary", "-o", f"{directory}/guest.bin", *objects], check=True)
        return pathlib.Path(f"{directory}/guest.bin").read_bytes()


ACCELERATORS = {"kvm": ("-accel", "kvm", "-cpu", "host,-arch-capabilities"),
                "tcg": ("-accel", "tcg")}


@functools.cache
def accelerator():
    """The name of the one to use: KVM if the guest is seen to beat under it,
    else TCG. VMFERRY_TEST_ACCEL decides beforehand."""
    wanted = os.environ.get("VMFERRY_TEST_ACCEL")
    for name in [wanted] if wanted else ACCELERATORS:
        if guest_beats(name):
            return name
    raise RuntimeError(f"the test guest does not beat under {wanted or 'KVM nor TCG'}")


def loses_memory(qemu):
    """Whether this QEMU's migration may lose what the guest writes to RAM:
    TCG before 9.0 does, and it looks like a corrupted guest."""
    return accelerator() == "tcg" and qemu.watch.greeting["QMP"]["version"]["qemu"]["major"] < 9


def guest_beats(accelerator_name, deadline_s=10):
    """Runs a guest; whether it beat."""
    with tempfile.TemporaryDirectory() as directory:
        image, log = f"{directory}/guest.bin", f"{directory}/beat.log"
        pathlib.Path(image).write_bytes(Guest(disks=[]).program())
        pathlib.Path(log).touch()
        process = subprocess.Popen(
            [*default_qemu(), "-machine", "pc", *ACCELERATORS[accelerator_name], "-m", "32",
             "-nodefaults", "-display", "none", "-bios", image,
             "-chardev", f"file,id=beat,path={log}",
             "-device", "isa-debugcon,iobase=0xe9,chardev=beat"],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + deadline_s
            while time.monotonic() < deadline and process.poll() is None:
                if os.path.getsize(log) > 50:
                    return True
                time.sleep(0.005)
            return False
        finally:
            process.kill()
            process.wait()


@functools.cache
def _fillers(guest_id, sectors):
    return [_summed(FILLER, b"VMFF", guest_id, index) * FILLERS for index in range(sectors)]


def _summed(layout, magic, *words):
    total = sum(words) + int.from_bytes(magic, "little")
    return layout.pack(magic, *words, total & 0xFFFFFFFF)


@functools.cache
def _noise():
    return random.Random(1).randbytes(MIB)
