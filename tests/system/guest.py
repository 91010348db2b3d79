"""The guests that tests move: their disks, their QEMUs, their settings.

A guest runs ../guest/guest.c (see there what it does) as its firmware. Before
the start each of its disks holds a cheap pattern with holes, which original()
tells again for any MiB; the guest then writes to a region of it only. So
whatever is on a disk later, verify.py can say what ought to be there.
"""

import dataclasses
import functools
import json
import os
import random
import struct

import hosts
from program import ACCELERATORS, accelerator, default_qemu, guest_program
from qemu import Qemu

MIB = 1 << 20
SECTOR = 512
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
    backing: str | None = None  # raw or qcow2: what it holds before the start is in such a one
    dst_backing: str = "same"  # or none, or noise: one that has nothing to do with the source's
    dst_backing_size: int | None = None  # if not the same
    zeroed: tuple = ()  # the MiB that the image itself has zeroed over its backing image


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
    keeps_holes: bool = True  # False: whether its images stay sparse is not looked at
    ram_mib: int = 32
    style: str = "blockdev"  # or json: the same in JSON; drive; hda
    cache: str = "none"  # or writeback
    machine: str = "pc"
    timed_beats: bool = False  # see beats.py
    extra: list = dataclasses.field(default_factory=list)  # QEMU arguments, both sides
    src_extra: list = dataclasses.field(default_factory=list)
    dst_extra: list = dataclasses.field(default_factory=list)
    iothread: bool = False  # the SCSI disks' controller does their requests in one
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

    def backing(self, number):
        """The path of its backing image, if it has one."""
        return f"{self.directory}/base{number}.img"

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
        return None if mib in self.disks[number].zeroed else _pattern(number, mib)

    # ---- images

    def make_images(self, host):
        """The disks as the source has them."""
        os.makedirs(host.outside(self.directory), exist_ok=True)
        for number, disk in enumerate(self.disks):
            if disk.backing:
                self._make_image(host, number, self.backing(number), disk.backing)
                self._make_overlay(host, number, disk.format, disk.backing, disk.size)
                self._zero(host, number)
            else:
                self._make_image(host, number, self.image(number), disk.format)
        self._make_other_media(host)

    def _make_image(self, host, number, path, format):
        disk = self.disks[number]
        raw = host.outside(path)
        with open(raw, "wb") as file:
            file.truncate(disk.size)
            for mib in range(-(-disk.size // MIB)):
                data = _pattern(number, mib)
                if data is not None:
                    data = data[:disk.size - mib * MIB].rstrip(b"\0")
                    os.pwrite(file.fileno(), data, mib * MIB)
        if format != "raw":
            os.rename(raw, raw + ".raw")
            host.run(["qemu-img", "convert", "-O", format, path + ".raw", path])
            os.unlink(raw + ".raw")

    def _make_overlay(self, host, number, format, backing_format, size):
        host.run(["qemu-img", "create", "-q", "-f", format, "-b", self.backing(number),
                  "-F", backing_format, self.image(number), str(size)])

    def _zero(self, host, number):
        """In one way and in the other."""
        for mib in self.disks[number].zeroed:
            host.run(["qemu-io", "-d", "unmap", "-c",
                      f"{('discard', 'write -z')[mib % 2]} {mib}M 1M", self.image(number)])

    def _make_destination_overlay(self, host, number):
        disk = self.disks[number]
        size = disk.dst_backing_size or disk.size
        if disk.dst_backing == "noise":
            with open(host.outside(self.backing(number)), "wb") as file:
                file.write(_noise() * (size // MIB))
        else:
            self._make_image(host, number, self.backing(number), disk.backing)
            if disk.dst_backing_size:
                host.run(["qemu-img", "resize", "-q", "--shrink", "-f", disk.backing,
                          self.backing(number), str(size)])
        self._make_overlay(host, number, disk.dst_format or disk.format,
                           disk.backing or "raw", disk.dst_size or disk.size)

    def make_destination_images(self, host):
        """Empty disks as the destination has them, those that it has, and all
        else that its QEMU needs."""
        os.makedirs(host.outside(self.directory), exist_ok=True)
        for number, disk in enumerate(self.disks):
            if not disk.dst_image:
                continue
            if disk.dst_backing == "noise" or disk.backing and disk.dst_backing == "same":
                self._make_destination_overlay(host, number)
            else:
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
            program = self.dst_qemu or self.qemu
            last = ["-incoming", "defer", "-S", *self.dst_extra]
        monitors = []
        for name in ("qmp", "watch", "status"):
            monitors += ["-chardev", f"socket,id={name},path={self.directory}/{name}.sock,"
                         "server=on,wait=off", "-mon", f"chardev={name},mode=control"]
        return [*(program or default_qemu()), "-name", self.name, "-machine", self.machine,
                *ACCELERATORS[accelerator()], "-m", str(self.ram_mib), "-nodefaults",
                "-display", "none", "-vga", "none", "-no-user-config", *monitors,
                "-chardev", f"file,id=beat,path={self.beat_path},append=on",
                "-device", "isa-debugcon,iobase=0xe9,chardev=beat",
                *self._disk_arguments(is_source), *self._other_media_arguments(),
                *self.extra, *last]

    @property
    def beat_log(self):
        return f"{self.directory}/beat.log"

    @property
    def beat_path(self):
        return f"{self.directory}/beat.fifo" if self.timed_beats else self.beat_log

    def _disk_arguments(self, is_source):
        arguments = []
        if any(disk.bus == "scsi" for disk in self.disks):
            iothread = ",iothread=io0" if self.iothread else ""
            arguments += ["-object", "iothread,id=io0"] if self.iothread else []
            arguments += ["-device", f"virtio-scsi-pci,id=scsi0{iothread}"]
        for number, disk in enumerate(self.disks):
            if self.style == "hda":
                arguments += [f"-hd{'abcd'[number]}", self.image(number)]
                continue
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
        if self.style == "json":
            file = {"driver": "file", "filename": self.image(number)}
            node = {"driver": format, "node-name": f"disk{number}", "discard": self.discard,
                    "cache": {"direct": direct == "on"}, "file": file}
            return ["-blockdev", json.dumps(node)]
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
        return guest_program(self.id, len(self.disks), self.sectors, self.rate,
                             max(1000, self.rate * 100), self.scattered,
                             self.dirty_per_beat, self.dirty_pages, *disks)


@functools.cache
def _fillers(guest_id, sectors):
    return [_summed(FILLER, b"VMFF", guest_id, index) * FILLERS for index in range(sectors)]


def _summed(layout, magic, *words):
    total = sum(words) + int.from_bytes(magic, "little")
    return layout.pack(magic, *words, total & 0xFFFFFFFF)


@functools.lru_cache(256)
def _pattern(number, mib):
    if mib % 4 == 3:
        return None
    tag = b"disk %d MiB %d;" % (number, mib)
    shift = (mib * 7919 + number * 104729) % MIB
    data = tag + (_noise()[shift:] + _noise()[:shift])[len(tag):]
    return data if mib % 4 else data[:MIB // 2].ljust(MIB, b"\0")


@functools.cache
def _noise():
    return random.Random(1).randbytes(MIB)
