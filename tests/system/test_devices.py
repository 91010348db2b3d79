"""Two QEMUs whose devices or media differ are refused by name before anything changes; two
alike are not, however many devices they have and of whatever versions they are."""

import unittest

from guest import MIB
from rig import Disk, Guest
from test_faults import REFUSED, FaultTest

NET = ["-netdev", "user,id=net"]
SCSI = ["-device", "virtio-scsi-pci,id=hba"]

# With ids and without, on every kind of bus that the comparison knows.
RICH = [
    *NET, "-device", "virtio-net-pci,netdev=net",
    "-netdev", "user,id=net2", "-device", "e1000,netdev=net2,id=e1000",
    "-nic", "user,model=rtl8139",
    "-device", "virtio-scsi-pci", "-device", "virtio-scsi-pci,id=hba",
    "-device", "scsi-cd,bus=hba.0", "-device", "scsi-cd,bus=hba.0,id=scd,scsi-id=4,lun=2",
    "-device", "virtio-serial-pci,id=ports", "-chardev", "null,id=c0", "-chardev", "null,id=c1",
    "-device", "virtserialport,chardev=c0,name=org.a", "-device", "virtconsole,chardev=c1,id=con",
    "-device", "qemu-xhci,id=xhci", "-device", "usb-tablet,bus=xhci.0",
    "-device", "usb-kbd,bus=xhci.0,id=kbd", "-device", "usb-hub,bus=xhci.0,port=4",
    "-audiodev", "none,id=au", "-device", "intel-hda,id=hda",
    "-device", "hda-duplex,audiodev=au", "-device", "hda-micro,audiodev=au,id=mic",
    "-device", "ich9-ahci,id=ahci", "-device", "ide-cd,bus=ahci.3", "-device", "ide-cd",
    "-device", "virtio-rng-pci", "-device", "virtio-balloon-pci,id=balloon",
    "-device", "virtio-keyboard-pci", "-device", "VGA", "-device", "lsi,id=lsi",
    "-device", "pci-bridge,id=bridge,chassis_nr=1",
    "-device", "virtio-rng-pci,bus=bridge,addr=3", "-device", "i6300esb",
    "-serial", "null", "-serial", "null", "-chardev", "null,id=c2",
    "-device", "isa-serial,chardev=c2,index=3", "-device", "pvpanic", "-device", "vmcoreinfo",
    "-smp", "2,maxcpus=4", "-object", "memory-backend-ram,id=ram1,size=128M",
    "-device", "pc-dimm,memdev=ram1,id=dimm1",
]
SLOTS = "32M,slots=4,maxmem=1G"
PORTS = [
    "-device", "pcie-root-port,id=rp1,chassis=1", "-device", "virtio-rng-pci,bus=rp1",
    "-device", "pcie-root-port,chassis=2", "-device", "pxb-pcie,id=pxb,bus_nr=128,bus=pcie.0",
    "-device", "pcie-root-port,id=rp3,bus=pxb,chassis=3", "-device", "virtio-rng-pci,bus=rp3",
]


class Devices(FaultTest):
    def refused(self, move, *words, allowed_litter=()):
        done = self.vmferry(*self.arguments("migrate", move), check=False)
        self.assertEqual(done.returncode, REFUSED, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertIn("nothing was changed", done.stderr)
        move.check_stayed(allowed_litter)

    def test_a_network_card_plugged_in_since(self):
        move = self.prepare(Guest())
        move.source.watch.command("netdev_add", type="user", id="n1")
        move.source.watch.command("device_add", driver="virtio-net-pci", id="net1", netdev="n1",
                                  addr="0x10")
        self.refused(move, "hostb: its QEMU lacks the device net1 (virtio-net-pci",
                     "-device virtio-net-pci,id=net1,bus=pci.0,addr=10.0", "1 objection")

    def test_a_disk_plugged_in_since(self):
        move = self.prepare(Guest(extra=SCSI))
        move.source.watch.command("blockdev-add", {"driver": "null-co", "node-name": "more",
                                                   "size": MIB, "read-zeroes": True})
        move.source.watch.command("device_add", {"driver": "scsi-hd", "id": "sd1", "bus": "hba.0",
                                                 "drive": "more", "scsi-id": 3})
        self.refused(move, "disk more", "lacks the device sd1 (scsi-hd, bus=hba.0,channel=0,"
                     "scsi-id=3,lun=0)", allowed_litter=["node: more"])

    def test_a_device_unplugged_since(self):
        move = self.prepare(Guest(extra=["-device", "qemu-xhci", "-device", "usb-tablet,id=tab"]))
        move.source.watch.command("device_del", id="tab")
        self.refused(move, "has the device tab (usb-tablet", "which the source lacks")

    def test_an_extra_device(self):
        move = self.prepare(Guest(dst_extra=["-device", "virtio-rng-pci"]))
        self.refused(move, "has the device (virtio-rng-pci", "start it without", "1 objection")

    def test_another_address(self):
        move = self.prepare(Guest(src_extra=["-device", "virtio-rng-pci,addr=10"],
                                  dst_extra=["-device", "virtio-rng-pci,addr=11"]))
        self.refused(move, "bus=pci.0,addr=11.0) where the source has the device (virtio-rng-pci",
                     "-device virtio-rng-pci,bus=pci.0,addr=10.0", "1 objection")

    def test_another_type(self):
        move = self.prepare(Guest(src_extra=[*NET, "-device", "e1000,netdev=net,id=n"],
                                  dst_extra=[*NET, "-device", "rtl8139,netdev=net,id=n"]))
        self.refused(move, "has the device n (rtl8139", "where the source has the device n (e1000",
                     "1 objection")

    def test_a_pci_device_that_shows_itself_otherwise(self):
        rng = "virtio-rng-pci,id=rng"
        move = self.prepare(Guest(src_extra=["-device", rng],
                                  dst_extra=["-device", rng + ",disable-legacy=on"]))
        self.refused(move, "PCI 1af4:1044", "PCI 1af4:1005", "1 objection")

    def test_another_card_by_nic(self):
        move = self.prepare(Guest(src_extra=["-nic", "user,model=e1000"],
                                  dst_extra=["-nic", "user,model=virtio-net-pci"]))
        self.refused(move, "PCI 1af4:1000", "PCI 8086:100e", "1 objection")

    def test_cpus(self):
        """A CPU plugged in since is met by one of -smp, if it is the same one."""
        smp = ["-smp", "1,maxcpus=4"]
        for core, code in ((1, 0), (2, REFUSED)):
            with self.subTest(core=core):
                self.doCleanups()
                self.setUp()
                move = self.prepare(Guest(src_extra=smp, dst_extra=["-smp", "2,maxcpus=4"]))
                move.source.watch.command("device_add", {
                    "driver": move.source.watch.command("query-hotpluggable-cpus")[0]["type"],
                    "id": "cpu1", "socket-id": 0, "core-id": core, "thread-id": 0})
                done = self.vmferry(*self.arguments("check", move), check=False)
                self.assertEqual(done.returncode, code, done.stderr)
                if code:
                    self.assertIn("core-id=2", done.stderr)

    def test_media(self):
        move = self.prepare(Guest(cdrom="iso"))
        move.destination.watch.command("eject", {"id": self.cdrom(move), "force": True})
        self.refused(move, "cd.iso here, but is empty on hostb", "1 objection")

    def test_an_ejected_medium(self):
        move = self.prepare(Guest(cdrom="iso"))
        move.source.watch.command("eject", {"id": self.cdrom(move), "force": True})
        self.refused(move, "is empty here, but holds", "cd.iso on hostb", "1 objection")

    @staticmethod
    def cdrom(move):
        drives = move.source.watch.command("query-block")
        return next(drive["qdev"] for drive in drives if "cd.iso" in str(drive))


class Alike(FaultTest):
    """No objection where there is nothing to object to."""

    def accepted(self, **settings):
        move = self.prepare(Guest(**settings))
        self.vmferry(*self.arguments("check", move))
        return move

    def test_the_same_by_other_means(self):
        """Ids, backends, and whether a card is of -net, do not matter: it moves."""
        move = self.accepted(
            rate=300, sectors=127,
            src_extra=["-net", "nic,model=e1000,addr=10", *SCSI,
                       "-device", "scsi-cd,bus=hba.0,id=cd"],
            dst_extra=[*NET, "-device", "e1000,netdev=net,id=card,addr=10",
                       "-device", "virtio-scsi-pci,id=other", "-device", "scsi-cd,bus=other.0"])
        self.vmferry(*self.arguments("migrate", move))
        move.check_moved()

    def test_a_rich_pair(self):
        move = self.accepted(rate=300, sectors=127, extra=[*RICH, "-m", SLOTS], cdrom="iso",
                             floppy=True, pflash=True,
                             disks=[Disk(), Disk(bus="scsi"), Disk(bus="ide")])
        self.vmferry(*self.arguments("migrate", move))
        move.check_moved()

    def test_a_rich_pair_by_drive(self):
        self.accepted(style="drive", extra=[*RICH, "-m", SLOTS], cdrom="empty", floppy=True,
                      disks=[Disk(), Disk(bus="scsi")])

    def test_a_rich_pair_of_q35(self):
        self.accepted(machine="q35", extra=[*RICH, *PORTS, "-m", SLOTS])


if __name__ == "__main__":
    unittest.main(verbosity=2)
