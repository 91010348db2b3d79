"""Real moves between different QEMUs: from each to itself and to every newer one, and one
step back, with both ways to mirror.

    tests/versions/run [--readme]

Not in the default run: the QEMUs come from other Debian suites, see suites.py. Each test is
a move of a writing guest between two hosts, verified as the other moves are. What came of
them all is a table, printed at the end; if $VMFERRY_TEST_TABLE names a file, it is put there
between its two marker comments.
"""

import dataclasses
import itertools
import os
import pathlib
import re
import textwrap
import unittest

import suites
from guest import MIB
from program import accelerator
from rig import Disk, Guest, MoveTest

# QEMU -> whose it is; from old to new.
SUITES = {"5.2": "bullseye", "7.2": "bookworm", "10.0": "trixie", "11.1": "trixie-backports"}
PAIRS = [*itertools.combinations_with_replacement(SUITES, 2), ("10.0", "7.2")]
METHODS = ("blockdev", "drive")
STYLES = ("blockdev", "drive")  # how QEMU's command line gives the disks

MARKERS = ("<!-- versions -->\n", "<!-- /versions -->\n")


@dataclasses.dataclass(frozen=True)
class Refusal:
    """That the destination's QEMU does not take a guest in, and what helps."""
    said: str  # by QEMU; a pattern
    why: str  # for the table
    hint: str  # for the table: what helps
    dst_extra: tuple  # the same for QEMU


# Seen from Debian's 10.0.13 to 11.1.3, with virtio-blk and virtio-scsi, not with IDE: there
# each virtio queue has 1024 entries, also a virtio-rng's, whatever queue-size says (virtio's
# state; the property itself reads 256), and 11.1 counts. 5.2 and 7.2 have 256, and neither
# 7.2 nor 10.0 count what comes in.
QUEUES = Refusal(
    said=r"VQ 0 vring\.num 1024 exceeds allocated max 256",
    why="Debian's 10.0.13 gives every virtio queue 1024 entries, whatever its size was set to; "
        "11.1 takes in no more than the size says. The guest runs on where it was",
    hint="with `queue-size=1024` for virtio-blk, `virtqueue_size=1024` for virtio-scsi "
         "over there",
    dst_extra=("-global", "virtio-blk-device.queue-size=1024",
               "-global", "virtio-scsi-device.virtqueue_size=1024"))

# Both are allowed: that such a pair is refused for this reason, and that it goes.
REFUSALS = {("10.0", "11.1"): QUEUES}


@dataclasses.dataclass(frozen=True)
class Case:
    src: str
    dst: str
    method: str
    style: str
    helped: bool = False  # with what helps against a refusal

    def __str__(self):
        words = (self.src, "to", self.dst, "mirror", self.method, "disks", self.style,
                 *["helped"][:self.helped])
        return "_".join(words).replace(".", "_")

    @property
    def refusal(self):
        return None if self.helped else REFUSALS.get((self.src, self.dst))

    def guest(self):
        qemu, dst_qemu = (suites.qemu_of(SUITES[side]) for side in (self.src, self.dst))
        helps = REFUSALS[self.src, self.dst].dst_extra if self.helped else ()
        return Guest(disks=[Disk(), Disk(bus="scsi", dst_size=96 * MIB)], style=self.style,
                     rate=300, sectors=127, machine=suites.newest_machine(qemu, dst_qemu),
                     qemu=qemu, dst_qemu=dst_qemu, dst_extra=list(helps))


CASES = [Case(*pair, method, style, helped)
         for pair in PAIRS
         for helped in ([False, True] if pair in REFUSALS else [False])
         for method in METHODS
         for style in STYLES]


class Versions(MoveTest):
    outcomes = {}  # Case -> what the table says of it

    def check(self, case):
        self.b.take_ports(49152, 49154)  # to pass over a port is not the same to every QEMU
        move = self.prepare(case.guest())
        self.assertTrue(_version(move.destination).startswith(case.dst + "."))
        self.assertTrue(_version(move.source).startswith(case.src + "."))
        done = self.vmferry("migrate", "-F", self.a.ssh_config, f"--mirror={case.method}",
                            move.source.qmp_sock, "root@hostb:" + move.destination.qmp_sock,
                            check=not case.refusal)
        if done.returncode == 0:
            beats = move.check_moved()
            self.assertGreater(beats.acked, 0)
            self.outcomes[case] = "moved"
        else:
            self.check_refused(move, case.refusal, done)
            self.outcomes[case] = "refused by the destination's QEMU"

    def check_refused(self, move, refusal, done):
        """vmferry says who refused, and the guest is where it was, as it was."""
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn("its QEMU could not take the guest in", done.stderr)
        self.assertRegex(move.destination.stderr(), refusal.said)
        move.check_stayed(may_complain=True)


def _test(case):
    return lambda self: self.check(case)


for each in CASES:
    setattr(Versions, f"test_{each}", _test(each))


def _version(qemu):
    version = qemu.watch.greeting["QMP"]["version"]["qemu"]
    return "%(major)d.%(minor)d.%(micro)d" % version


# ---- the table


def tearDownModule():
    if missing := [str(case) for case in CASES if case not in Versions.outcomes]:
        print(f"no table: {len(missing)} of {len(CASES)} moves have no outcome")
        return
    text = table(Versions.outcomes)
    print(text)
    if path := os.environ.get("VMFERRY_TEST_TABLE"):
        put(pathlib.Path(path), text)


def table(outcomes):
    versions = {name: suites.version_of(suites.qemu_of(suite)) for name, suite in SUITES.items()}
    names = [f"{versions[name]} of {suite}" for name, suite in SUITES.items()]
    lines = [_wrap(f"Debian's {', '.join(names[:-1])} and {names[-1]}, "
                   f"under {accelerator().upper()}:"), "",
             "| from | to | machine | " + " | ".join(f"`--mirror={m}`" for m in METHODS) + " |",
             "|---|---|---|" + "---|" * len(METHODS)]
    refused = []  # the pairs, numbered as they come
    for src, dst, helped in dict.fromkeys((c.src, c.dst, c.helped) for c in CASES):
        cells = [_cell(outcomes, src, dst, method, helped) for method in METHODS]
        if any(cell != "moved" for cell in cells):
            refused.append((src, dst))
            cells = [f"{cell} ({len(refused)})" for cell in cells]
        to = f"{dst}, {REFUSALS[src, dst].hint}" if helped else dst
        machine = suites.newest_machine(*(suites.qemu_of(SUITES[side]) for side in (src, dst)))
        lines.append(f"| {src} | {to} | {machine} | {' | '.join(cells)} |")
    lines += ["", _wrap(VERIFIED)]
    for number, pair in enumerate(refused, 1):
        lines += ["", _wrap(f"({number}) {REFUSALS[pair].why}.")]
    return "\n".join(lines) + "\n"


VERIFIED = """\
Each cell is two moves over sshd of a guest that writes 19 MB/s to a virtio-blk and a
virtio-scsi disk, once given to QEMU by `-blockdev` and once by `-drive`; the second disk's
image is larger over there. *moved*: every write that the guest was told is on disk is on the
destination's, every other byte is identical, holes are holes, the guest's heart went on
without a beat lost or repeated, both QEMUs' own events show that it never ran twice, and
nothing was left on either host. *refused*: vmferry said so and took everything back, and the
same was looked at on the source."""


def _wrap(text):
    return textwrap.fill(text, 95, break_long_words=False, break_on_hyphens=False)


def _cell(outcomes, src, dst, method, helped):
    """One word if the styles agree, as they do."""
    found = dict.fromkeys(outcomes[Case(src, dst, method, style, helped)] for style in STYLES)
    return " / ".join(found)


def put(path, text):
    """Puts it between the markers of a file."""
    begin, end = map(re.escape, MARKERS)
    whole, count = re.subn(f"({begin}).*({end})", lambda match: match[1] + text + match[2],
                           path.read_text(), flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{path}: the two marker comments are not there once")
    path.write_text(whole)


if __name__ == "__main__":
    unittest.main(verbosity=2)
