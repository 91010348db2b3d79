"""Ways to the other host that ssh_config(5) knows, with whole moves through them."""

import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import termios
import time
import unittest

import hosts
from rig import Guest
from test_faults import DONE, INTERRUPTED, REFUSED, FaultTest


class SshTest(FaultTest):
    def configure(self, *lines):
        """Puts these lines before all others of hosta's ssh_config."""
        path = pathlib.Path(self.a.outside(self.a.ssh_config))
        path.write_text("\n".join([*lines, path.read_text()]))


class Terminal:
    """vmferry at a terminal: what it shows there, and what is typed."""

    def __init__(self, test, *arguments, **options):
        self.master, slave = pty.openpty()
        test.addCleanup(os.close, self.master)
        self.shown = ""
        options.setdefault("stdin", slave)
        self.process = test.start_vmferry(
            *arguments, stdout=slave, stderr=slave,
            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0), **options)
        os.close(slave)

    def echoes(self):
        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def read(self, deadline):
        """Takes in what is shown next; False: nothing comes any more."""
        ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(self.shown)
        try:
            chunk = os.read(self.master, 65536)
        except OSError:  # nobody has it open any more
            return False
        self.shown += chunk.decode()
        return True

    def wait_for(self, text):
        deadline = time.monotonic() + hosts.DEADLINE_S
        while text not in self.shown:
            if not self.read(deadline):
                raise AssertionError(f"ended without {text!r}: {self.shown}")

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self):
        """Its exit code, once it has ended."""
        deadline = time.monotonic() + 2 * hosts.DEADLINE_S
        while self.read(deadline):
            pass
        return self.process.wait(hosts.DEADLINE_S)


class Passphrases(SshTest):
    SECRET = "correct horse"
    PROMPT = f"passphrase of {hosts.ETC}/id_locked, for root@hostb: "

    def setUp(self):
        super().setUp()
        path = f"{hosts.ETC}/id_locked"
        self.a.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", self.SECRET, "-f", path])
        with open(self.b.outside(f"{hosts.ETC}/authorized_keys"), "w") as keys:
            keys.write(pathlib.Path(self.a.outside(path + ".pub")).read_text())
        self.configure("Host hostb", f"IdentityFile {path}", "BatchMode no")

    def start(self, *options, command="check", **more):
        move = self.prepare(Guest(rate=0))
        return move, Terminal(self, *self.arguments(command, move, *options), **more)

    def asked(self, *options, **more):
        """A terminal at which it is asked right now."""
        move, terminal = self.start(*options, **more)
        terminal.wait_for(self.PROMPT)
        hosts.wait_until(lambda: not terminal.echoes(), "the terminal does not echo")
        return move, terminal

    def test_it_is_asked_for_and_not_shown(self):
        move, terminal = self.asked(command="migrate")
        terminal.type("wrong\n")
        terminal.shown = ""
        terminal.wait_for(self.PROMPT)
        terminal.type(self.SECRET + "\n")
        self.assertEqual(terminal.end(), DONE, terminal.shown)
        self.assertNotIn(self.SECRET, terminal.shown)
        self.assertTrue(terminal.echoes())
        move.check_moved()

    def test_with_sudo_it_is_asked_once(self):
        """Though there are two sessions."""
        self.b.add_login("op", "ALL=(root) NOPASSWD: /usr/sbin/sshd")
        move = self.prepare(Guest(rate=0))
        terminal = Terminal(self, "check", "-F", self.a.ssh_config, "--sudo",
                            move.source.qmp_sock, f"op@hostb:{move.destination.qmp_sock}")
        terminal.wait_for("id_locked, for op@hostb: ")
        terminal.type(self.SECRET + "\n")
        self.assertEqual(terminal.end(), DONE, terminal.shown)
        self.assertEqual(terminal.shown.count("passphrase of"), 1)

    def ended(self, end):
        move, terminal = self.asked(command="migrate")
        end(terminal)
        self.assertEqual(terminal.end(), INTERRUPTED, terminal.shown)
        self.assertTrue(terminal.echoes())
        move.check_stayed()

    def test_interrupted_the_terminal_is_as_before(self):
        self.ended(lambda terminal: terminal.type("half of i\x1a\x1c\x03"))

    def test_terminated_the_terminal_is_as_before(self):
        self.ended(lambda terminal: terminal.process.terminate())

    def not_asked(self, *options, **more):
        _, terminal = self.start(*options, **more)
        self.assertEqual(terminal.end(), REFUSED, terminal.shown)
        self.assertNotIn("passphrase of", terminal.shown)
        self.assertIn("ssh-add", terminal.shown)

    def test_batch_never_asks(self):
        self.not_asked("--batch")

    def test_without_a_terminal_as_stdin_nothing_is_asked(self):
        self.not_asked(stdin=-3)  # /dev/null

    def test_batch_mode_of_ssh_config_never_asks(self):
        self.configure("Host hostb", "BatchMode yes")
        self.not_asked()


class Silence(SshTest):
    """Nothing comes from hostb any more, and nothing says why."""

    def connections(self):
        """hosta's SSH connections to hostb, with their timers."""
        return self.a.run(["ss", "-Hton", "state", "established", "dport", "=", ":22"]).stdout

    def test_the_connection_ends_within_20_s(self):
        """The kernel sees to it, whatever vmferry does meanwhile."""
        move = self.prepare(Guest(rate=0))
        process = self.halted(move, "copy", "--reconnect", "1")
        hosts.wait_until(lambda: re.search(r"timer:\(keepalive,[1-5]", self.connections()),
                         "the kernel waits 5 s at most")
        self.b.swallow_all()
        begun = time.monotonic()
        hosts.wait_until(lambda: not self.connections(), "it ends", deadline_s=30)
        self.assertGreater(time.monotonic() - begun, 5)
        process.kill()

    def test_tcp_keepalive_no_is_heeded(self):
        self.configure("Host hostb", "TCPKeepAlive no")
        move = self.prepare(Guest(rate=0))
        process = self.halted(move, "copy")
        self.assertIn(":22", self.connections())
        self.assertNotIn("keepalive", self.connections())
        process.kill()

    def test_behind_a_jump_sshd_is_asked(self):
        """The connection to the jump is not ours."""
        self.configure("Host hostb", "ProxyJump hostb4")
        move = self.prepare(Guest(rate=300, sectors=127))
        process = self.halted(move, "copy", "--data-address", self.b.ipv4, "--timeout",
                              "connect=2", "--timeout", "answer=60", "--timeout", "stall=60")
        sshd = [pid for pid, line in self.b.processes().items() if line.startswith("sshd:")]
        for pid in sshd:
            os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=90)
        self.assertLess(time.monotonic() - begun, 60, said)
        self.assertIn("does not answer any more", said)


class Sudo(SshTest):
    """A login that is not root and may run sshd by sudo."""

    # what any login by PAM leaves, and sudo when it would have asked
    OF_THE_SYSTEM = (r"^file: /run/(motd\.dynamic|sudo)",)

    def arguments(self, command, move, *options):
        return [*super().arguments(command, move, *options)[:-1],
                f"op@hostb:{move.destination.qmp_sock}"]

    def refused(self, *options, words):
        move = self.prepare(Guest(rate=0))
        done = self.vmferry(*self.arguments("migrate", move, *options), check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        move.check_stayed(self.OF_THE_SYSTEM)

    def test_without_it_root_s_monitor_is_out_of_reach(self):
        self.b.add_login("op", "ALL=(root) NOPASSWD: /usr/sbin/sshd")
        self.refused(words=["hostb"])

    def test_sudo_would_ask(self):
        self.b.add_login("op", "ALL=(root) /usr/sbin/sshd")
        self.refused("--sudo", words=["a password is required", "NOPASSWD for /usr/sbin/sshd"])

    def test_moves(self):
        self.b.add_login("op", "ALL=(root) NOPASSWD: /usr/sbin/sshd")
        move = self.prepare(Guest(rate=300, sectors=127))
        self.vmferry(*self.arguments("migrate", move, "--sudo"))
        move.check_moved(self.OF_THE_SYSTEM)

    def test_clones(self):
        self.b.add_login("op", "ALL=(root) NOPASSWD: /usr/sbin/sshd")
        move = self.prepare(Guest(rate=300, sectors=127), start_destination=False)
        self.vmferry("migrate", "-F", self.a.ssh_config, "--clone", "--sudo",
                     move.source.qmp_sock, "op@hostb")
        move.check_moved(self.OF_THE_SYSTEM)

    def test_moves_by_a_jump(self):
        self.b.add_login("op", "ALL=(root) NOPASSWD: /usr/sbin/sshd")
        self.configure("Host hostb", "ProxyJump op@hostb4")
        move = self.prepare(Guest(rate=300, sectors=127))
        self.vmferry(*self.arguments("migrate", move, "--sudo", "--data-address", self.b.ipv6))
        move.check_moved(self.OF_THE_SYSTEM)

    def test_recover_knows_of_it(self):
        self.b.add_login("op", "ALL=(root) NOPASSWD: /usr/sbin/sshd")
        move = self.prepare(Guest(rate=0))
        process = self.halted(move, "copy", "--sudo")
        process.kill()
        process.wait()
        self.vmferry("recover", "--all")
        move.check_moved(self.OF_THE_SYSTEM)


class Proxies(SshTest):
    def setUp(self):
        super().setUp()
        self.configure("Host hostb", "ProxyJump hostb4")  # one host by two names

    def test_the_data_address_is_asked_for(self):
        move = self.prepare(Guest(rate=0))
        done = self.vmferry(*self.arguments("migrate", move), check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("--data-address", done.stderr)
        self.assertIn("nothing was changed", done.stderr)
        move.check_stayed()

    def test_moves_by_a_jump(self):
        move = self.prepare(Guest(rate=300, sectors=127))
        self.vmferry(*self.arguments("migrate", move, "--data-address", self.b.ipv4))
        move.check_moved()

    def jumps(self):
        return [pid for pid, line in self.a.processes().items() if line.startswith("ssh ")]

    def test_no_jump_is_left_when_vmferry_is_killed(self):
        move = self.prepare(Guest(rate=0))
        process = self.halted(move, "copy", "--data-address", self.b.ipv4)
        self.assertTrue(self.jumps())
        process.kill()
        process.wait()
        hosts.wait_until(lambda: not self.jumps(), "the ssh of the ProxyJump ends")
        self.vmferry("recover", "--all", "-F", self.a.ssh_config)
        move.check_moved()  # from where it was, through a jump of its own

    def test_interrupted_by_the_terminal_it_undoes_through_the_jump(self):
        """Ctrl-C goes to the whole process group."""
        move = self.prepare(Guest(rate=0))
        process = self.halted(move, "copy", "--data-address", self.b.ipv4)
        os.killpg(process.pid, signal.SIGINT)
        self.goes_on(process, INTERRUPTED)
        move.check_stayed(may_complain=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
