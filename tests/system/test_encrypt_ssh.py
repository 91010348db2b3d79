"""--encrypt=ssh: disks and RAM go through SSH, no other port is needed, and nothing is left of it
however the move ends."""

import os
import pathlib
import signal
import struct
import time
import unittest

import hosts
import test_faults
import wire
from rig import Disk, Guest
from test_clone import SOCKETS, CloneTest
from test_faults import DONE, FAILED, REFUSED, HeardTest, at_every_step, for_each
from test_recover import RecoverTest
from test_ssh import Terminal

WRITING = {"rate": 300, "sectors": 127}
SSH = 22
ALL_BUT_SSH = "1-21, 23-65535"
ENOUGH = 200_000  # bytes that a move sends at least
USAGE = 2
OF_THE_SYSTEM = (r"^file: /run/(motd\.dynamic|sudo)",)  # see test_ssh.Sudo


class SshDataTest(RecoverTest):
    login = "root"

    def arguments(self, command, move, *options):
        words = super().arguments(command, move, *options)
        words[-1] = words[-1].replace("root@", f"{self.login}@")
        return [*words[:1], "--encrypt=ssh", *words[1:]]

    def configure(self, *lines):
        """Puts these lines before all others of hosta's ssh_config."""
        path = pathlib.Path(self.a.outside(self.a.ssh_config))
        path.write_text("\n".join([*lines, path.read_text()]))

    def carriers(self):
        """Processes of hosta that carry the data."""
        return [pid for pid, line in self.a.processes().items() if line.startswith("ssh -T -F")]

    def directories(self):
        """Those made for the sockets, by host."""
        return [sorted(path for path in host.files() if path.startswith("/run/vmferry-")
                       and path.count("/") == 2 and path.rsplit("-", 1)[1] in
                       ("source", "destination")) for host in (self.a, self.b)]


class Through(SshDataTest):
    def moved(self, *options, allowed=(), **kind):
        """A move with every other port closed, of whose data nothing can be read on its way."""
        guest = Guest(**(WRITING | kind))
        move = self.prepare(guest)
        self.b.block(ALL_BUT_SSH, "reject")
        mark = struct.pack("<4sI", b"VMFF", guest.id)
        with wire.sniffed(self.b, mark) as came:
            done = self.vmferry(*self.arguments("migrate", move, *options))
        self.b.unblock()
        move.check_moved(allowed)
        self.assertGreater(came[SSH][0], ENOUGH)
        self.assertEqual([marks for _, marks in came.values()], [0] * len(came))
        return done.stderr

    def test_two_disks(self):
        said = self.moved(disks=[Disk(), Disk(bus="scsi")])
        self.assertNotIn("NOT ENCRYPTED", said)
        self.assertNotIn("will not come back", said)

    def test_a_larger_disk(self):
        self.moved(disks=[Disk(dst_size=96 << 20)])

    def test_drive_mirror(self):
        self.moved("--mirror=drive")

    def test_the_old_way(self):
        if Guest(**WRITING, style="drive") and self.has_no_old_way():
            self.skipTest("this QEMU has no `migrate` blk")
        self.moved("--mirror=none", style="drive")

    def has_no_old_way(self):
        move = self.prepare(Guest(rate=0))
        names = [item["capability"]
                 for item in move.source.watch.command("query-migrate-capabilities")]
        self.doCleanups()
        self.setUp()
        return "block" not in names

    def test_a_paused_guest_and_a_kept_source(self):
        move = self.prepare(Guest(paused=True))
        self.vmferry(*self.arguments("migrate", move, "--keep-source"))
        move.check_moved()

    def test_qemus_of_another_user(self):
        """Over there their sockets are in a directory of that user's; root gets there. Here he may
        use one of the sockets, and nothing else."""
        move = self.prepare(Guest(dst_extra=["-runas", "nobody"], src_extra=["-runas", "nobody"],
                                  **WRITING))
        for host in (self.a, self.b):
            host.run(["chown", "-R", "nobody", move.guest.directory])
        process = self.halted(move, "serve")
        (here,), (there,) = self.directories()
        for host, path, owner in ((self.a, here, 0), (self.b, there, 65534)):
            found = os.stat(host.outside(path))
            self.assertEqual((found.st_uid, found.st_mode), (owner, 0o40700), path)
        self.goes_on(process, DONE)
        move.check_moved()

    def test_the_source_s_qemu_gets_to_its_socket_only(self):
        move = self.prepare(Guest(src_extra=["-runas", "nobody"], **WRITING))
        self.a.run(["chown", "-R", "nobody", move.guest.directory])
        process = self.halted(move, "copy")
        (here,), _ = self.directories()
        self.assertEqual([(found.st_uid, found.st_gid, found.st_mode) for found in map(
            os.stat, map(self.a.outside, (here, f"{here}/vmferry.nbd", f"{here}/vmferry.ram")))],
                         [(0, 65534, 0o40710), (65534, 0, 0o140600), (0, 0, 0o140600)])
        self.goes_on(process, DONE)
        move.check_moved()

    def test_a_login_that_becomes_root(self):
        self.login = "op"
        self.b.add_login("op", "ALL=(root) NOPASSWD: /usr/sbin/sshd")
        self.moved("--sudo", allowed=OF_THE_SYSTEM)

    def test_by_a_jump(self):
        """The address that it gets to need not be known. Four programs encrypt and decrypt on this
        machine, so the guest writes less than they take."""
        self.configure("Host hostb", "ProxyJump hostb4")
        self.moved(rate=30)

    def test_ssh_config_cannot_lead_elsewhere(self):
        """No forwarding, command or other host of the user's own is in its way."""
        self.configure("Host hostb", "LocalForward 22 localhost:22", "RequestTTY force",
                       "ControlMaster auto", "ControlPath /run/control", "ForwardAgent yes",
                       "Compression yes")
        self.moved()

    def test_a_key_that_is_asked_for(self):
        """Once: what carries the data gets it from the agent that has it then."""
        path, secret = f"{hosts.ETC}/id_locked", "correct horse"
        self.a.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", secret, "-f", path])
        public = pathlib.Path(self.a.outside(f"{path}.pub")).read_text()
        pathlib.Path(self.b.outside(f"{hosts.ETC}/authorized_keys")).write_text(public)
        self.configure("Host hostb", f"IdentityFile {path}", "BatchMode no")
        move = self.prepare(Guest(**WRITING))
        terminal = Terminal(self, *self.arguments("migrate", move))
        terminal.wait_for("passphrase of")
        terminal.type(secret + "\n")
        self.assertEqual(terminal.end(), DONE, terminal.shown)
        self.assertEqual(terminal.shown.count("passphrase of"), 1)
        move.check_moved()

    def test_the_carrier_takes_no_other_host(self):
        """None but the one that the first connection was to, known to the user or not."""
        move = self.prepare(Guest(**WRITING))
        process = self.halted(move, "tunnel")
        key = f"{hosts.ETC}/host_key"
        self.b.shell(f"rm {key} {key}.pub; ssh-keygen -q -t ed25519 -N '' -f {key}")
        public = " ".join(pathlib.Path(self.b.outside(f"{key}.pub")).read_text().split()[:2])
        with open(self.a.outside(f"{hosts.ETC}/known_hosts"), "a") as known:
            known.write(f"hostb,{self.b.ipv4} {public}\n")
        self.b.stop_sshd()
        self.b.start_sshd()
        said = self.goes_on(process, FAILED)
        self.assertIn("Host key verification failed", said)
        move.check_stayed()

    def test_the_plan_tells(self):
        move = self.prepare(Guest(**WRITING))
        done = self.vmferry(*self.arguments("check", move))
        self.assertIn("data: to hostb, through SSH: no port is opened", done.stdout)
        self.assertIn("tunnel", done.stdout)
        done = self.vmferry(*self.arguments("check", move, "--json"))
        self.assertIn('"encryption":"ssh"', done.stdout)
        self.assertIn('"port_low":0', done.stdout)


class Clone(CloneTest):
    def arguments_of(self, command, move, *options):
        return super().arguments_of(command, move, "--encrypt=ssh", *options)

    def test_moves(self):
        move = self.prepare_clone()
        self.b.block(ALL_BUT_SSH, "reject")
        self.migrate(move)
        self.b.unblock()
        move.check_moved()

    def test_killed(self):
        """The guard removes the directory over there; the other one is recover's."""
        for moment in ("serve", "copy", "free"):
            with self.subTest(moment=moment):
                self.doCleanups()
                self.setUp()
                move = self.prepare_clone()
                process = self.start_vmferry(*self.arguments_of("migrate", move),
                                             env={"VMFERRY_TEST_HALT_BEFORE": moment},
                                             stdout=-1, stderr=-1, text=True)
                self.wait_for_halt(process, moment)
                process.kill()
                process.communicate()
                self.guard_goes()
                self.vmferry("recover", "--all", "-F", self.a.ssh_config)
                move.check_stayed(SOCKETS, may_complain=True)


class Refused(SshDataTest):
    def usage(self, *arguments):
        done = self.vmferry("migrate", "--encrypt=ssh", *arguments, check=False)
        self.assertEqual(done.returncode, USAGE, done.stderr)
        return done.stderr

    def test_a_qemu_of_this_host(self):
        self.assertIn("is on this host", self.usage("/run/a.sock", "/run/b.sock"))

    def test_an_address_and_ports_for_the_data(self):
        for words in (["--data-address", self.b.ipv4], ["--ports", "49152-49160"]):
            self.assertIn(words[0], self.usage(*words, "/run/a.sock", "hostb:/run/b.sock"))

    def test_retries(self):
        said = self.usage("--clone", "--retries", "1", "/run/a.sock", "hostb")
        self.assertIn("--retries", said)

    def test_phases_by_hand(self):
        done = self.vmferry("begin", "--encrypt=ssh", "/run/a.sock", check=False)
        self.assertEqual(done.returncode, USAGE, done.stderr)

    def test_a_qemu_that_is_not_the_login_s(self):
        """Whose monitor the login may use, but whose sockets it could not reach."""
        self.login = "op"
        self.b.add_login("op")
        move = self.prepare(Guest(rate=0))
        os.chmod(self.b.outside(move.destination.qmp_sock), 0o777)
        done = self.vmferry(*self.arguments("migrate", move), check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("another user's than the login", done.stderr)
        move.check_stayed(OF_THE_SYSTEM)

    def test_a_qemu_that_cannot_see_the_directory(self):
        self.b.run(["mkdir", "empty"])
        empty = self.b.run(["readlink", "-f", "empty"]).stdout.strip()
        move = self.prepare(Guest(dst_extra=["-chroot", empty], **WRITING))
        done = self.vmferry(*self.arguments("migrate", move), check=False)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn("hostb: its QEMU cannot make a socket to go through SSH by", done.stderr)
        move.check_stayed()


# Where something of the session is made or used; the others are as with other data.
OF_THE_SESSION = ["tunnel", "serve", "target", "copy", "ram", "detach", "switchover"]


class EveryStep(SshDataTest):
    @for_each(OF_THE_SESSION)
    def test_sigint(self, step):
        move = self.prepare(Guest(**WRITING))
        process = self.halted(move, step)
        process.send_signal(signal.SIGINT)
        self.goes_on(process, test_faults.INTERRUPTED)
        move.check_stayed()

    @for_each(OF_THE_SESSION)
    def test_destination_killed(self, step):
        move = self.prepare(Guest(**WRITING))
        process = self.halted(move, step)
        move.destination.kill()
        self.assertIn("hostb", self.goes_on(process, FAILED))
        move.check_stayed(may_complain=True)

    @at_every_step
    def test_ssh_cut(self, move, step):
        """All of it. While the disks are copied it comes back."""
        process = self.halted(move, step)
        self.cut_ssh()
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=90)
        if process.returncode == DONE:
            move.check_moved(may_complain=True)
        else:
            self.assertEqual(process.returncode, FAILED, out + err)
            move.check_stayed(may_complain=True)

    @at_every_step
    def test_the_carrier_is_killed(self, move, step):
        """Only that. While the disks are copied it comes back."""
        process = self.halted(move, step)
        carriers = self.carriers()
        for pid in carriers:
            os.kill(pid, signal.SIGKILL)
        hosts.wait_until(lambda: not self.carriers(), "it is gone")
        lost = carriers and step not in ("mirror", "copy")
        said = self.goes_on(process, FAILED if lost else DONE)
        if lost:
            self.assertIn("hostb", said)
            move.check_stayed(may_complain=True)
        else:
            move.check_moved(may_complain=True)

    def test_the_carrier_is_killed_when_all_is_over_there(self):
        move = self.prepare(Guest(**WRITING))
        process = self.halted(move, "run")
        (pid,) = self.carriers()
        os.kill(pid, signal.SIGKILL)
        hosts.wait_until(lambda: not self.carriers(), "it is gone")
        self.goes_on(process, DONE)
        move.check_moved()


class WhileItCopies(SshDataTest, HeardTest):
    def copying(self, *options, **kind):
        """In the middle of it."""
        kind = {"disks": [Disk(), Disk(bus="scsi")], "rate": 30, "sectors": 127} | kind
        self.move = self.prepare(Guest(**kind))
        self.hear(self.halted(self.move, "copy", "--bandwidth", "12M", *options))
        self.process.send_signal(signal.SIGCONT)
        self.says("% ")
        return self.move

    def kill_carrier(self):
        (pid,) = self.carriers()
        os.kill(pid, signal.SIGKILL)
        hosts.wait_until(lambda: pid not in self.carriers(), "it is gone")

    def mirrors_run(self, move):
        return all(job["io-status"] == "ok" for job in
                   move.source.watch.command("query-block-jobs"))

    def test_the_carrier_is_killed_again_and_again(self):
        move = self.copying()
        for _ in range(2):
            self.kill_carrier()
            hosts.wait_until(lambda: self.carriers() and self.mirrors_run(move),
                             "the copy goes on", 60)
        self.ends(DONE, 60)
        move.check_moved(may_complain=True)

    def test_what_was_sent_before_does_not_arrive_later(self):
        """What an old sshd holds, and its kernel: by then the guest has written the same sectors
        anew."""
        move = self.prepare(Guest(disks=[Disk(region=(0, 4))], rate=100, sectors=127,
                                  dirty_per_beat=16, dirty_pages=512))  # RAM takes 15 s
        self.hear(self.halted(move, "copy", "--bandwidth", "12M"))
        self.wait_until_copied(move)
        old = self.data_sessions()
        for pid in old:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2)
        self.kill_carrier()
        self.process.send_signal(signal.SIGCONT)
        self.says(": ram: ", 60)
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        for pid in old:
            os.kill(pid, signal.SIGCONT)
        hosts.wait_until(lambda: not set(old) & set(self.ssh_sessions()), "they are gone")
        self.process.send_signal(signal.SIGCONT)
        self.ends(DONE, 120)
        move.check_moved(may_complain=True)

    def data_sessions(self):
        """Those of sshd that carry the data."""
        return [parent_of(pid) for pid, line in self.b.processes().items() if line == "cat"]

    def test_with_drive_mirror(self):
        move = self.copying("--mirror=drive")
        self.kill_carrier()
        self.ends(DONE, 60)
        move.check_moved(may_complain=True)

    def test_qemus_of_another_user(self):
        move = self.prepare(Guest(src_extra=["-runas", "nobody"], **WRITING))
        self.a.run(["chown", "-R", "nobody", move.guest.directory])
        process = self.halted(move, "copy")
        self.kill_carrier()
        self.goes_on(process, DONE)
        move.check_moved(may_complain=True)

    def test_disks_that_nobody_writes_to(self):
        """Their mirrors have nothing to send that would tell them that they are cut off."""
        move = self.prepare(Guest(rate=0, disks=[Disk(), Disk(bus="scsi")]))
        process = self.halted(move, "copy")
        self.wait_until_copied(move)
        self.kill_carrier()
        self.goes_on(process, DONE)
        move.check_moved(may_complain=True)

    def test_ssh_is_refused_for_a_while(self):
        move = self.copying()
        self.b.stop_sshd()
        self.cut_ssh()
        self.says("the link of the disks to hostb is lost; waiting for it, 60 s at most")
        self.b.start_sshd()
        self.says("the link of the disks to hostb is back", 60)
        self.ends(DONE, 60)
        move.check_moved(may_complain=True)

    def test_it_does_not_come_back(self):
        """As where the login may open no such socket any more."""
        move = self.copying("--reconnect", "3")
        self.b.run(["mv", f"{hosts.ETC}/authorized_keys", f"{hosts.ETC}/elsewhere"])
        self.kill_carrier()
        self.says("is lost; waiting for it, 3 s at most")
        self.ends(FAILED, 60)
        self.assertIn("did not come back within 3 s", self.text())
        self.b.run(["mv", f"{hosts.ETC}/elsewhere", f"{hosts.ETC}/authorized_keys"])
        move.check_stayed(may_complain=True)  # that it could not flush what is lost (11.1)

    def test_it_is_not_to_come_back(self):
        move = self.copying("--reconnect", "0")
        self.kill_carrier()
        self.ends(FAILED, 60)
        self.assertIn("hostb", self.text())
        move.check_stayed(may_complain=True)

    def test_interrupted_while_it_is_lost(self):
        move = self.copying()
        self.b.stop_sshd()
        self.kill_carrier()
        self.says("is lost")
        self.process.send_signal(signal.SIGINT)
        self.ends(test_faults.INTERRUPTED, 30)
        self.b.start_sshd()
        move.check_stayed(may_complain=True)

    def test_a_qemu_that_cannot_see_the_socket(self):
        """It is given connections, which do not come back."""
        self.a.run(["mkdir", "empty"])
        empty = self.a.run(["readlink", "-f", "empty"]).stdout.strip()
        move = self.prepare(Guest(src_extra=["-chroot", empty], **WRITING))
        done = self.vmferry(*self.arguments("migrate", move))
        self.assertIn("will not come back (--reconnect)", done.stderr)
        move.check_moved()

    def test_only_the_monitor_s_connection_is_cut(self):
        """It comes back, and what carries the data was not disturbed."""
        move = self.prepare(Guest(**WRITING))
        process = self.halted(move, "copy")
        carries = set(self.data_sessions())
        self.kill_sessions([pid for pid in self.ssh_sessions() if pid not in carries])
        hosts.wait_until(lambda: len(self.ssh_connections()) == len(carries),
                         "hosta has heard of the end")
        self.assertIn("the connection to hostb is back", self.goes_on(process, DONE))
        move.check_moved()

    def test_the_network_goes_silent(self):
        move = self.prepare(Guest(**WRITING))
        process = self.halted(move, "copy", "--reconnect", "5", "--timeout", "connect=5",
                              "--timeout", "answer=5", "--bandwidth", "1M")
        self.b.swallow_all()
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=90)
        self.assertIn(process.returncode, (FAILED, test_faults.HUMAN), said)
        move.source.watch.wait_status("running")
        self.b.unblock()
        self.assertFalse(move.destination.running())
        move.source.wait_for_beats()
        self.assertEqual(self.carriers(), [])


class Killed(SshDataTest):
    """vmferry, and with it what carried the data: so it is undone until the guest is over
    there."""

    def settled(self, moments, check):
        for moment in moments:
            with self.subTest(moment=moment):
                self.doCleanups()
                self.setUp()
                move = self.killed(moment)
                hosts.wait_until(lambda: not self.carriers(), "ssh ends with vmferry")
                self.recover(move)
                check(move)
                self.assertEqual(self.directories(), [[], []])

    def test_before_the_guest_is_over_there(self):
        self.settled(("tunnel/begun", "tunnel/acted", "serve/acted", "target/acted", "copy",
                      "listen/acted", "ram/begun", "ram/acted", "detach/acted",
                      "switchover/begun"), lambda move: move.check_stayed(may_complain=True))

    def test_after(self):
        self.settled(("switchover/acted", "run/begun", "run/acted", "release/begun",
                      "release/acted", "end/acted"), lambda move: move.check_moved())

    def test_while_ram_is_sent(self):
        """More of it is written than is sent, so it is not through by then."""
        move = self.prepare(Guest(disks=[Disk(size=24 << 20)], rate=30, sectors=127, ram_mib=64,
                                  dirty_per_beat=64, dirty_pages=4096))
        process = self.start_vmferry(*self.arguments("migrate", move, "--bandwidth", "4M"),
                                     stdout=-1, stderr=-1, text=True)
        move.source.watch.wait_event("MIGRATION", status="active")
        process.kill()
        process.communicate()
        self.recover(move)
        move.check_stayed(may_complain=True)

    def test_with_the_destination_gone(self):
        move = self.killed("copy")
        move.destination.kill()
        self.recover(move)
        self.assertEqual(self.directories(), [[], []])
        move.check_stayed(may_complain=True)


def parent_of(pid):
    """proc(5)."""
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


del CloneTest, RecoverTest

if __name__ == "__main__":
    unittest.main(verbosity=2)
