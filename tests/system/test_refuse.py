"""What real QEMUs show that stands against a move: each thing is named, all of them at
once, and nothing is changed."""

import pathlib
import socket
import subprocess
import unittest

import hosts
from guest import MIB
from rig import Disk, Guest
from test_faults import FAILED, REFUSED, FaultTest


class Refusals(FaultTest):
    def refused(self, move, *words, options=(), destination=None):
        arguments = self.arguments("migrate", move, *options)
        if destination:
            arguments[-1] = destination
        done = self.vmferry(*arguments, check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertIn("nothing was changed", done.stderr)
        return done.stderr

    def test_a_block_job_is_active(self):
        move = self.prepare(Guest(rate=0))
        move.source.watch.command("drive-backup", job_id="nightly", device="disk0", speed=1,
                                  sync="full", target=f"{hosts.WORK}/backup.img", format="raw")
        self.refused(move, "nightly", "block-job-cancel")

    def test_a_scsi_disk_is_smaller_over_there(self):
        move = self.prepare(Guest(rate=0, disks=[Disk(bus="scsi", dst_size=1 << 20)]))
        self.refused(move, "smaller on hostb", "scsi-hd", "qemu-img resize")

    def test_a_disk_is_snapshot_on(self):
        move = self.prepare(Guest(rate=0, style="drive", src_extra=[
            "-drive", f"if=none,id=tmp,snapshot=on,format=raw,file={hosts.WORK}/vm1/guest.bin",
            "-device", "virtio-blk-pci,drive=tmp,id=devtmp"]))
        self.refused(move, "tmp", "snapshot=on")

    def test_the_destination_runs(self):
        move = self.prepare(Guest(rate=0))
        other = self.prepare(Guest(name="vm2", rate=0))
        running = other.source.qmp_sock  # on hosta, reached over SSH like any other
        self.refused(move, "runs a guest", "-incoming defer", destination=f"hosta:{running}")

    def test_the_destination_listens_already(self):
        move = self.prepare(Guest(rate=0))
        move.destination.watch.command("migrate-incoming", uri="tcp:127.0.0.1:0")
        self.refused(move, "hostb", "-incoming defer")

    def test_an_export_is_there(self):
        move = self.prepare(Guest(rate=0))
        dst = move.destination.watch
        dst.command("nbd-server-start", addr={"type": "unix", "data": {
            "path": f"{hosts.WORK}/vm1/nbd.sock"}})
        dst.command("block-export-add", {"type": "nbd", "id": "old", "node-name": "disk0",
                                         "name": "old"})
        self.refused(move, "hostb", "export", "nbd-server-stop")

    def test_an_nbd_server_without_exports_is_there(self):
        """Which QEMU tells when another is to be started: that is undone, the server is left."""
        move = self.prepare(Guest(rate=0))
        path = f"{hosts.WORK}/vm1/nbd.sock"
        move.destination.watch.command("nbd-server-start", addr={"type": "unix", "data": {
            "path": path}})
        for options in ([], ["--encrypt=ssh"]):
            done = self.vmferry(*self.arguments("migrate", move, *options), check=False)
            self.assertEqual(done.returncode, FAILED, done.stderr)
            for words in ("has an NBD server already", "nbd-server-stop"):
                self.assertIn(words, done.stderr)
            self.assertIn(path, self.b.unix_sockets())
        move.destination.watch.command("nbd-server-stop")
        move.check_stayed()

    def test_a_disk_has_no_counterpart(self):
        move = self.prepare(Guest(rate=0, src_extra=[
            "-blockdev", "null-co,node-name=extra,size=1048576,read-zeroes=on",
            "-device", "virtio-blk-pci,drive=extra,id=devextra"]))
        self.refused(move, "extra", "no disk by that name")

    def test_both_sides_are_one_file(self):
        """Two QEMUs on one host, one of them waiting: QEMU itself does not notice."""
        guest = Guest(rate=0)
        move = self.prepare(guest)
        argv = guest.argv(is_source=False)
        sock = f"{hosts.WORK}/second.sock"
        argv = [word.replace(f"{guest.directory}/qmp.sock", sock) for word in argv]
        argv = [word.replace(f"{guest.directory}/watch.sock", sock + "2")
                .replace(f"{guest.directory}/status.sock", sock + "3") for word in argv]
        second = self.a.popen(argv)
        self.addCleanup(second.wait)
        self.addCleanup(second.kill)
        hosts.wait_until(lambda: pathlib.Path(self.a.outside(sock)).exists(), "it waits")
        self.refused(move, "disk0", "the same file on both sides", destination=sock)

    def test_the_destination_is_another_machine(self):
        move = self.prepare(Guest(rate=0, dst_extra=["-m", "24", "-smp", "2", "-machine", "q35"]))
        self.refused(move, "another size of memory (24.0 MiB) than the source's (32.0 MiB)",
                     "2 CPUs, the source's 1", "another machine (pc-q35-", "-machine pc-i440fx-")

    def test_settings_that_do_not_go_with_a_move(self):
        move = self.prepare(Guest(rate=0))
        move.source.watch.command("migrate-set-capabilities", capabilities=[
            {"capability": "multifd", "state": True}])
        move.destination.watch.command("migrate-set-parameters", tls_creds="tls0")
        self.refused(move, "source: its migration capability \"multifd\" is on",
                     "hostb: its migration parameter tls-creds is set")

    def test_a_waiting_qemu_with_another_file_than_asked_for(self):
        move = self.prepare(Guest(rate=0))
        self.refused(move, "disk0: is to go to /data/disk0.img, but the QEMU on hostb uses",
                     options=["--map", f"{move.guest.directory}=/data"])

    def test_a_relative_image_is_looked_up(self):
        """The waiting QEMU names its image relative to its working directory."""
        guest = Guest(rate=0)
        argv = guest.argv
        guest.argv = lambda is_source: [
            word if is_source else word.replace(f"filename={hosts.WORK}/", "filename=")
            for word in argv(is_source)]
        move = self.prepare(guest)
        done = self.vmferry(*self.arguments("check", move))
        self.assertIn(f"hostb:{guest.image(0)}", done.stdout)

    def test_another_client_holds_the_monitor(self):
        move = self.prepare(Guest(rate=0))
        holder = socket.socket(socket.AF_UNIX)
        self.addCleanup(holder.close)
        holder.connect(self.b.outside(move.destination.qmp_sock))
        holder.recv(100)
        self.refused(move, "hostb", "another client", options=["--timeout", "connect=1"])

    def test_both_hosts_have_one_block_device(self):
        """A LUN, say: nothing but its identity tells, and a mirror would wipe it."""
        image = pathlib.Path(self.a.outside(f"{hosts.WORK}/lun"))
        image.write_bytes(b"precious" * (MIB // 8))
        device = subprocess.run(["losetup", "-f", "--show", image], check=True, text=True,
                                capture_output=True).stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "-d", device], check=True)
        lun = ["-blockdev", f"host_device,node-name=lun,filename={device}",
               "-device", "virtio-blk-pci,drive=lun,id=devlun"]
        move = self.prepare(Guest(rate=0, extra=lun))
        self.refused(move, "disk lun", device, "cannot be seen", "world-wide id", "--disk")
        self.assertEqual(image.read_bytes(), b"precious" * (MIB // 8))

    def test_another_guest(self):
        uuid = "6f1e6c4e-0000-4000-8000-00000000000%d"
        move = self.prepare(Guest(rate=0, src_extra=["-uuid", uuid % 1],
                                  dst_extra=["-uuid", uuid % 2]))
        self.refused(move, "waits for another guest", uuid % 1, uuid % 2)

    def test_nobody_listens(self):
        move = self.prepare(Guest(rate=0))
        self.refused(move, "hostb", "/run/nothing.sock", "--start",
                     destination="hostb:/run/nothing.sock")

    def test_unknown_and_unsuitable_disks(self):
        move = self.prepare(Guest(rate=0, cdrom="iso"))
        self.refused(move, "--disk nope: the guest has no such disk", "--disk cd: cannot be moved",
                     "a CD-ROM", "it has:", "disk0", options=["--disk", "nope", "--disk", "cd"])

    def test_all_objections_at_once(self):
        move = self.prepare(Guest(disks=[Disk(), Disk(size=40 * MIB)], rate=0))
        move.source.watch.command("drive-backup", job_id="nightly", device="disk0", speed=1,
                                  sync="full", target=f"{hosts.WORK}/backup.img", format="raw")
        move.destination.watch.command("migrate-incoming", uri="tcp:127.0.0.1:0")
        said = self.refused(move, "nightly", "-incoming defer", "--disk nope",
                            options=["--disk", "nope"])
        self.assertIn("3 objections", said)

    def test_a_migration_is_under_way(self):
        move = self.prepare(Guest(rate=0))
        src = move.source.watch
        src.command("migrate", uri="exec:sleep 1000")  # reads nothing
        self.refused(move, "source: a migration is under way", "migrate_cancel")


if __name__ == "__main__":
    unittest.main(verbosity=2)
