#!/usr/bin/python3
"""What a move costs, as ratios within one run.

    tests/bench/bench.py [--runs N] [--data MIB] [--suite SUITE | --qemu 'PROGRAM...'] [CASE...]

As root, after a build (or with $VMFERRY). For each case - one disk or four, a guest that is
idle or writes 20 MB/s - these take turns, N times:

    dd       O_DIRECT from one file to another on the same file system: the disk's own limit.
             As many bytes as the disks hold, none of them a hole, and flushed, as a mirror
             is before its steady state
    convert  qemu-img convert, out of order, 16 requests at a time, to the NBD server of a
             waiting QEMU over there, over the same link: the machine's limit for a copy of
             these disks, whose cores move each byte through two sockets; no guest runs
    plain    a move by hand, event by event, with everything at QEMU's defaults but the
             migration's bandwidth (system/reference.py): what a good script gets
    vmferry  vmferry migrate, encrypted
    clear    vmferry migrate --encrypt=none, as "plain" is
    fast     vmferry migrate --fast, encrypted
    fastest  vmferry migrate --fast --encrypt=none
    ssh -L   as "plain", through Unix sockets that a program ssh carries to the other host, with
             all of its own defaults
    ssh      vmferry migrate --encrypt=ssh
    clone    vmferry migrate --clone: nothing is over there before

Of each: seconds until all disks are in steady state; CPU seconds of both QEMUs meanwhile, and
how much of the machine's cores nobody used; the share of its write rate that the guest keeps
meanwhile; the longest gap in its beats from then on (the pause); wall seconds of the whole.
Below that, of vmferry, seconds from the command to the first byte that a mirror has copied.
Medians, then (min to max). "x dd", "x conv", "x plain" and "x ssh -L" are ratios of the same
turn, then their median. vmferry's own weight is its peak memory and CPU time.

The machine's load is printed with it: on two cores the guest, two QEMUs and sshd share them.
Where no core is idle, dd, which needs a sixth of the CPU time, is no measure: look at "x conv".
"""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import hosts  # noqa: E402
import reference  # noqa: E402
import suites  # noqa: E402
from guest import MIB  # noqa: E402
from qmp import Qmp  # noqa: E402
from rig import BUILT, Disk, Guest, Move  # noqa: E402

CASES = {
    "one idle": (1, 0),
    "one writing": (1, 330),
    "four idle": (4, 0),
    "four writing": (4, 330),
}
SECTORS = 127  # a request: 330 a second are 20 MB/s
BY_HAND = ("plain", "ssh -L")
OPTIONS = {"vmferry": [], "clear": ["--encrypt=none"], "fast": ["--fast"],
           "fastest": ["--fast", "--encrypt=none"],
           "ssh": ["--encrypt=ssh"], "clone": ["--clone"]}
WAYS = ("dd", "convert", "plain", "vmferry", "clear", "fast", "fastest", "ssh -L", "ssh", "clone")
SOCKETS = {"nbd": "/run/vmferry-test/nbd", "ram": "/run/vmferry-test/ram"}  # of "ssh -L"


class Bench:
    def __init__(self, options):
        self.options = options
        self.qemu = (suites.qemu_of(options.suite) if options.suite else
                     shlex.split(options.qemu) if options.qemu else None)

    def guest(self, disks, rate, dst_image):
        """Data on three quarters of each MiB or so: see Guest.original()."""
        size = self.options.data * MIB * 4 // 3 // disks // (4 * MIB) * 4 * MIB
        disks = [Disk(size=size, region=(4, 32), dst_image=dst_image) for _ in range(disks)]
        return Guest(disks=disks, rate=rate,
                     sectors=SECTORS, timed_beats=True, dirty_per_beat=2, ram_mib=128,
                     qemu=self.qemu)

    def run(self, way, disks, rate):
        """One turn: a dict of figures."""
        pair = hosts.Pair()
        try:
            guest = self.guest(disks, rate, dst_image=way != "clone")
            if way == "dd":
                guest.make_images(pair.a)
                return self.dd(guest, pair)
            if way == "convert":
                guest.make_images(pair.a)
                return self.convert(guest, pair)
            return self.move(way, Move(guest, pair.a, pair.b, start_destination=way != "clone",
                                       watch=False), pair)
        finally:
            pair.close()

    def dd(self, guest, pair):
        """Copies what all disks hold, without their holes."""
        for path in images(guest, pair.a):
            pack(path)
        meter = Meter()
        for path in images(guest, pair.a):
            subprocess.run(["dd", f"if={path}.packed", f"of={path}.dd", "bs=1M", "iflag=direct",
                            "oflag=direct", "conv=fdatasync", "status=none"], check=True)
        return meter.read()

    def convert(self, guest, pair):
        """Copies all disks, one after the other, with their holes."""
        destination = guest.start_destination(pair.b)
        try:
            nodes = [f"disk{number}" for number in range(len(guest.disks))]
            reference.listen(destination, nodes)
            flush(guest, pair.a)
            meter = Meter()
            for number, node in enumerate(nodes):
                pair.a.run(["qemu-img", "convert", "-n", "-W", "-m", "16", "-T", "none",
                            "-t", "none", "-f", "raw", "-O", "raw", guest.image(number),
                            f"nbd://{pair.b.ipv4}:{reference.NBD_PORT}/{node}"], timeout_s=600)
            return meter.read()
        finally:
            destination.close()

    def move(self, way, move, pair):
        try:
            flush(move.guest, pair.a)
            settle(move)
            before = rate_of(move.source, time.time() - 1, time.time())
            figures = (self.by_hand if way in BY_HAND else self.vmferry)(way, move, pair)
            move.destination.wait_for_beats(count=400)
            begun, ready = figures.pop("begun"), figures.pop("ready")
            if move.guest.rate:
                figures["share"] = rate_of(move.source, begun, ready) / before
            figures["pause"] = 1000 * gap_after(move, ready)
            figures["sparse"] = allocated(move, pair.b) / allocated(move, pair.a)
            return figures
        finally:
            move.close()

    def by_hand(self, way, move, pair):
        nbd, ram = reference.NBD_PORT, reference.RAM_PORT
        if way == "ssh -L":
            nbd, ram = SOCKETS.values()
            carry(pair)
        move.source.watch.command("migrate-set-parameters", max_bandwidth=1 << 40)
        nodes = [f"disk{number}" for number in range(len(move.guest.disks))]
        begun, meter = time.time(), Meter(move.source, move.destination)
        reference.listen(move.destination, nodes, nbd, ram)
        reference.mirror(move.source, move.destination, nodes, nbd)
        ready, figures = time.time(), meter.read()
        reference.migrate_to_switchover(move.source, move.destination, ram)
        for node in nodes:
            reference.end_mirror(move.source.watch, node)
        move.destination.watch.command("nbd-server-stop")
        move.source.watch.command("migrate-continue", state="pre-switchover")
        move.source.watch.wait_event("MIGRATION", status="completed")
        move.destination.watch.wait_status("paused", "prelaunch")
        move.destination.watch.command("cont")
        return figures | {"begun": begun, "ready": ready, "wall": time.time() - begun}

    def vmferry(self, way, move, pair):
        program = os.environ.get("VMFERRY", str(BUILT))
        argv = [program, "migrate", "--json", "-F", pair.a.ssh_config,
                *OPTIONS[way],
                move.source.qmp_sock, f"hostb:{move.source.qmp_sock}"]
        fifo = None if move.destination else Fifo(move.guest, pair.b)
        first = FirstByte(move.source)
        begun = time.time()
        process = pair.a.popen(argv, stdout=-1, text=True)
        figures = {}
        for line in process.stdout:
            said = json.loads(line)
            step = said.get("step"), said.get("state")
            if step == ("mirror", "begun"):
                if fifo:
                    move.attach_destination()
                    fifo.close()
                figures["begun"], meter = time.time(), Meter(move.source, move.destination)
            elif step == ("copy", "done"):
                figures |= {"ready": time.time()} | meter.read()
            figures["rss"] = peak_memory(process.pid) or figures.get("rss", 0)
        _, code, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        assert process.returncode == 0
        return figures | {"wall": time.time() - begun, "first": first.when() - begun,
                          "cpu": used.ru_utime + used.ru_stime}


class FirstByte:
    """Notes when a mirror of the source has copied something."""

    def __init__(self, source):
        self._qmp = Qmp(source.host.outside(f"{source.directory}/status.sock"))
        self._when = None
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self):
        with self._qmp as qmp:
            while not any(job["offset"] for job in qmp.command("query-block-jobs")):
                time.sleep(0.005)
            self._when = time.time()

    def when(self):
        self._thread.join()
        return self._when


class Fifo:
    """What a guest beats into on a host, for a QEMU to open that is yet to come."""

    def __init__(self, guest, host):
        path = host.outside(guest.beat_path)
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def close(self):
        """When there is a reader."""
        os.close(self._fd)


def carry(pair):
    """Starts the ssh of "ssh -L", which ends with the hosts."""
    forwards = [word for path in SOCKETS.values() for word in ("-L", f"{path}:{path}")]
    pair.a.popen(["ssh", "-F", pair.a.ssh_config, "-N", *forwards, "hostb"])
    hosts.wait_until(lambda: set(SOCKETS.values()) <= pair.a.unix_sockets(), "ssh -L listens")


class Meter:
    """What a copy takes, from now on until it is read, of time and of CPU."""

    def __init__(self, *qemus):
        self._pids = [qemu.process.pid for qemu in qemus]
        self._begun = self._now()

    def read(self):
        """Seconds, the QEMUs' CPU seconds if there are any, the cores' idle share."""
        wall, used, idle = (now - then for now, then in zip(self._now(), self._begun))
        figures = {"copy": wall, "idle": idle / wall / os.cpu_count()}
        return figures | ({"cpu_qemus": used} if self._pids else {})

    def _now(self):
        used = 0
        for pid in self._pids:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            used += int(fields[11]) + int(fields[12])
        idle = sum(map(int, pathlib.Path("/proc/stat").read_text().split()[4:6]))
        ticks = os.sysconf("SC_CLK_TCK")
        return time.monotonic(), used / ticks, idle / ticks


def images(guest, host):
    return [host.outside(guest.image(number)) for number in range(len(guest.disks))]


def flush(guest, host):
    """Lets no copy wait for what only just was written."""
    for path in images(guest, host):
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def pack(path):
    """Puts an image's data, without its holes, into a file beside it."""
    with open(path, "rb") as image, open(path + ".packed", "wb") as packed:
        end, at = os.fstat(image.fileno()).st_size, 0
        while at < end and (data := next_data(image, at)) is not None:
            at = os.lseek(image.fileno(), data, os.SEEK_HOLE)
            image.seek(data)
            for _ in range(data, at, MIB):
                packed.write(image.read(min(MIB, at - image.tell())))
        packed.flush()
        os.fsync(packed.fileno())


def next_data(image, at):
    try:
        return os.lseek(image.fileno(), at, os.SEEK_DATA)
    except OSError:  # nothing but a hole behind it
        return None


def peak_memory(pid):
    """MiB that a process has had resident at most, its libraries included; None at its end."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except FileNotFoundError:
        pass
    return None


def settle(move):
    """A second and a half of the guest alone, to know its rate."""
    until = time.monotonic() + 1.5
    hosts.wait_until(lambda: time.monotonic() > until, "the guest runs for a while")


def rate_of(qemu, begun, ended):
    """Requests acknowledged a second between two times."""
    count = sum(acks for when, acks in qemu.beats.acks if begun <= when < ended)
    return count / max(ended - begun, 0.001)


def gap_after(move, ready):
    """The longest silence of the guest from @ready on."""
    times = [when for reader in (move.source.beats, move.destination.beats)
             for when, _ in reader.times if when >= ready - 0.01]
    return max(later - earlier for earlier, later in zip(times, times[1:]))


def allocated(move, host):
    return sum(os.stat(host.outside(move.guest.image(number))).st_blocks
               for number in range(len(move.guest.disks)))


def spread(values, form):
    if not values:
        return "-"
    low, median, high = (form % f(values) for f in (min, statistics.median, max))
    return f"{median} ({low} to {high})"


def ratio(turns, way, other, key):
    return middle([turn[way][key] / turn[other][key] for turn in turns
                   if other in turn and key in turn[way]])


def middle(values):
    return "%.2f" % statistics.median(values) if values else "-"


ROW = "%-8s %-20s %5s %6s %7s %8s %5s %5s  %-18s %-16s %7s %-18s"


def show(name, ways, turns):
    print(f"\n{name}")
    print(ROW % ("", "copy s", "x dd", "x conv", "x plain", "x ssh -L", "CPU s", "idle",
                 "guest keeps", "pause ms", "x plain", "wall s"))
    for way in ways:
        column = {key: [turn[way][key] for turn in turns if key in turn[way]]
                  for key in ("copy", "cpu_qemus", "idle", "share", "pause", "wall")}
        print(ROW % (way, spread(column["copy"], "%.2f"),
                     *(ratio(turns, way, other, "copy")
                       for other in ("dd", "convert", "plain", "ssh -L")),
                     middle(column["cpu_qemus"]), middle(column["idle"]),
                     spread(column["share"], "%.2f"), spread(column["pause"], "%.0f"),
                     ratio(turns, way, "plain", "pause"), spread(column["wall"], "%.1f")))
    own = [turn[way] for turn in turns for way in OPTIONS if way in turn]
    if not own:
        return
    print("vmferry itself: %.1f MiB at most, %.2f s of CPU at most; allocated over there: "
          "%.2f of the source's at most" % (max(turn["rss"] for turn in own),
                                            max(turn["cpu"] for turn in own),
                                            max(turn["sparse"] for turn in own)), flush=True)
    print("first byte mirrored, s:", ", ".join(
        f"{way} {spread([turn[way]['first'] for turn in turns], '%.2f')}"
        for way in ways if way in OPTIONS), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data", type=int, default=512, help="MiB, of all disks together")
    parser.add_argument("--suite", help="the QEMU of this Debian suite (tests/versions/setup)")
    parser.add_argument("--qemu", help="program, with what goes before it")
    parser.add_argument("--ways", default=",".join(WAYS), help="only these rows, as a,b,c")
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE",
                        help=f"of: {', '.join(CASES)}")
    options = parser.parse_args()
    bench = Bench(options)
    print(" ".join(sys.argv), f"- load {os.getloadavg()[0]:.1f}")
    for name in options.cases:
        ways = options.ways.split(",")
        show(name, ways, [{way: bench.run(way, *CASES[name]) for way in ways}
                          for _ in range(options.runs)])


if __name__ == "__main__":
    main()
