"""The guest's program and what can run it here.

The program is built from ../guest on first use, or VMFERRY_TEST_GUEST names it.
Whether KVM runs it is not believed but tried: where KVM is not there, or does
not work as it should, the guest runs under TCG.
"""

import functools
import os
import pathlib
import re
import shlex
import struct
import subprocess
import tempfile
import time

GUEST_SOURCES = pathlib.Path(__file__).resolve().parent.parent / "guest"
CFLAGS = ("-m32 -march=i686 -Os -Wall -Wextra -Werror -ffreestanding -fno-pic -fno-pie "
          "-fno-stack-protector -fno-asynchronous-unwind-tables -mno-sse -mno-mmx "
          "-fcf-protection=none -fno-tree-loop-distribute-patterns").split()


# The settings at its beginning, as in guest.c: magic, guest id, disks, sectors,
# rate, credit_max, scattered, dirty_per_beat, dirty_pages, 4 x (bus, unit,
# start, slots).
SETTINGS = struct.Struct("<8s 8I 16I")

ACCELERATORS = {"kvm": ("-accel", "kvm", "-cpu", "host,-arch-capabilities"),
                "tcg": ("-accel", "tcg")}


def guest_program(*settings):
    """The program with these settings; what is left out is 0."""
    program = bytearray(_guest_image())
    settings += (0,) * (24 - len(settings))
    SETTINGS.pack_into(program, 0, b"VMFGUEST", *settings)
    return bytes(program)


@functools.cache
def accelerator():
    """The name of the one to use: KVM if the guest is seen to beat under it,
    else TCG. VMFERRY_TEST_ACCEL decides beforehand."""
    wanted = os.environ.get("VMFERRY_TEST_ACCEL")
    for name in [wanted] if wanted else ACCELERATORS:
        if guest_beats(name):
            return name
    raise RuntimeError(f"the test guest does not beat under {wanted or 'KVM nor TCG'}")


def default_qemu():
    return shlex.split(os.environ.get("VMFERRY_TEST_QEMU", "qemu-system-x86_64"))


@functools.cache
def qemu_version():
    """That of default_qemu(), as (7, 2)."""
    told = subprocess.run([*default_qemu(), "-version"], check=True, capture_output=True, text=True)
    return tuple(map(int, re.search(r"version (\d+)\.(\d+)", told.stdout).groups()))


def become(user):
    """QEMU's words to become this user; -runas is gone in 10.0."""
    return ["-runas", user] if qemu_version() < (10, 0) else ["-run-with", f"user={user}"]


def guest_beats(accelerator_name, deadline_s=10):
    """Runs a guest; whether it beat."""
    with tempfile.TemporaryDirectory() as directory:
        image, log = f"{directory}/guest.bin", f"{directory}/beat.log"
        pathlib.Path(image).write_bytes(guest_program())
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
def _guest_image():
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
