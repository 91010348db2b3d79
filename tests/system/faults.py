"""What can befall a move, as the fault matrix has it: a row each.

A fault says whether it applies to a step, strikes while vmferry is halted there, lets vmferry go
on, and tells the exit statuses that are right. It asks of a step only whether it comes before
the point of no return.
"""

import contextlib
import os
import signal

import hosts
import relay

DONE, REFUSED, FAILED, INTERRUPTED, HUMAN = 0, 3, 4, 5, 6
NBD_PORT = 49152  # the first of vmferry's: each host has no other move
DATA_PORTS = "49152-49215"
SHORT = ["--reconnect=6", *(
    word for what in ("connect", "answer", "stall", "switchover")
    for word in ("--timeout", f"{what}=6"))]  # a busy machine needs some of it


class Fault:
    words = ""
    where = ""  # of the halt: before the step, after its beginning ("/begun"), its act ("/acted")
    relays = False  # whether both QEMUs have one in front
    options = ()
    migrates_again = False  # instead of recover

    def does_not_apply(self, scene):
        return False

    def strike(self, scene, process):
        """False: there is nothing to be struck."""
        return True

    def let_go(self, scene, process):
        """vmferry goes on to its end: its exit status."""
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=scene.patience_s)
        scene.said.append(f"$ vmferry migrate -> {process.returncode}\n{out}{err}")
        return process.returncode

    def codes(self, step):
        """The exit statuses that are right; None: it was killed."""
        return self.failed(step) if step.can_fail else {DONE}

    @staticmethod
    def failed(step):
        return {FAILED, REFUSED} if step.phase == "begin" else {FAILED}

    def needs_human(self, step):
        """Whether recover, too, has to leave it to the user."""
        return False

    def recover_meanwhile(self, scene):
        """Before recover has to succeed."""


class QmpError(Fault):
    relays = True

    def __init__(self, side):
        self.side = side
        self.words = f"the first command of the step to the {side} is answered by an error"

    def does_not_apply(self, scene):
        return self.side not in scene.step.commands

    def strike(self, scene, process):
        host = {"src": scene.a, "dst": scene.b}[self.side]
        self.given = relay.fail_next(host, scene.step.commands[self.side])
        return True

    def let_go(self, scene, process):
        code = super().let_go(scene, process)
        if not self.given():
            raise scene.wrong(f"{scene.step.commands[self.side]} was not sent")
        return code

    def codes(self, step):
        return {DONE} | (self.failed(step) if step.can_fail else {HUMAN})


class DestinationKilled(Fault):
    words = "the destination's QEMU is killed"

    def strike(self, scene, process):
        pids = scene.qemu_there()
        unread = scene.test.unread()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        hosts.wait_until(lambda: not scene.qemu_there(), "it is gone")
        if pids and unread:
            self.await_news(scene, unread)
        return bool(pids)

    def await_news(self, scene, unread):
        """sshd tells of it, if the monitor was connected: when it has arrived here, vmferry
        hears of it before it does anything else."""
        with contextlib.suppress(TimeoutError):
            hosts.wait_until(lambda: scene.test.unread() != unread, "the news", 3)

    def codes(self, step):
        """At the point of no return itself it depends on whether vmferry hears of it before it
        has told that QEMU to run the guest."""
        return (self.failed(step) if step.can_fail else set()) | (
            set() if step.cancellable else {HUMAN})

    def needs_human(self, step):
        return True


class NbdCut(Fault):
    words = "the source's NBD connections are cut"

    def strike(self, scene, process):
        before = self.connections(scene)
        self.connections(scene, "-K")
        if left := before & self.connections(scene):  # those that QEMU has made since are others
            raise RuntimeError(f"this kernel does not cut connections (ss -K): {left}")
        return bool(before)

    @staticmethod
    def connections(scene, *options):
        """hosta's ends of them."""
        lines = scene.a.run(["ss", "-H", "-tn", *options, "dst", scene.b.ipv4,
                             "dport", "=", f":{NBD_PORT}"], check=not options).stdout
        return {line.split()[3] for line in lines.splitlines()}

    def codes(self, step):
        return {DONE} | super().codes(step)


class SshCut(Fault):
    words = "the SSH connections end"

    def strike(self, scene, process):
        there = scene.test.ssh_sessions()
        scene.test.cut_ssh()
        return bool(there)

    def codes(self, step):
        """While it copies vmferry connects again. At the point of no return itself it depends on
        whether vmferry hears of it first; else it asks the destination again, and is done."""
        return super().codes(step) | {DONE}


class Signalled(Fault):
    def __init__(self, number):
        self.number = number
        self.words = f"vmferry gets {number.name}"

    def strike(self, scene, process):
        process.send_signal(self.number)
        return True

    def codes(self, step):
        return {INTERRUPTED} if step.cancellable else {DONE}


class Killed(Fault):
    def __init__(self, where, migrates_again=False):
        self.where, self.migrates_again = f"/{where}", migrates_again
        self.words = {"begun": "vmferry is killed when the step is on record, before its act",
                      "acted": "vmferry is killed after it, before that is on record"}[where]

    def let_go(self, scene, process):
        process.kill()
        out, err = process.communicate()
        scene.said.append(f"$ vmferry migrate, killed\n{out}{err}")

    def codes(self, step):
        return {None}


class Unreachable(Fault):
    """The network swallows some of what goes to the destination, until somebody looks."""
    options = SHORT

    def __init__(self, ports, words):
        self.ports, self.words = ports, words

    def strike(self, scene, process):
        scene.b.block(self.ports, "drop")
        return True

    def let_go(self, scene, process):
        code = super().let_go(scene, process)
        if scene.step.cancellable and not code == DONE and not scene.is_back():
            raise scene.wrong("the guest does not run on the source")
        if code != HUMAN:
            self.end(scene)
        return code

    def recover_meanwhile(self, scene):
        code = scene.recover()
        if code not in (DONE, HUMAN):
            raise scene.wrong(f"recover while {self.words}: exit status {code}")
        self.end(scene)

    def end(self, scene):
        scene.b.unblock()
        scene.test.cut_ssh()  # what sshd does, some day

    def codes(self, step):
        return {HUMAN, DONE} | (self.failed(step) if step.can_fail else set())


FAULTS = {
    "error-src": QmpError("src"),
    "error-dst": QmpError("dst"),
    "dst-killed": DestinationKilled(),
    "nbd-cut": NbdCut(),
    "ssh-cut": SshCut(),
    "sigint": Signalled(signal.SIGINT),
    "sigterm": Signalled(signal.SIGTERM),
    "killed-begun": Killed("begun"),
    "killed-acted": Killed("acted"),
    "killed-again": Killed("begun", migrates_again=True),
    "no-ssh": Unreachable("22", "the network swallows SSH"),
    "no-data": Unreachable(DATA_PORTS, "the network swallows disks and RAM"),
}
