"""--clone of a guest that is not any more what its command line says: what was plugged in and
unplugged since its start, other media, other images; and what of that cannot be repeated."""

import json
import os
import unittest

import hosts
from guest import MIB
from program import accelerator, qemu_version
from rig import Disk
from test_clone import RANDOM_NODES, SOCKETS, CloneTest
from test_faults import REFUSED

HBA = ["-device", "virtio-scsi-pci,id=hba"]


def json_device(driver, **properties):
    """A -device in JSON, where QEMU knows that: since 6.2."""
    if qemu_version() >= (6, 2):
        return ["-device", json.dumps({"driver": driver} | properties, separators=(", ", " : "))]
    return ["-device", ",".join([driver, *(f"{key}={value}" for key, value in properties.items())])]


class RepairTest(CloneTest):
    def image(self, name, size=MIB, format="raw"):
        """An image on hosta, with something in it."""
        path = f"{hosts.WORK}/{name}"
        self.a.run(["qemu-img", "create", "-q", "-f", format, path, str(size)])
        self.a.run(["qemu-io", "-f", format, "-c", "write -q -P 0x5a 64k 128k", path])
        return path

    def on_both(self, path):
        """A file of hosta on hostb, too: what does not move has to be there."""
        with open(self.a.outside(path), "rb") as src, open(self.b.outside(path), "wb") as dst:
            dst.write(src.read())

    def plug_disk(self, move, path, format="raw", **device):
        watch = move.source.watch
        watch.command("blockdev-add", {"driver": format, "node-name": "more", "discard": "unmap",
                                       "file": {"driver": "file", "filename": path}})
        watch.command("device_add", {"driver": "virtio-blk-pci", "id": "hot", "drive": "more"}
                      | device)

    def same_contents(self, path, format="raw"):
        """What is on hostb holds what the source's image holds."""
        def read(host):
            raw = f"{path}.raw"
            host.run(["qemu-img", "convert", "-U", "-f", format, "-O", "raw", path, raw])
            try:
                with open(host.outside(raw), "rb") as file:
                    return file.read()
            finally:
                os.unlink(host.outside(raw))
        self.assertEqual(read(self.a), read(self.b))

    def repaired(self, move, *words, allowed=()):
        """check says so, and the move goes well."""
        said = self.check(move).stdout
        for word in words:
            self.assertRegex(said, word)
        self.moved(move)
        move.check_moved([*RANDOM_NODES, *allowed])

    def moved(self, move):
        """Whatever the test has done so far is no litter."""
        move.before = move.traces()
        self.migrate(move)
        move.attach_destination()

    def refused(self, move, *words):
        move.before = move.traces()
        done = self.migrate(move, check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertTrue(self.no_qemu())
        self.no_images(move)
        move.check_stayed()


class Plugged(RepairTest):
    def test_a_network_card(self):
        move = self.prepare_clone()
        watch = move.source.watch
        watch.command("netdev_add", type="user", id="n1")
        watch.command("device_add", driver="virtio-net-pci", id="net1", netdev="n1", addr="0x10",
                      mac="52:54:00:11:22:33")
        self.repaired(move, "device net1 .* was plugged in",
                      r"(?m)^  \* '?virtio-net-pci,id=net1,bus=pci.0,.*addr=10.0",
                      r"mac=52:54:00:11:22:33", r"(?m)^  \* '?user,id=n1")

    def test_a_network_card_on_a_network_of_the_start(self):
        move = self.prepare_clone(extra=["-netdev", "user,id=n1,hostfwd=tcp:127.0.0.1:8022-:22"])
        move.source.watch.command("device_add", driver="e1000", id="net1", netdev="n1")
        self.repaired(move, "device net1", allowed=["port: 8022"])

    def test_a_disk(self):
        path = self.image("more.img")
        move = self.prepare_clone()
        move.source.watch.command("object-add", {"qom-type": "iothread", "id": "io1"})
        self.plug_disk(move, path, serial="abc,def", addr="0x10", iothread="io1")
        self.repaired(move, "more: raw", f"to   hostb:{path} .will be created", "serial=abc,,def",
                      "qom-type=iothread,id=io1", "iothread=io1",
                      allowed=["more.img$"])
        self.same_contents(path)

    def test_a_qcow2_disk_on_a_controller_plugged_in_before(self):
        path = self.image("more.qcow2", 8 * MIB, "qcow2")
        move = self.prepare_clone()
        move.source.watch.command("device_add", {"driver": "virtio-scsi-pci", "id": "zhba"})
        self.plug_disk(move, path, "qcow2", driver="scsi-hd", bus="zhba.0", lun=3)
        self.repaired(move, "scsi-hd,id=hot,bus=zhba.0,.*lun=3", allowed=["more.qcow2$"])
        self.same_contents(path, "qcow2")

    def test_a_network_card_in_a_root_port(self):
        move = self.prepare_clone(machine="q35", extra=[
            "-device", "pcie-root-port,id=rp1,chassis=1", "-netdev", "user,id=n1"])
        move.source.watch.command("device_add", driver="virtio-net-pci", id="net1", netdev="n1",
                                  bus="rp1")
        self.repaired(move, "virtio-net-pci,id=net1,bus=rp1.*disable-legacy=on")

    def test_a_cpu(self):
        move = self.prepare_clone(extra=["-smp", "1,maxcpus=4"])
        watch = move.source.watch
        free = [cpu for cpu in watch.command("query-hotpluggable-cpus")
                if "qom-path" not in cpu][0]  # not the next one
        watch.command("device_add", {"driver": free["type"], "id": "cpu1"} | free["props"])
        self.repaired(move, r"-cpu\) was plugged in: -device")

    def test_memory(self):
        move = self.prepare_clone(extra=["-m", "32M,slots=4,maxmem=1G"])
        watch = move.source.watch
        watch.command("object-add", {"qom-type": "memory-backend-ram", "id": "ram1",
                                     "size": 128 * MIB})
        watch.command("device_add", driver="pc-dimm", id="dimm1", memdev="ram1", slot=2)
        self.repaired(move, "memory-backend-ram,id=ram1,size=134217728", "pc-dimm,id=dimm1.*slot=2")

    def test_a_device_whose_making_is_not_known(self):
        move = self.prepare_clone()
        move.source.watch.command("device_add", driver="i6300esb", id="dog")
        self.refused(move, "device dog (i6300esb): was plugged in since its start")

    def test_a_network_that_cannot_be_told(self):
        move = self.prepare_clone()
        watch = move.source.watch
        watch.command("netdev_add", type="socket", id="n1", listen="127.0.0.1:7777")
        watch.command("device_add", driver="virtio-net-pci", id="net1", netdev="n1")
        self.refused(move, "device net1 was plugged in since its start with the network n1")

    def test_a_disk_that_is_no_file(self):
        move = self.prepare_clone()
        watch = move.source.watch
        watch.command("blockdev-add", {"driver": "null-co", "node-name": "more", "size": MIB,
                                       "read-zeroes": True})
        watch.command("device_add", driver="virtio-blk-pci", id="hot", drive="more")
        self.refused(move, "with the drive more: its image is no file", "--start")


class Unplugged(RepairTest):
    def test_devices(self):
        """The places that QEMU chose for the others stay."""
        path = self.image("out.img")
        tablet = ["-device", "qemu-xhci,id=usb", "-device", "usb-tablet,id=tab,bus=usb.0"]
        move = self.prepare_clone(extra=[
            *tablet, *HBA, "-blockdev", f"file,node-name=outf,filename={path}",
            "-blockdev", "raw,node-name=out,file=outf",
            "-device", "scsi-hd,id=sd0,drive=out,bus=hba.0",
            "-device", "scsi-cd,id=sd1,bus=hba.0"])
        watch = move.source.watch
        for name in ("tab", "sd0"):
            watch.command("device_del", id=name)
            watch.wait_event("DEVICE_DELETED", device=name)
        self.repaired(move, "device tab .usb-tablet. was unplugged", "device sd0",
                      "scsi-cd,id=sd1,bus=hba.0,channel=0,scsi-id=1,lun=0")

    def test_unplugged_and_plugged_in_elsewhere(self):
        move = self.prepare_clone(extra=[*HBA, "-device", "scsi-cd,id=sd1,bus=hba.0"])
        watch = move.source.watch
        watch.command("device_del", id="sd1")
        watch.wait_event("DEVICE_DELETED", device="sd1")
        watch.command("device_add", {"driver": "scsi-cd", "id": "sd1", "bus": "hba.0",
                                     "scsi-id": 5})
        self.repaired(move, "scsi-cd,id=sd1,bus=hba.0.*scsi-id=5")

    def port(self, watch, size, port, value):
        """A write to an I/O port, as the guest's kernel would do it; "o" of the human monitor."""
        self.assertEqual(watch.command("human-monitor-command",
                                       command_line=f"o /{size} {port:#x} {value:#x}"), "")

    def test_a_cpu(self):
        """QEMU's docs/specs/acpi_cpu_hotplug: selector 0 switches to the interface that knows of
        unplugging, then the CPU is selected, and ejected."""
        model = "host" if accelerator() == "kvm" else "qemu64"
        move = self.prepare_clone(extra=[
            "-smp", "1,maxcpus=2,sockets=2,cores=1,threads=1",
            "-device", f"{model}-x86_64-cpu,id=cpu1,socket-id=1,core-id=0,thread-id=0"])
        watch = move.source.watch
        self.port(watch, "w", 0xaf00, 0)
        watch.command("device_del", id="cpu1")
        self.port(watch, "w", 0xaf00, 1)
        self.port(watch, "b", 0xaf04, 8)
        watch.wait_event("DEVICE_DELETED", device="cpu1")
        self.repaired(move, r"device cpu1 .*-cpu\) was unplugged")

    def test_memory(self):
        """QEMU's docs/specs/acpi_mem_hotplug: the slot is selected, and ejected."""
        move = self.prepare_clone(extra=[
            "-m", "32M,slots=2,maxmem=1G", "-object", "memory-backend-ram,id=ram1,size=128M",
            "-device", "pc-dimm,id=dimm1,memdev=ram1,slot=1"])
        watch = move.source.watch
        watch.command("device_del", id="dimm1")
        self.port(watch, "w", 0xa00, 1)
        self.port(watch, "b", 0xa14, 8)
        watch.wait_event("DEVICE_DELETED", device="dimm1")
        self.repaired(move, "device dimm1 .pc-dimm. was unplugged")

    def test_one_without_an_id(self):
        """Which -device it was cannot be seen: the comparison of both QEMUs refuses it."""
        move = self.prepare_clone(extra=["-device", "qemu-xhci,id=usb", "-device",
                                         "usb-tablet,bus=usb.0"])
        watch = move.source.watch
        path = next(f"/machine/peripheral-anon/{child['name']}" for child in watch.command(
            "qom-list", path="/machine/peripheral-anon") if "usb-tablet" in child["type"])
        watch.command("device_del", id=path)
        watch.wait_event("DEVICE_DELETED")
        done = self.migrate(move, check=False)
        self.assertIn("usb-tablet", done.stderr)
        self.assertIn("which the source lacks", done.stderr)
        self.assertTrue(self.no_qemu())
        self.no_images(move)
        move.check_stayed(allowed_litter=SOCKETS)


class Media(RepairTest):
    def cdrom(self, move):
        return next(drive["qdev"] for drive in move.source.watch.command("query-block")
                    if drive.get("device") == "cd" or drive["removable"])

    def change(self, move, path):
        move.source.watch.command("blockdev-change-medium", {
            "id": self.cdrom(move), "filename": path, "format": "raw"})

    def eject(self, move):
        move.source.watch.command("eject", {"id": self.cdrom(move), "force": True})

    def inserted(self, move):
        """What is in the destination's CD-ROM; to be asked before check_moved."""
        drive = next(drive for drive in move.destination.watch.command("query-block")
                     if drive["removable"])
        return drive.get("inserted", {}).get("file"), drive.get("tray_open")

    def test_another_medium(self):
        path = self.image("other.iso", 2 * MIB)
        move = self.prepare_clone(cdrom="iso")
        self.on_both(path)
        os.unlink(self.b.outside(f"{move.guest.directory}/cd.iso"))
        self.change(move, path)
        self.moved(move)
        self.assertEqual(self.inserted(move)[0], path)
        move.check_moved(RANDOM_NODES)

    def test_another_medium_that_is_not_over_there(self):
        path = self.image("other.iso", 2 * MIB)
        move = self.prepare_clone(cdrom="iso")
        self.change(move, path)
        self.refused(move, f"hostb: there is no {path}")

    def test_an_ejected_medium(self):
        move = self.prepare_clone(cdrom="iso")
        os.unlink(self.b.outside(f"{move.guest.directory}/cd.iso"))
        self.eject(move)
        tray = next(drive["tray_open"] for drive in move.source.watch.command("query-block")
                    if drive["removable"])
        self.moved(move)
        self.assertEqual(self.inserted(move), (None, tray))
        move.check_moved(RANDOM_NODES)

    def test_a_medium_in_an_empty_drive(self):
        path = self.image("other.iso", 2 * MIB)
        move = self.prepare_clone(cdrom="empty")
        self.on_both(path)
        self.change(move, path)
        self.moved(move)
        self.assertEqual(self.inserted(move)[0], path)
        move.check_moved(RANDOM_NODES)

    def test_cdrom(self):
        """-cdrom, which has no id: another one, and none."""
        for other in (True, False):
            with self.subTest(other=other):
                self.doCleanups()
                self.setUp()
                path = self.image("other.iso", 2 * MIB)
                iso = self.image("first.iso")
                move = self.prepare_clone(extra=["-cdrom", iso])
                if other:
                    self.on_both(path)
                    self.change(move, path)
                else:
                    self.eject(move)
                self.moved(move)
                self.assertEqual(self.inserted(move)[0], path if other else None)
                move.check_moved([*RANDOM_NODES, "node: medium-"])

    def test_an_ejected_medium_of_a_drive_with_words_about_it(self):
        iso = self.image("first.iso")
        move = self.prepare_clone(extra=[
            *HBA, "-drive", "if=none,id=cd,media=cdrom,readonly=on,format=raw,cache=none,"
            f"discard=unmap,file={iso},werror=report,node-name=iso",
            "-device", "scsi-cd,drive=cd,id=cd0,bus=hba.0"])
        self.eject(move)
        self.moved(move)
        self.assertEqual(self.inserted(move)[0], None)
        move.check_moved(RANDOM_NODES)

    def test_nodes(self):
        """A CD-ROM of -blockdev: another one, none, and one that was not there."""
        for kind in ("other", "none", "new"):
            with self.subTest(kind=kind):
                self.doCleanups()
                self.setUp()
                path, iso = self.image("other.iso", 2 * MIB), self.image("first.iso")
                nodes = ["-blockdev", f"file,node-name=isof,read-only=on,filename={iso}",
                         "-blockdev", '{"driver":"raw","node-name":"iso","read-only":true,'
                         '"file":"isof"}']
                device = {"driver": "scsi-cd", "bus": "hba.0", "id": "cd0"}
                move = self.prepare_clone(extra=[
                    *HBA, *([] if kind == "new" else nodes),
                    *json_device(**device, **({} if kind == "new" else {"drive": "iso"}))])
                if kind == "none":
                    self.eject(move)
                else:
                    self.on_both(path)
                    self.change(move, path)
                self.moved(move)
                self.assertEqual(self.inserted(move)[0], None if kind == "none" else path)
                move.check_moved([*RANDOM_NODES, "node: medium-"])

    def test_a_device_without_an_id(self):
        """Both media have one size, so nothing else tells them apart."""
        path, iso = self.image("other.iso"), self.image("first.iso")
        move = self.prepare_clone(extra=[
            "-blockdev", f"file,node-name=isof,read-only=on,filename={iso}",
            "-blockdev", "raw,node-name=iso,read-only=on,file=isof", "-device",
            "ide-cd,drive=iso"])
        self.on_both(iso)
        self.on_both(path)
        self.change(move, path)
        self.moved(move)
        self.assertEqual(self.inserted(move)[0], path)
        move.check_moved([*RANDOM_NODES, "node: iso"])


class Images(RepairTest):
    def snapshot(self, move, name="overlay.qcow2", **device):
        overlay = f"{hosts.WORK}/{name}"
        move.source.watch.command("blockdev-snapshot-sync", snapshot_file=overlay, **device)
        return overlay

    def lies_in(self, move, path):
        """The guest's first disk is in this file from now on."""
        image = move.guest.image
        move.guest.image = lambda number: image(number) if number else path
        move.guest.disks[0].backing = "raw"
        move.guest.backing = image

    def test_a_snapshot_of_a_node(self):
        move = self.prepare_clone()
        overlay = self.snapshot(move, node_name="disk0", snapshot_node_name="top")
        move.source.wait_for_beats()
        self.lies_in(move, overlay)
        self.repaired(move, f"disk top: its image is {overlay} .qcow2. now",
                      "with nothing under it", allowed=["overlay.qcow2$"])

    def test_two_snapshots_of_a_drive(self):
        move = self.prepare_clone(style="drive")
        for name in ("first.qcow2", "second.qcow2"):
            overlay = self.snapshot(move, name, device="disk0")
            move.source.wait_for_beats()
        self.lies_in(move, overlay)
        self.repaired(move, f"file={overlay}", allowed=["second.qcow2$"])
        self.assertFalse(os.path.exists(self.b.outside(f"{hosts.WORK}/first.qcow2")))

    def test_a_snapshot_of_json_nodes(self):
        path = self.image("json.img")
        move = self.prepare_clone(extra=[
            *HBA, "-blockdev", '{"driver":"file","filename":"%s","node-name":"jf"}' % path,
            "-blockdev", '{"node-name":"j", "driver":"raw", "file":"jf"}',
            *json_device(driver="scsi-hd", bus="hba.0", id="jd", drive="j")])
        overlay = self.snapshot(move, node_name="j", snapshot_node_name="jtop")
        self.repaired(move, "disk jtop", allowed=["overlay.qcow2$"])
        self.assertTrue(os.path.exists(self.b.outside(overlay)))

    def test_committed(self):
        """The overlay that QEMU was started with is gone into its backing image."""
        for style in ("blockdev", "drive"):
            with self.subTest(style=style):
                self.doCleanups()
                self.setUp()
                move = self.prepare_clone(style=style, disks=[Disk(
                    format="qcow2", backing="raw", dst_image=False, dst_backing="none")])
                watch, base = move.source.watch, move.guest.backing(0)
                os.path.exists(self.b.outside(base)) and os.unlink(self.b.outside(base))
                watch.command("block-commit", job_id="j", device="disk0")
                watch.wait_event("BLOCK_JOB_READY")
                watch.command("block-job-complete", device="j")
                watch.wait_event("BLOCK_JOB_COMPLETED")
                if style == "blockdev":  # as long as it is there, its backing image is no root
                    watch.command("blockdev-del", node_name="disk0")
                    watch.command("blockdev-del", node_name="disk0-file")
                self.lies_in(move, base)
                move.guest.disks[0].backing = None
                self.repaired(move, f"its image is {base} .raw. now", allowed=["base|backing", "node: disk0"])

    def test_a_resized_disk(self):
        for format in ("raw", "qcow2"):
            with self.subTest(format=format):
                self.doCleanups()
                self.setUp()
                move = self.prepare_clone(disks=[Disk(format=format, dst_image=False)])
                move.source.watch.command("block_resize", node_name="disk0", size=80 * MIB)
                move.guest.disks[0].size = 80 * MIB
                original = move.guest.original
                move.guest.original = lambda number, mib: original(number, mib) if mib < 64 else None
                self.moved(move)
                self.assertEqual(move.destination.watch.command("query-block")[0]["inserted"]
                                 ["image"]["virtual-size"], 80 * MIB)
                move.check_moved()

    def test_words_that_do_not_fit_another_format(self):
        move = self.prepare_clone(
            style="drive", disks=[Disk(dst_image=False)], extra=[
                *HBA, "-drive", f"if=none,id=q,file={self.image('q.qcow2', MIB, 'qcow2')},"
                "l2-cache-size=1M", "-device", "scsi-hd,drive=q,id=qd,bus=hba.0"])
        self.snapshot(move, device="q")
        self.refused(move, "disk q: its image is", "what its l2-cache-size would mean",
                     "--start")


class Words(RepairTest):
    def test_json(self):
        move = self.prepare_clone()
        move.source.watch.command("device_add", driver="virtio-rng-pci", id="rng")
        lines = map(json.loads, self.check(move, "--json").stdout.splitlines())
        self.assertRegex(next(line["text"] for line in lines if line["type"] == "repair"),
                         "device rng .virtio-rng-pci. was plugged in")
        self.repaired(move, "since the source's start: device rng")


if __name__ == "__main__":
    unittest.main(verbosity=2)
