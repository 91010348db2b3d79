"""The fault matrix: every step of a move times every fault, played on real QEMUs.

    cell = Cell("plain", "copy", "ssh-cut")
    outcome = Scene(test, cell, plan).play()     # "stayed", "moved", "human", or "-"

Nothing here knows a step by its name. What steps there are, and which of them can be undone, is
what `vmferry check --json` says; which commands they send is seen in a move that nothing befalls
(Plan). Between the steps there is one line: before the point of no return (cancellable) a fault
ends in the guest on the source, after it in the guest on the destination.

A scene is: vmferry, halted at its step; the fault; vmferry goes on, or is killed; `recover`,
twice, where somebody has to look; the checks; a new move, which has to succeed; and the guest's
disks and its story, compared with what it was told.
"""

import dataclasses
import json
import os
import re
import shlex

import hosts
import relay
import suites
from beats import Wrong, read_beats
from faults import FAULTS
from qemu import Qemu
from qmp import Qmp, QmpClosed
from rig import Disk, Guest
from test_faults import state
from verify import check_disks, migration_settings

DONE, REFUSED, FAILED, INTERRUPTED, HUMAN = 0, 3, 4, 5, 6
STAYED = (REFUSED, FAILED, INTERRUPTED)
STATE = f"{hosts.WORK}/state"
QEMU = "/usr/bin/qemu-system-x86_64"

# What a QEMU that was ended leaves of its own.
OF_A_DEAD_QEMU = (r"\.sock$", r"\.log$", r"\.sock\.behind$")
OF_A_RELAY = (r"^process: .*--in-front",)

# What is left in a QEMU that could not be tidied, for which there is no second try, but a word.
UNTIDIED = (r"^QEMU .*: vmferry-",)


@dataclasses.dataclass(frozen=True)
class Cell:
    variant: str
    step: str
    fault: str

    def __str__(self):
        return f"{self.variant}:{self.step}:{self.fault}"


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to begin a move."""
    words: str
    starts: bool  # vmferry has the destination's QEMU started
    options: tuple = ()  # "START" becomes a command that starts it
    first_disk: dict = dataclasses.field(default_factory=dict)
    second_disk: dict = dataclasses.field(default_factory=dict)
    paused: bool = False
    kept: bool = False  # the source's QEMU
    extra: str | None = None  # a file of the guest's that hostb lacks
    hidden: tuple = ()  # the capabilities that the source's QEMU seems not to have
    suite: str | None = None  # the Debian that both QEMUs are of, if not the machine's

    def qemu(self):
        return suites.qemu_of(self.suite) if self.suite else [QEMU]

    def is_here(self):
        """Whether this machine has its QEMU."""
        try:
            return bool(self.qemu())
        except FileNotFoundError:
            return False

    def guest(self):
        """So few writes, on so large a region, that one which is lost is not written over."""
        return Guest(rate=100, sectors=127, paused=self.paused, qemu=self.qemu(), disks=[
            Disk(region=(2, 60), **self.first_disk),
            Disk(bus="scsi", region=(2, 60), **self.second_disk)])


SMALLER, MISSING = {"dst_size": 40 << 20}, {"dst_image": False}
VARIANTS = {
    "plain": Variant("a destination that waits, one of its disks smaller", False,
                     first_disk=SMALLER),
    "paused": Variant("a guest that was paused", False, paused=True),
    "start": Variant("--start, one disk smaller, one missing", True, ("--start", "START"),
                     SMALLER, MISSING),
    "clone": Variant("--clone --copy-extra, both disks and the firmware missing", True,
                     ("--clone", "--copy-extra"), MISSING, MISSING, extra="guest.bin"),
    "ssh": Variant("--encrypt=ssh --keep-source", False, ("--encrypt=ssh", "--keep-source"),
                   kept=True),
    "old": Variant("a source that seems to have no pause-before-switchover", False,
                   hidden=("pause-before-switchover",)),
    "new": Variant("both QEMUs of Debian 13", False, suite="trixie"),
}


@dataclasses.dataclass
class Step:
    name: str
    phase: str
    cancellable: bool
    can_fail: bool  # what goes wrong before it is undone: it is not behind the point of no return
    commands: dict = dataclasses.field(default_factory=dict)  # side -> the first it sends there


class Plan:
    """A variant's steps: those of a move that nothing befalls, and what `check` says of them."""

    def __init__(self, test, variant):
        scene = Scene(test, Cell(variant, "none", "none"), None)
        scene.prepare()
        cancellable = {line["step"]: line["cancellable"] for line in scene.json("check")
                       if line["type"] == "planned_step"}
        self.steps = []
        for line in scene.json("migrate", "--verbose"):
            if line["type"] == "step" and line["state"] == "begun":
                self._add_step(line, cancellable)
            elif line["type"] == "qmp" and line["direction"] == "sent" and self.steps:
                side = "src" if line["side"] == "source" else "dst"
                command = json.loads(line["text"]).get("execute")
                if command:  # what is out of band comes through whatever befalls
                    self.steps[-1].commands.setdefault(side, command)
        if unseen := set(cancellable) - {step.name for step in self.steps}:
            raise Wrong(f"{variant}: planned, but not done: {unseen}")

    def step(self, name):
        return next(step for step in self.steps if step.name == name)

    def _add_step(self, line, cancellable):
        """One that could not be foreseen, as what a QEMU that is yet to be started makes
        necessary, is like the one before."""
        last = self.steps[-1].cancellable if self.steps else True
        self.steps.append(Step(line["step"], line["phase"], cancellable.get(line["step"], last),
                               can_fail=last))


class Scene:
    """One cell, on the hosts of a test."""
    patience_s = 240  # the machine may be busy

    def __init__(self, test, cell, plan):
        self.test, self.cell, self.a, self.b = test, cell, test.a, test.b
        self.variant = VARIANTS[cell.variant]
        self.is_as_before = "paused" if self.variant.paused else "running"  # its status
        self.fault = FAULTS.get(cell.fault)
        self.step = plan.step(cell.step) if plan else None
        self.said = []

    def play(self):
        if self.fault.does_not_apply(self):
            return "-"
        self.prepare(relays=self.fault.relays)
        process = self.test.start_vmferry(
            *self.arguments("migrate", *self.fault.options), stdout=-1, stderr=-1, text=True,
            env={"VMFERRY_TEST_HALT_BEFORE": self.step.name + self.fault.where,
                 "STATE_DIRECTORY": STATE})
        self.wait_for_halt(process)
        if not self.fault.strike(self, process):
            process.kill()
            process.communicate()
            return "-"
        return self.outcome_of(process)

    def wait_for_halt(self, process):
        hosts.wait_until(lambda: process.poll() is not None or state(process.pid) == "T",
                         f"vmferry halts at {self.step.name}", self.patience_s)
        if process.poll() is not None:
            raise self.wrong(f"vmferry ended before {self.step.name}: {process.communicate()}")

    # ---- before

    def prepare(self, relays=False):
        guest = self.variant.guest()
        relays = relays or self.variant.hidden
        if relays:
            sock = f"{guest.directory}/qmp.sock"
            guest.qemu = relay.in_front(sock, self.variant.qemu(), take_path=True,
                                        hide_capabilities=self.variant.hidden)
            guest.dst_qemu = relay.in_front(sock, self.variant.qemu())
            if self.cell.variant == "clone":
                self.put_relay_into_qemu(sock)
        for host in (self.a, self.b):
            os.makedirs(host.outside(STATE))
        self.move = self.test.prepare(guest, start_destination=not self.variant.starts)
        if self.variant.extra:
            self.lack(f"{guest.directory}/{self.variant.extra}")
        if relays:
            behind = self.a.outside(relay.behind(sock))
            hosts.wait_until(lambda: os.path.exists(behind), "the relay is in its place")
            self.move.before = self.move.traces()
        self.dst_settings = (None if self.variant.starts else
                             migration_settings(self.move.destination.watch))

    def lack(self, path):
        os.unlink(self.b.outside(path))
        self.move.before = self.move.traces()

    def put_relay_into_qemu(self, sock):
        """Who runs QEMU on hostb, by its usual path, gets one with a relay in front."""
        real, script = f"{hosts.ETC}/qemu-system-x86_64", f"{hosts.ETC}/relayed-qemu"
        words = shlex.join(relay.in_front(sock, [real, "-L", "/usr/share/qemu", "-L",
                                                 "/usr/share/seabios"]))
        self.b.shell(f'''
            touch {real}
            mount --bind {QEMU} {real}
            printf '#!/bin/sh\\nexec %s "$@"\\n' {shlex.quote(words)} >{script}
            chmod +x {script}
            mount --bind {script} {QEMU}''', cwd="/")

    def arguments(self, command, *options):
        sock = self.move.source.qmp_sock
        argv = [*self.move.guest.argv(is_source=False), "-daemonize"]
        own = [shlex.join(argv) if word == "START" else word for word in self.variant.options]
        return [command, "-F", self.a.ssh_config, *own, *options, sock, f"root@hostb:{sock}"]

    # ---- vmferry

    def vmferry(self, *arguments, host=None):
        done = (host or self.a).run([*self.test.vmferry_argv(), *arguments], check=False,
                                    env={"STATE_DIRECTORY": STATE}, timeout_s=self.patience_s)
        self.said.append(f"$ vmferry {' '.join(arguments[:1])} -> {done.returncode}\n"
                         f"{done.stderr}")
        return done

    def json(self, command, *options):
        done = self.vmferry(*self.arguments(command, "--json", *options))
        if done.returncode:
            raise RuntimeError(f"{self.cell.variant}: {command}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def recover(self):
        return self.vmferry("recover", "--all").returncode

    # ---- after

    def outcome_of(self, process):
        code = self.fault.let_go(self, process)
        if code not in self.fault.codes(self.step):
            raise self.wrong(f"exit status {code}, not one of {self.fault.codes(self.step)}")
        if code is None or code == HUMAN:
            code = self.settle()
        if code == HUMAN:
            self.check_human()
            return "human"
        if code is None:
            code = DONE if self.is_on(self.b) else FAILED
        try:
            return self.check_stayed() if code in STAYED else self.check_moved()
        except Exception as error:
            raise self.wrong(f"{type(error).__name__}: {error}") from error

    def settle(self):
        """recover, twice: what it makes of it, None if all is settled. A fault that lasts ends
        before."""
        if self.fault.migrates_again:
            return self.settle_by_migrate()
        self.fault.recover_meanwhile(self)
        wanted = HUMAN if self.fault.needs_human(self.step) else DONE
        for time in ("first", "second"):
            code = self.recover()
            if code != wanted:
                raise self.wrong(f"the {time} recover: exit status {code}, not {wanted}")
        return HUMAN if wanted == HUMAN else None

    def settle_by_migrate(self):
        """It recovers first. Then it goes on, unless that has moved the guest, or has ended a
        destination that waited."""
        code = self.vmferry(*self.arguments("migrate")).returncode
        if code not in (DONE, REFUSED) or code == REFUSED and not self.is_back():
            raise self.wrong(f"migrate again: exit status {code}")

    def is_on(self, host):
        """Whether the guest runs there now, or is paused there, if it was paused before."""
        qemu = self.move.source if host is self.a else self.move.destination
        try:
            if qemu:
                return qemu.process.poll() is None and qemu.watch.status() == self.is_as_before
            with Qmp(host.outside(f"{self.move.guest.directory}/watch.sock"), deadline_s=0) as qmp:
                return qmp.status() == self.is_as_before
        except (OSError, QmpClosed):
            return False

    def is_back(self):
        """Whether the source has the guest: see let_it_run_as_told()."""
        return self.is_on(self.a) or (self.variant.paused and
                                      self.move.source.watch.status() == "postmigrate")

    def check_human(self):
        """The destination is dead, and may have run the guest: nobody may let it run but the
        user, and nothing is taken from him."""
        if self.is_on(self.a) or self.is_on(self.b):
            raise self.wrong("somebody runs the guest")
        if self.move.source.watch.status() != "postmigrate":
            raise self.wrong(f"the source is {self.move.source.watch.status()}")
        self.move.watcher.check()

    def check_stayed(self):
        move = self.move
        if self.variant.paused and move.source.watch.status() == "postmigrate":
            self.let_it_run_as_told()
        if not self.is_on(self.a):
            raise Wrong(f"the guest is not as before on the source: {move.source.watch.status()}")
        self.wait_for_beats(move.source)
        self.check_settings(move.source, move.settings)
        if move.destination is None and self.qemu_there():
            raise Wrong("a QEMU is left on hostb")
        self.await_no_litter(running=False)
        self.move_again()
        return "stayed"

    def let_it_run_as_told(self):
        """A paused guest that had been sent and was not run over there: its QEMU knows no way
        back to "paused" but through `cont`, and that is the user's."""
        if "let it run there (`cont`)" not in "".join(self.said):
            raise Wrong("the source is left in postmigrate, and that is not said")
        self.move.source.watch.command("cont")
        self.move.source.watch.command("stop")

    def check_moved(self):
        move = self.move
        if not self.variant.kept:
            hosts.wait_until(lambda: move.source.process.poll() is not None, "the source ends")
        if not move.destination:
            move.attach_destination()
        move.destination.watch.wait_status(self.is_as_before)
        self.wait_for_beats(move.destination)
        if self.dst_settings:
            self.check_settings(move.destination, self.dst_settings)
        self.await_no_litter(running=True)
        if self.variant.kept:
            self.check_kept()
        self.move_back()
        return "moved"

    def check_kept(self):
        source = self.move.source
        if source.watch.status() != "postmigrate":
            raise Wrong(f"the source was to be kept and is {source.status()}")
        self.check_settings(source, self.move.settings)
        source.quit()

    def is_untidied(self):
        return "not tidied" in self.said[0]

    def wait_for_beats(self, qemu):
        if not self.variant.paused:
            qemu.wait_for_beats()

    def check_settings(self, qemu, before):
        if self.is_untidied():
            return
        if (now := migration_settings(qemu.watch)) != before:
            raise Wrong(f"{qemu.host.name}: migration settings were not put back: "
                        f"{before} became {now}")

    def await_no_litter(self, running):
        """What is ending takes a moment. A QEMU that is running there may have a relay."""
        def is_clean():
            try:
                self.move.check_litter(OF_A_DEAD_QEMU + (OF_A_RELAY if running else ()) +
                                       (UNTIDIED if self.is_untidied() else ()))
                return True
            except Wrong as error:
                self.litter = error
                return False
        try:
            hosts.wait_until(is_clean, "no litter", 10)
        except TimeoutError:
            raise self.litter from None

    # ---- and again

    def move_again(self):
        move = self.move
        if move.destination and move.destination.status() == "gone":
            move.destination.close()
            move.destination = self.waiting(self.b)
        done = self.vmferry(*self.arguments("migrate"))
        if done.returncode:
            raise Wrong("a new move does not succeed")
        if not move.destination:
            move.attach_destination()
        self.check_story(move.destination, move.source.beat_log, move.destination.beat_log)

    def move_back(self):
        """hosta's disks are there, and are used."""
        move = self.move
        first = move.source.beat_log + ".0"
        os.rename(move.source.beat_log, first)
        back = self.waiting(self.a)
        self.test.addCleanup(back.close)
        sock = back.qmp_sock
        done = self.vmferry("migrate", "-F", self.b.ssh_config, sock, f"root@hosta:{sock}",
                            host=self.b)
        if done.returncode:
            raise Wrong("a move back does not succeed")
        self.check_story(back, first, move.destination.beat_log, back.beat_log)

    def waiting(self, host):
        """A new QEMU that waits, with the files that are there."""
        guest = self.move.guest
        return Qemu(guest, host, [*self.variant.qemu(), *without_program(guest)])

    def check_story(self, qemu, *logs):
        """The guest goes on, never ran twice, and all that it was told is on its disks."""
        if self.variant.paused:
            qemu.watch.command("cont")
        qemu.wait_for_beats()
        self.move.watcher.check()
        qemu.quit()
        check_disks(self.move.guest, qemu.host, read_beats(*logs).acked)

    def qemu_there(self):
        """The QEMUs on hostb: pids."""
        return [pid for pid, line in self.b.processes().items()
                if re.match(r"\S*qemu-system", line)]

    def wrong(self, what):
        return Wrong(f"{self.cell}: {what}\n" + "\n".join(self.said) + f"""
again: VMFERRY_TEST_MATRIX={self.cell} /usr/bin/python3 -m unittest test_matrix""")


def without_program(guest):
    argv = guest.argv(is_source=False)
    return argv[argv.index("-name"):]
