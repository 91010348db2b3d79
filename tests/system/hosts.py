"""Two simulated hosts on one machine.

A Host is a network, mount and UTS namespace with its own sshd, its own name,
its own boot id and its own files: /run is empty and private, and
/run/vmferry-test is a directory of its own, so the same absolute path on two
hosts is two files, as on two machines. Pair makes two of them, hosta and
hostb, joined by a veth pair:

    hosta  192.0.2.1  fd00:f::1          hostb  192.0.2.2  fd00:f::2

The namespaces have no names; they exist as long as the host's keeper does, a
small process that sits in them and reads its stdin. When that ends - because
the test closed it, failed, or was killed -9 - the keeper kills everything in
its network namespace and removes the files. So nothing outlives a test.
"""

import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

DEADLINE_S = 30
WORK = "/run/vmferry-test"  # the guests' files: where vmferry leaves its own, if any
ETC = "/run/vmferry-etc"  # the rig's own: keys, sshd, logs
HOME = "/run/vmferry-home"

KEEPER = """
import os, shutil, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
def inhabitants():
    mine = os.readlink("/proc/self/ns/net")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(pid) != os.getpid() and os.readlink(f"/proc/{pid}/ns/net") == mine \\
               and open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
                yield int(pid)
        except (OSError, IndexError):
            pass
print("ready", flush=True)
sys.stdin.read()
while pids := list(inhabitants()):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
if len(sys.argv) > 1:
    shutil.rmtree(sys.argv[1], ignore_errors=True)
"""

TAKE_PORTS = """
import signal, socket, sys
taken = [socket.create_server((sys.argv[1], int(port))) for port in sys.argv[2:]]
signal.pause()
"""

SSHD_CONFIG = f"""
Port 22
HostKey {ETC}/host_key
PidFile {ETC}/sshd.pid
AuthorizedKeysFile {ETC}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
AllowStreamLocalForwarding yes
MaxSessions 100
MaxStartups 100
Subsystem sftp internal-sftp
"""

SSH_CONFIG = f"""
Host hosta* hostb* 192.0.2.* fd00:f::*
    User root
    IdentityFile {ETC}/id_ed25519
    IdentitiesOnly yes
    UserKnownHostsFile {ETC}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
    PasswordAuthentication no
"""


class Host:
    def __init__(self, name, number, top):
        self.name = name
        self.ipv4 = f"192.0.2.{number}"
        self.ipv6 = f"fd00:f::{number}"
        self.root = pathlib.Path(top) / name
        self.ssh_config = f"{ETC}/ssh_config"
        self._directories = {WORK: "work", ETC: "etc", HOME: "home"}
        for directory in self._directories.values():
            (self.root / directory).mkdir(parents=True)
        self._keeper = _start_keeper(top)
        self.pid = self._keeper.pid
        self.sshd = None
        self._started = []

    def outside(self, path):
        """The path by which the test itself reaches a file of this host."""
        path = str(path)
        for inside, directory in self._directories.items():
            if path == inside or path.startswith(inside + "/"):
                return str(self.root / directory) + path[len(inside):]
        return f"/proc/{self.pid}/root{path}"

    def popen(self, argv, cwd=None, env=None, **options):
        """Starts a program on this host. Its pid is that of the Popen, its HOME
        private; env is added to a minimal environment."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-n", "-u"]
        place = ["env", "-C", cwd or WORK]
        environment = {"PATH": os.environ["PATH"], "HOME": HOME, "LC_ALL": "C.UTF-8"}
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("start_new_session", True)
        process = subprocess.Popen([*enter, *place, *map(str, argv)],
                                   env=environment | (env or {}), **options)
        self._started.append(process)
        return process

    def run(self, argv, check=True, timeout_s=DEADLINE_S, **options):
        """Runs a program to its end; a CompletedProcess with text output. On
        timeout everything it started in its session is killed."""
        data = options.pop("input", None)
        if data is not None:
            options["stdin"] = subprocess.PIPE
        process = self.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, **options)
        try:
            out, err = process.communicate(data, timeout_s)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        done = subprocess.CompletedProcess(argv, process.returncode, out, err)
        if check and done.returncode:
            raise RuntimeError(f"{self.name}: {shlex.join(map(str, argv))}: "
                               f"exit {done.returncode}: {err}{out}")
        return done

    def shell(self, script, **options):
        return self.run(["sh", "-ec", script], **options)

    # ---- sshd

    def start_sshd(self):
        log = open(self.outside(f"{ETC}/sshd.log"), "ab")
        with log:
            self.sshd = self.popen(["/usr/sbin/sshd", "-D", "-e", "-f", f"{ETC}/sshd_config"],
                                   stdout=log, stderr=log)
        wait_until(lambda: 22 in self.listening(), f"{self.name}: sshd listens")

    def stop_sshd(self):
        """No new SSH connection; those that are there go on."""
        self.sshd.kill()
        self.sshd.wait()

    def take_ports(self, *ports):
        """Starts somebody who listens on these TCP ports, till the host ends."""
        self.popen([sys.executable, "-c", TAKE_PORTS, self.ipv4, *ports])
        wait_until(lambda: set(ports) <= self.listening(), f"{self.name}: ports are taken")

    def add_login(self, name, sudoers=""):
        """A login that is not root and takes the same keys; what it may do by sudo.
        Root has no password any more, not even one that cannot be."""
        number = 54321
        passwd = pathlib.Path("/etc/passwd").read_text()
        self._write("passwd", f"{passwd}{name}:x:{number}:{number}::{HOME}:/bin/sh\n")
        self._write("shadow", f"root:!:19000::::::\n{name}:*:19000::::::\nsshd:!:19000::::::\n")
        self._write("sudoers", f"{name} {sudoers}\n" if sudoers else "")
        os.chmod(self.outside(f"{ETC}/sudoers"), 0o440)
        for file in ("passwd", "sudoers"):
            self.run(["mount", "--bind", f"{ETC}/{file}", f"/etc/{file}"])

    # ---- what is there

    def processes(self):
        """pid -> command line of everything that runs here, but the keeper."""
        found = {}
        mine = os.readlink(f"/proc/{self.pid}/ns/net")
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if int(pid) != self.pid and os.readlink(f"/proc/{pid}/ns/net") == mine:
                    line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
                    if line:  # a zombie has none
                        found[int(pid)] = line.replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                pass
        return found

    def listening(self):
        """The TCP ports somebody listens on."""
        lines = self.run(["ss", "-H", "-ltn"]).stdout.splitlines()
        return {int(line.split()[3].rsplit(":", 1)[1]) for line in lines}

    def unix_sockets(self):
        """The paths of the Unix sockets somebody listens on."""
        lines = self.run(["ss", "-H", "-lx"]).stdout.splitlines()
        return {line.split()[4] for line in lines}

    def journals(self):
        """The files of vmferry's own."""
        listing = self.run(["find", "/var/lib", "-type", "f"]).stdout
        return listing.split()

    def files(self):
        """Every file, socket and directory under /run, but the rig's own."""
        lines = self.run(["find", "/run", "-mindepth", "1", "-path", ETC, "-prune", "-o", "-print"])
        return set(lines.stdout.splitlines())

    # ---- what can befall it

    def cut_link(self):
        """Pulls the cable; addresses stay."""
        self.run(["ip", "link", "set", "eth0", "down"])

    def restore_link(self):
        self.run(["ip", "link", "set", "eth0", "up"])
        self.wait_for_link()

    def wait_for_link(self):
        """Waits until packets go through: the kernel takes its time."""
        wait_until(lambda: " UP " in self.run(["ip", "-br", "link", "show", "eth0"]).stdout,
                   f"{self.name}: the link is up")

    def block(self, ports, how="drop"):
        """Lets no TCP come in to these ports ("49152-49215" or "10809"), from
        now on, open connections included: "drop" swallows, "reject" answers
        with a reset."""
        verdict = {"drop": "drop", "reject": "reject with tcp reset"}[how]
        self.run(["nft", "-f", "-"], input=f"""
            table inet rig {{
                chain input {{
                    type filter hook input priority 0;
                    iifname eth0 tcp dport {{ {ports} }} {verdict}
                }}
            }}""")

    def swallow_all(self):
        """The network takes every packet and brings none."""
        self.run(["nft", "-f", "-"], input="""
            table inet rig {
                chain input { type filter hook input priority 0; iifname eth0 drop; }
                chain output { type filter hook output priority 0; oifname eth0 drop; }
            }""")

    def swallow_both_ways(self, port):
        """No TCP gets to this port or from it."""
        self.run(["nft", "-f", "-"], input=f"""
            table inet rig {{
                chain input {{
                    type filter hook input priority 0; iifname eth0 tcp dport {port} drop;
                }}
                chain output {{
                    type filter hook output priority 0; oifname eth0 tcp sport {port} drop;
                }}
            }}""")

    def swallow_answers(self, port):
        """TCP still connects to this port, and takes in what comes: nothing of what is said to it
        gets out."""
        self.run(["nft", "-f", "-"], input=f"""
            table inet rig {{
                chain output {{
                    type filter hook output priority 0;
                    oifname eth0 tcp sport {port} ip length > 60 drop;
                }}
            }}""")

    def connections_opened(self):
        """How often a program here has begun to connect by TCP."""
        names, values = [line.split() for line in self.run(["cat", "/proc/net/snmp"])
                         .stdout.splitlines() if line.startswith("Tcp:")]
        return int(values[names.index("ActiveOpens")])

    def unblock(self):
        """Ends block, swallow_both_ways, swallow_answers and swallow_all."""
        self.run(["nft", "delete", "table", "inet", "rig"])

    def slow_link(self, rate):
        """Limits what this host sends, e.g. "100mbit"; None ends it."""
        if rate is None:
            self.run(["tc", "qdisc", "del", "dev", "eth0", "root"])
        else:
            self.run(["tc", "qdisc", "replace", "dev", "eth0", "root", "tbf",
                      "rate", rate, "burst", "256kb", "latency", "50ms"])

    def lose_power(self):
        """Everything here ends at once and the peers hear nothing of it."""
        self.cut_link()
        self.kill_all()

    def reboot(self):
        """After lose_power: a new boot id, the link up, sshd running."""
        self._new_boot_id()
        self.restore_link()
        self.start_sshd()

    def kill_all(self):
        self._kill_started()
        while pids := self.processes():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def close(self):
        """Ends everything on this host, and the host."""
        self._kill_started()
        self._keeper.stdin.close()
        self._keeper.wait(DEADLINE_S)
        self._keeper.stdout.close()

    def _kill_started(self):
        """Ends what the test started, also what is only on its way here."""
        for process in self._started:
            process.kill()
            process.wait()
        self._started.clear()

    # ---- making it

    def set_up(self):
        mounts = "\n".join(f"mkdir {inside}; mount --bind {self.root}/{directory} {inside}"
                           for inside, directory in self._directories.items())
        self.shell(f"""
            mount -t tmpfs tmpfs /run
            mount -t tmpfs tmpfs /var/lib
            mkdir /run/sshd
            {mounts}
            for file in ~root/.bashrc ~root/.bash_profile ~root/.profile; do
                [ ! -e $file ] || mount --bind /dev/null $file
            done
            hostname {self.name}
            ip link set lo up
            echo 1 >/proc/sys/net/ipv6/conf/all/keep_addr_on_down
            echo 1 >/proc/sys/net/ipv6/conf/eth0/keep_addr_on_down
            ip addr add {self.ipv4}/24 dev eth0
            ip addr add {self.ipv6}/64 dev eth0 nodad
            ip link set eth0 up
            """, cwd="/")
        self._write("hosts", "127.0.0.1 localhost\n::1 localhost\n"
                    "192.0.2.1 hosta hosta4\n192.0.2.2 hostb hostb4\n"
                    "fd00:f::1 hosta6\nfd00:f::2 hostb6\n")
        self._write("shadow", "root:*:19000::::::\nsshd:!:19000::::::\n")
        for name in ("hosts", "shadow"):
            self.run(["mount", "--bind", f"{ETC}/{name}", f"/etc/{name}"])
        self._new_boot_id()

    def set_up_ssh(self, public_keys, known_hosts):
        self._write("sshd_config", SSHD_CONFIG)
        self._write("ssh_config", SSH_CONFIG)
        self._write("authorized_keys", public_keys)
        self._write("known_hosts", known_hosts)
        self.start_sshd()

    def _new_boot_id(self):
        kernel_file = "/proc/sys/kernel/random/boot_id"
        fresh = pathlib.Path("/proc/sys/kernel/random/uuid").read_text()
        self._write("boot_id", fresh)
        if self.run(["cat", kernel_file]).stdout != fresh:
            self.run(["mount", "--bind", f"{ETC}/boot_id", kernel_file])

    def _write(self, name, text):
        path = pathlib.Path(self.outside(f"{ETC}/{name}"))
        path.write_text(text)


class Pair:
    """hosta and hostb, joined, each with an sshd that takes root of the other."""

    def __init__(self):
        self.top = tempfile.mkdtemp(prefix="vmferry-", dir="/var/tmp")
        self.hosts = []
        try:
            for number, name in enumerate(("hosta", "hostb"), 1):
                self.hosts.append(Host(name, number, self.top))
            self.a, self.b = self.hosts
            _run("ip", "link", "add", "eth0", "netns", str(self.a.pid), "type", "veth",
                 "peer", "name", "eth0", "netns", str(self.b.pid))
            for host in self.hosts:
                host.set_up()
            for host in self.hosts:
                host.wait_for_link()
            self._set_up_ssh()
        except BaseException:
            self.close()
            raise

    def _set_up_ssh(self):
        known, public = "", ""
        for host in self.hosts:
            etc = pathlib.Path(host.outside(ETC))
            _keygen(etc / "host_key")
            _keygen(etc / "id_ed25519")
            public += (etc / "id_ed25519.pub").read_text()
            key = " ".join((etc / "host_key.pub").read_text().split()[:2])
            known += f"{host.name},{host.name}4,{host.name}6,{host.ipv4},{host.ipv6} {key}\n"
        for host in self.hosts:
            host.set_up_ssh(public, known)

    def add_rsa_identity(self):
        """Also an RSA key from hosta to hostb; the path of the private key."""
        etc = pathlib.Path(self.a.outside(ETC))
        _keygen(etc / "id_rsa", "rsa")
        with open(self.b.outside(f"{ETC}/authorized_keys"), "a") as keys:
            keys.write((etc / "id_rsa.pub").read_text())
        return f"{ETC}/id_rsa"

    def close(self):
        for host in self.hosts:
            host.close()
        if not keep_files():
            shutil.rmtree(self.top, ignore_errors=True)


def keep_files():
    """Whether a person wants to look at what a test left."""
    return bool(os.environ.get("VMFERRY_TEST_KEEP"))


def wait_until(condition, what, deadline_s=DEADLINE_S):
    """Waits until condition() is true and returns what it returned."""
    deadline = time.monotonic() + deadline_s
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {deadline_s} s: {what}")
        time.sleep(0.005)
    return result


def _start_keeper(top):
    argv = ["unshare", "--mount", "--net", "--uts", "--propagation", "private",
            sys.executable, "-c", KEEPER] + ([] if keep_files() else [top])
    keeper = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              start_new_session=True)
    if keeper.stdout.readline() != b"ready\n":
        raise RuntimeError("namespaces are not permitted here")
    return keeper


def _keygen(path, kind="ed25519"):
    _run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "vmferry-test", "-f", str(path))


def _run(*argv):
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
