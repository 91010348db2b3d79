"""Those who use a disk that a guest has, or will have: what they lock keeps it from running.

QEMU locks bytes of an image (OFD locks; its block/file-posix.c): 100 and 101 are "I read" and
"I write", 201 is "nobody else may write". A guest's disk locks all three, a tool like qemu-io
only the first two.

A QEMU before 6.2 forgets 201 whenever it activates a disk again: the destination's when the
guest has come, the source's when it is taken back (blk_root_activate() in block/block-backend.c
overwrote what the device shares). Seen on 5.2; 7.2 has it. So there `cont` succeeds beside a
qemu-io, and is refused as ever beside a guest that was started where it runs. vmferry does not
build on locks: it lets the source run again only if the destination surely does not.
"""

import os
import pathlib

import hosts
from program import ACCELERATORS, default_qemu


def another_guest(host, image):
    """Another guest that has this raw image for its disk; its process, which need not run."""
    process = host.popen([*default_qemu(), "-S", "-nodefaults", "-display", "none",
                          "-machine", "pc", *ACCELERATORS["tcg"], "-m", "16",
                          "-drive", f"if=none,id=disk,format=raw,file={image}",
                          "-device", "virtio-blk-pci,drive=disk"], stdout=-3, stderr=-3)
    hosts.wait_until(lambda: (201, 201) in locked(host.outside(image)), "a guest has the image")
    return process


def tool(host, image):
    """A program of QEMU's that writes to it, maybe beside others; its process."""
    process = host.popen(["qemu-io", "-f", "raw", "-c", "sleep 100000", image],
                         stdout=-3, stderr=-3)
    hosts.wait_until(lambda: (100, 101) in locked(host.outside(image)), "a tool has the image")
    return process


def locked(path):
    """The byte ranges of a file that somebody has locked; proc(5), /proc/locks."""
    inode = os.stat(path).st_ino
    found = set()
    for line in pathlib.Path("/proc/locks").read_text().splitlines():
        *_, file, first, last = line.split()
        if file.endswith(f":{inode}") and last != "EOF":
            found.add((int(first), int(last)))
    return found
