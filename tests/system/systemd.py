"""A real systemd on one of the test's hosts: it is PID 1 of namespaces of its own, with this
machine's programs, and runs nothing but D-Bus, logind and the host's sshd, through PAM.

It sees the machine's files read-only, and its own /run, /tmp and cgroups. Nothing of it is left
when it is closed, or its host is: it and all below it end with their first process.
"""

import os
import pathlib
import time

import hosts

# In namespaces of its own. The machine's units are started by nothing but these targets; what
# the machine's own mounts and generators would have it do is hidden.
BOOT = r"""
set -e
mkdir -p /run/vmferry-empty /run/systemd/system /run/systemd/logind.conf.d
mount -t proc proc /proc
for dir in /tmp /var/tmp /var/log; do mount -t tmpfs tmpfs $dir; done
mount -t sysfs -o ro sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for dir in /lib/systemd/system/*.wants /etc/systemd/system/*.wants \
           /lib/systemd/system-generators /etc/systemd/system-generators; do
	[ ! -d $dir ] || mount --bind /run/vmferry-empty $dir
done
cat >/run/systemd/system/vmferry-test.target <<end
[Unit]
Wants=dbus.service systemd-logind.service vmferry-sshd.service
end
cat >/run/systemd/system/vmferry-sshd.service <<end
[Unit]
After=dbus.service systemd-logind.service
[Service]
ExecStart=/usr/sbin/sshd -D -e -f $ETC/sshd_config
end
printf '[Login]\nUserStopDelaySec=0\n%b' "$LOGIND" >/run/systemd/logind.conf.d/test.conf
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,ro /
exec env -i PATH="$PATH" container=vmferry-test /lib/systemd/systemd --system \
	--unit=vmferry-test.target --log-target=console --show-status=no
"""
LITTER = [r"/run/(systemd|user|dbus|log|utmp|nologin|motd|cgroup|vmferry-empty)", r"systemd|\(sd-pam\)|dbus"]


class Systemd:
    def __init__(self, host, logind=""):
        """Boots it in the place of the host's sshd. logind: more lines of logind.conf."""
        self.host = host
        host.stop_sshd()
        config = pathlib.Path(host.outside(f"{hosts.ETC}/sshd_config"))
        config.write_text(config.read_text().replace("UsePAM no", "UsePAM yes"))
        self._group = pathlib.Path(_cgroup2()) / f"vmferry-test-{os.getpid()}-{host.pid}"
        self._group.mkdir()
        self._log = host.outside(f"{hosts.ETC}/systemd.log")
        with open(self._log, "wb") as log:
            self._process = host.popen(
                ["sh", "-c", 'echo $$ >"$1" && shift && exec "$@"', "sh",
                 f"{self._group}/cgroup.procs", "unshare", "--pid", "--fork", "--kill-child",
                 "--mount", "--propagation", "private", "--cgroup", "sh", "-c", BOOT],
                stdout=log, stderr=log, cwd="/", env={"LOGIND": logind, "ETC": hosts.ETC})
        try:
            hosts.wait_until(self._is_up, f"{host.name}: systemd runs")
        except BaseException:
            self.close()
            raise

    def _is_up(self):
        if self._process.poll() is not None:
            raise RuntimeError(f"no systemd can be booted here: {self.said()}")
        return 22 in self.host.listening() and self.run(
            ["busctl", "status", "org.freedesktop.login1"], check=False).returncode == 0

    def said(self):
        return pathlib.Path(self._log).read_text(errors="replace")

    def run(self, argv, **options):
        """Runs a program beside its PID 1."""
        children = pathlib.Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        first = children.read_text().split()
        return self.host.run(["nsenter", "-t", first[0] if first else "0", "-a", *argv],
                             cwd="/", **options)

    def unit_of(self, pid):
        """Where a process is in its tree of units; pid is of this machine."""
        group = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()[-1]
        return group.split(f"/{self._group.name}", 1)[1]

    def close(self):
        self._process.kill()
        self._process.wait()
        deadline = time.monotonic() + hosts.DEADLINE_S
        while self._group.exists() and time.monotonic() < deadline:
            for directory, _, _ in os.walk(self._group, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:  # its processes are just ending
                    time.sleep(0.01)


def _cgroup2():
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return line.split()[1]
    raise RuntimeError("no cgroup2 is mounted on this machine")
