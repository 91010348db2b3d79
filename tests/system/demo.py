"""What tests/demo shows: one guest with two disks moves from hosta to hostb while it writes,
and everything the tests would compare is compared. Exits 1 if any of it is not so."""

import sys
import time

import hosts
from guest import MIB
from program import accelerator
from rig import BUILT, Disk, Guest, Move, Wrong

GUEST = Guest(name="web1", disks=[Disk(size=256 * MIB, region=(4, 64)), Disk(bus="scsi")],
              rate=300, sectors=127, ram_mib=128, dirty_per_beat=2)


def main():
    pair = hosts.Pair()
    try:
        return show(pair)
    finally:
        pair.close()


def show(pair):
    say("two hosts, hosta and hostb: namespaces with their own files, network and sshd")
    say(f"a guest, web1, starts on hosta ({accelerator()}): two disks, writing "
        "about 19 MB/s; on hostb a QEMU waits for it")
    move = Move(GUEST, pair.a, pair.b)
    try:
        arguments = ["migrate", "-F", pair.a.ssh_config, "--bandwidth", "100M",
                     move.source.qmp_sock, f"root@hostb:{move.destination.qmp_sock}"]
        say("hosta# vmferry " + " ".join(arguments))
        code = pair.a.popen([str(BUILT), *arguments], stdout=None, stderr=None).wait()
        if code:
            say(f"vmferry ended with {code}")
            return 1
        unchanged = move.source_unchanged()
        time.sleep(1)  # the guest goes on over there for all to see
        beats = move.check_moved()
        unchanged.check()
    except Wrong as wrong:
        say(f"NOT AS IT SHOULD BE: {wrong}")
        return 1
    finally:
        move.close()
    for line in (
            f"all {beats.acked} writes that the guest was told are on disk are on hostb's disks, "
            "the last ones written over there",
            "every other byte of both disks is identical, and holes are holes",
            "the guest's heart beat on without a beat lost or repeated",
            f"at no moment did both hosts run it; it ran nowhere for "
            f"{move.watcher.pause_s() * 1000:.0f} ms",
            "the source's files have not changed since the switchover",
            "no job, node, export, port, process or file was left on either host"):
        say(f"verified: {line}")
    return 0


def say(text):
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
