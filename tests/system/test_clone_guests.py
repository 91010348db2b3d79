"""--clone of guests as users have them: the many ways to write a command line."""

import json
import os
import shlex
import shutil
import signal
import unittest

import hosts
from program import become, default_qemu, qemu_version
from qemu import Qemu
from qmp import Qmp
from rig import Disk, Guest
from test_clone import RANDOM_NODES, SOCKETS, CloneTest
from test_faults import FAILED, INTERRUPTED, REFUSED

USAGE = 2
NOBODY = 65534
VARS, CODE = "/usr/share/OVMF/OVMF_VARS_4M.fd", "/usr/share/OVMF/OVMF_CODE_4M.fd"


class Daemon(Guest):
    """Started by a shell, in its own directory, and gone to the background; with "relative"
    the images are written so."""
    relative = False
    pwd = None  # what the environment says, if not the truth
    owner = None  # of the image

    def start(self, host, deadline_s=hosts.DEADLINE_S):
        self.make_images(host)
        if self.owner:
            host.run(["chown", self.owner, self.image(0)])
        command = shlex.join([*self.argv(is_source=True), "-daemonize"])
        if self.relative:
            command = command.replace(f"{self.directory}/disk", "disk")
        pwd = f"PWD={self.pwd} " if self.pwd else ""
        host.shell(f"cd {self.directory}; {pwd}{command} >/dev/null 2>stderr.log </dev/null")
        qemu = Qemu(self, host)
        qemu.wait_for_beats(deadline_s=deadline_s)
        return qemu


class CommandLines(CloneTest):
    def moves(self, allowed_litter=(), options=(), **settings):
        move = self.prepare_clone(**settings)
        self.migrate(move, *options)
        move.check_moved(allowed_litter)

    def test_json(self):
        self.moves(RANDOM_NODES, style="json")

    def test_hda(self):
        """10.0 keeps no holes without discard=unmap, which -hda does not say."""
        self.moves(RANDOM_NODES, style="hda", cache="writeback",
                   keeps_holes=qemu_version() != (10, 0),
                   disks=[Disk(dst_image=False, bus="ide"), Disk(dst_image=False, bus="ide")])

    def test_qcow2(self):
        self.moves(disks=[Disk(dst_image=False, format="qcow2")])

    def test_qcow2_as_a_drive(self):
        self.moves(RANDOM_NODES, disks=[Disk(dst_image=False, format="qcow2")], style="drive")

    def test_four_disks(self):
        self.moves(disks=[Disk(dst_image=False, bus=bus)
                          for bus in ("virtio", "scsi", "virtio", "scsi")])

    def test_disks_in_an_iothread(self):
        self.moves(disks=[Disk(dst_image=False, bus="scsi") for _ in range(2)], iothread=True)

    def test_an_empty_cdrom_drive(self):
        self.moves(RANDOM_NODES, cdrom="empty")

    def test_a_name_like_an_option(self):
        """What looks like -daemonize is a name here."""
        self.moves(extra=["-name", "-daemonize"])

    def test_a_machine_without_a_version(self):
        for machine in ("pc", "q35"):
            with self.subTest(machine=machine):
                self.doCleanups()
                self.setUp()
                move = self.prepare_clone(machine=machine, disks=[Disk(dst_image=False)])
                self.migrate(move)
                move.attach_destination()
                self.assertRegex(self.b.processes()[move.destination.process.pid],
                                 rf"-machine pc-(i440fx|q35)-\d")
                move.check_moved()

    def test_disks_into_different_directories(self):
        move = self.prepare_clone(disks=[Disk(dst_image=False), Disk(dst_image=False)])
        maps = []
        for number in range(2):
            image, elsewhere = move.guest.image(number), f"{hosts.WORK}/elsewhere{number}"
            self.b.run(["mkdir", elsewhere])
            maps += ["--map", f"{image}={elsewhere}/disk.img"]
        self.migrate(move, *maps)
        for number in range(2):
            self.b.run(["ln", f"{hosts.WORK}/elsewhere{number}/disk.img",
                        move.guest.image(number)])
        move.check_moved([r"elsewhere\d"])


class Daemons(CloneTest):
    def prepare_daemon(self, relative=False, pwd=None, owner=None, **settings):
        guest = Daemon(**({"disks": [Disk(dst_image=False)], "rate": 300, "sectors": 127}
                          | settings))
        guest.relative, guest.pwd = relative, pwd
        guest.owner = owner
        return self.prepare(guest, start_destination=False)

    def test_a_daemon_of_another_user(self):
        """QEMU has become nobody by itself, and does so again."""
        pid_file = f"{hosts.WORK}/vm1.pid"
        move = self.prepare_daemon(owner="nobody",
                                   extra=["-pidfile", pid_file, *become("nobody")])
        self.migrate(move)
        move.attach_destination()
        pid = move.destination.process.pid
        with open(self.b.outside(pid_file)) as file:
            self.assertEqual(int(file.read()), pid)
        self.assertEqual(user_of(pid), NOBODY)
        self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), "/")
        self.assertEqual(os.stat(self.b.outside(move.guest.image(0))).st_uid, NOBODY)
        move.check_moved([r"vm1\.pid$", *SOCKETS])

    def test_a_daemon_of_another_user_that_opens_its_disk_late(self):
        """A -drive is opened to be written by whom it has become."""
        move = self.prepare_daemon(style="drive", owner="nobody", extra=become("nobody"))
        self.migrate(move)
        move.check_moved([*RANDOM_NODES, *SOCKETS])

    def test_a_user_that_may_not_open_its_disk_any_more(self):
        """QEMU would die of the end of the mirror."""
        move = self.prepare_daemon(style="drive", extra=become("nobody"))
        done = self.migrate(move, check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn(f"user {NOBODY} now, who may not open {move.guest.image(0)}", done.stderr)
        self.no_images(move)
        move.check_stayed()

    def test_relative_names(self):
        """$PWD says where they began."""
        move = self.prepare_daemon(relative=True)
        self.migrate(move)
        move.check_moved()

    def test_relative_names_and_a_pwd_that_is_wrong(self):
        """The file there is not the one that QEMU has open."""
        wrong = f"{hosts.WORK}/wrong"
        self.a.shell(f"mkdir {wrong}; truncate -s 64M {wrong}/disk0.img")
        move = self.prepare_daemon(relative=True, pwd=wrong)
        done = self.migrate(move, check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn("disk0.img: a relative path, and it is not known where", done.stderr)
        self.no_images(move)
        move.check_stayed()


class LongPaths(CloneTest):
    @staticmethod
    def monitor(length):
        path = f"{hosts.WORK}/" + "m" * (length - len(hosts.WORK) - 1)
        return path, ["-qmp", f"unix:{path},server=on,wait=off"]

    def test_the_longest(self):
        path, extra = self.monitor(107)
        move = self.prepare_clone(disks=[Disk(dst_image=False)], extra=extra)
        self.vmferry("migrate", "--clone", "-F", self.a.ssh_config, path, "root@hostb")
        move.attach_destination()
        move.check_moved([r"/mmm"])

    def test_one_too_long(self):
        path, _ = self.monitor(108)
        move = self.prepare_clone(disks=[Disk(dst_image=False)])
        done = self.vmferry("migrate", "--clone", "-F", self.a.ssh_config, move.source.qmp_sock,
                            f"root@hostb:{path}", check=False)
        self.assertEqual(done.returncode, USAGE, done.stderr)
        self.assertEqual(done.stderr.count("108 characters"), 1, done.stderr)
        self.no_images(move)
        move.check_stayed()


class Cpus(CloneTest):
    """What /proc/cpuinfo of hostb says is another CPU. The guest is stopped in its firmware, and
    only looked at: not every KVM runs one."""

    def setUp(self):
        if not os.path.exists("/dev/kvm"):
            self.skipTest("no KVM")
        super().setUp()

    def check_cpu(self, *arguments, program=None):
        directory = f"{hosts.WORK}/cpu"
        for host in (self.a, self.b):
            host.run(["mkdir", "-p", directory])
        source = self.a.popen([*(program or default_qemu()), "-M", "pc", "-nodefaults",
                               "-display", "none", "-S",
                               "-qmp", f"unix:{directory}/qmp.sock,server=on,wait=off",
                               *arguments])
        self.addCleanup(source.wait)
        self.addCleanup(source.kill)
        hosts.wait_until(lambda: f"{directory}/qmp.sock" in self.a.unix_sockets(), "its monitor")
        said = self.vmferry("check", "--clone", "-F", self.a.ssh_config,
                            f"{directory}/qmp.sock", "root@hostb").stderr
        source.kill()
        source.wait()
        return said

    def other_cpu(self, script):
        self.b.shell(f"sed '{script}' /proc/cpuinfo >/run/cpuinfo; "
                     "mount --bind /run/cpuinfo /proc/cpuinfo", cwd="/")

    # Nested hosts may refuse some of it; which CPU it is does not change by that.
    CPU = "max,-arch-capabilities"

    def test_another(self):
        self.other_cpu("s/^model name.*/model name : Sparkling 9000/; s/^flags.*/& sparkle/; "
                       "s/ sse2 / /")
        said = self.check_cpu("-cpu", self.CPU, "-accel", "kvm")
        self.assertRegex(said, rf"\(-cpu {self.CPU}\): .* here, Sparkling 9000 on hostb, "
                         "which lacks: sse2, and has besides: sparkle; it may die there")

    def test_kvm_that_no_word_names(self):
        """It is called "kvm"."""
        self.other_cpu("s/^model name.*/model name : Sparkling 9000/")
        directory = f"{hosts.WORK}/bin"
        for host in (self.a, self.b):
            host.run(["mkdir", directory])
            os.symlink(shutil.which("qemu-system-x86_64"), host.outside(f"{directory}/kvm"))
        self.assertIn("Sparkling 9000 on hostb",
                      self.check_cpu("-cpu", self.CPU, program=[f"{directory}/kvm"]))

    def test_the_same(self):
        self.assertNotIn("-cpu", self.check_cpu("-cpu", self.CPU, "-accel", "kvm"))

    def test_it_does_not_matter(self):
        """A named model; a CPU that is QEMU's own, whatever came first among the words."""
        self.other_cpu("s/^model name.*/model name : Sparkling 9000/")
        for arguments in (["-cpu", "qemu64", "-accel", "kvm"],
                          ["-cpu", "max", "-accel", "tcg", "-accel", "kvm"]):
            self.assertNotIn("Sparkling", self.check_cpu(*arguments))


class Memory(CloneTest):
    """RAM in a file, which QEMU makes and never removes."""
    RAM = f"{hosts.WORK}/web1.ram"

    def prepare_memory(self):
        return self.prepare_clone(disks=[Disk(dst_image=False)], extra=[
            "-object", f"memory-backend-file,id=ram,size=32M,mem-path={self.RAM},share=on",
            "-machine", "memory-backend=ram"])

    def test_its_file_stays_with_the_guest(self):
        move = self.prepare_memory()
        plan = map(json.loads, self.check(move, "--json").stdout.splitlines())
        self.assertEqual([line["text"] for line in plan if line["type"] == "ram_file"],
                         [self.RAM])
        self.migrate(move)
        self.assertEqual(os.stat(self.b.outside(self.RAM)).st_size, 32 << 20)
        move.check_moved([r"web1\.ram$"])

    def test_its_file_goes_with_an_undo(self):
        """Told, or seen by the guard itself."""
        for signum, code in ((signal.SIGINT, INTERRUPTED), (signal.SIGKILL, -signal.SIGKILL)):
            with self.subTest(signum=signum):
                self.doCleanups()
                self.setUp()
                move = self.prepare_memory()
                process = self.halted_clone(move, "copy")
                path = self.b.outside(self.RAM)
                self.assertEqual(os.stat(path).st_size, 32 << 20)
                process.send_signal(signum)
                self.goes_on(process, code)
                hosts.wait_until(lambda: not os.path.exists(path), "the file goes")
                self.guard_goes()


class Media(CloneTest):
    def test_an_ejected_cdrom(self):
        """The drive that the command line makes is empty over there, too."""
        move = self.prepare_clone(cdrom="iso", disks=[Disk(dst_image=False)])
        move.source.watch.command("eject", device="cd", force=True)
        self.migrate(move)
        move.check_moved(RANDOM_NODES)


class UefiTest(CloneTest):
    """A guest with real UEFI firmware, which sits in its shell. Under TCG: real firmware does
    not start on every KVM. It writes its variable store at each of its starts."""
    DIRECTORY = f"{hosts.WORK}/uefi"

    def setUp(self):
        super().setUp()
        for host in (self.a, self.b):
            host.run(["mkdir", self.DIRECTORY])
            self.copy_vars(host)
        self.a.run(["qemu-img", "create", "-q", "-f", "qcow2", f"{self.DIRECTORY}/disk.img", "8M"])
        monitors = [word for name in ("qmp", "watch") for word in
                    ("-qmp", f"unix:{self.DIRECTORY}/{name}.sock,server=on,wait=off")]
        self.source = self.a.popen([
            *default_qemu(), "-name", "uefi", "-M", "pc", "-accel", "tcg", "-m", "128",
            "-nodefaults", "-display", "none", *monitors,
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={CODE}",
            "-drive", f"if=pflash,unit=1,format=raw,file={self.DIRECTORY}/vars.fd",
            "-drive", f"if=virtio,format=qcow2,file={self.DIRECTORY}/disk.img",
            "-serial", f"file:{self.DIRECTORY}/serial.log"])
        self.wait_for_shell(self.a)
        self.watch = Qmp(self.a.outside(f"{self.DIRECTORY}/watch.sock"))
        self.addCleanup(self.watch.close)

    def copy_vars(self, host):
        shutil.copy(VARS, host.outside(f"{self.DIRECTORY}/vars.fd"))

    def vars(self, host):
        with open(host.outside(f"{self.DIRECTORY}/vars.fd"), "rb") as file:
            return file.read()

    def serial(self, host):
        try:
            with open(host.outside(f"{self.DIRECTORY}/serial.log"), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def wait_for_shell(self, host, deadline_s=120):
        seen = len(self.serial(host)) if host is self.b else 0
        hosts.wait_until(lambda: b"Shell>" in self.serial(host)[seen:], "the UEFI shell",
                         deadline_s)

    def move_uefi(self, *options, **more):
        return self.vmferry("migrate", "--clone", "-F", self.a.ssh_config, *options,
                            f"{self.DIRECTORY}/qmp.sock", "root@hostb", **more)

    def check_uefi_moved(self):
        """The store over there is the source's, and the firmware goes on with it."""
        self.source.wait(hosts.DEADLINE_S)
        watch = Qmp(self.b.outside(f"{self.DIRECTORY}/watch.sock"))
        self.addCleanup(watch.close)
        watch.wait_status("running")
        hosts.wait_until(lambda: self.vars(self.b) == self.vars(self.a),
                         "the store over there is the source's")
        before = self.vars(self.b)
        watch.command("system_reset")
        self.wait_for_shell(self.b)
        self.assertNotEqual(self.vars(self.b), before)


class Uefi(UefiTest):
    def test_with_its_variable_store(self):
        """What the firmware has written is in the file over there, which was a fresh one: QEMU
        brings it with the guest's memory and writes it when the guest goes on."""
        self.assertNotEqual(self.vars(self.a), self.vars(self.b))
        self.move_uefi()
        self.check_uefi_moved()

    def test_without_a_variable_store_over_there(self):
        os.unlink(self.b.outside(f"{self.DIRECTORY}/vars.fd"))
        done = self.move_uefi(check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        self.assertIn(f"hostb: there is no {self.DIRECTORY}/vars.fd, which -drive needs and "
                      "which does not move", done.stderr)
        self.assertEqual(self.watch.status(), "running")


def user_of(pid):
    """The effective user of a process; proc(5)."""
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("Uid:")).split()[2])


if __name__ == "__main__":
    unittest.main(verbosity=2)
