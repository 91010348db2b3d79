#!/usr/bin/env python3
"""Records what real QEMUs answer, for the unit tests.

    record.py NAME QEMU...      e.g.  record.py 10.0 chroot /opt/trixie qemu-system-x86_64

writes, beside this file:

    schema-NAME.json   query-qmp-schema cut to the commands vmferry sends and to the types
                       of their arguments (of a union: the branches vmferry uses)
    drives-NAME.json   {"query-block": [...], "types": {qdev: QOM type}} of one guest with
                       every kind of drive the tests want, cut to what is looked at
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

COMMANDS = """qmp_capabilities query-commands query-qmp-schema query-migrate-capabilities
query-migrate-parameters query-status query-name query-uuid query-block query-block-jobs
query-block-exports query-named-block-nodes query-migrate qom-get cont stop quit
nbd-server-start nbd-server-stop nbd-server-add block-export-add block-export-del
block_resize blockdev-add blockdev-del blockdev-mirror drive-mirror block-job-set-speed
block-job-change block-job-cancel job-dismiss migrate-set-capabilities
migrate-set-parameters migrate-incoming migrate migrate_cancel migrate-continue
getfd closefd query-memory-size-summary query-cpus-fast blockdev-set-active
qom-list query-pci object-add object-del query-stats query-accelerators yank
blockdev-reopen block-job-resume""".split()
BRANCHES = {"nbd", "raw", "inet", "fd", "unix", "mirror", "block-node", "tls-creds-psk",
            "tls-creds-x509"}
KEEP_IMAGE = {"filename", "format", "virtual-size", "actual-size", "cluster-size",
              "format-specific", "backing-image"}
KEEP_INSERTED = {"node-name", "drv", "ro", "encrypted", "file", "image"}


class Monitor:
    def __init__(self, path, process):
        until = time.monotonic() + 30
        while True:
            try:
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.connect(path)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.05)
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "error" in answer:
                raise RuntimeError("%s: %s" % (command, answer["error"]["desc"]))
            if "return" in answer:
                return answer["return"]


def run(command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def start(qemu, directory, arguments):
    path = os.path.join(directory, "qmp.sock")
    process = subprocess.Popen(qemu + ["-S", "-display", "none", "-nodefaults", "-qmp",
                                       "unix:%s,server=on,wait=off" % path] + arguments)
    return process, Monitor(path, process)


def reduce_schema(schema):
    by_name = {entry["name"]: entry for entry in schema}
    kept = {}

    def walk(name):
        if name in kept or name not in by_name:
            return
        entry = kept[name] = {k: v for k, v in by_name[name].items()
                              if k not in ("ret-type", "features", "allow-oob", "values")}
        if entry["meta-type"] == "enum":
            entry["values"] = [m["name"] for m in entry.pop("members", [])] \
                or by_name[name]["values"]
        for member in entry.get("members", []):
            member.pop("features", None)
            walk(member["type"])
        if "variants" in entry:
            entry["variants"] = [v for v in entry["variants"] if v["case"] in BRANCHES]
        for variant in entry.get("variants", []):
            walk(variant["type"])
        for key in ("arg-type", "element-type"):
            if key in entry:
                walk(entry[key])

    for command in COMMANDS:
        walk(command)
    return list(kept.values())


def reduce_drive(drive):
    kept = {k: drive[k] for k in ("device", "qdev", "type", "removable") if k in drive}
    if "inserted" in drive:
        inserted = {k: v for k, v in drive["inserted"].items() if k in KEEP_INSERTED}
        image = {k: v for k, v in inserted["image"].items() if k in KEEP_IMAGE}
        if "backing-image" in image:
            image["backing-image"] = {"filename": image["backing-image"]["filename"]}
        inserted["image"] = image
        kept["inserted"] = inserted
    return kept


def drives_guest(directory):
    def path(name):
        return os.path.join(directory, name)

    for name, size in (("a.raw", "1M"), ("b.raw", "2M"), ("c.raw", "1M"), ("t.raw", "1M"),
                       ("s.raw", "1M"), ("cd.iso", "1M"), ("fd.img", "1440k"), ("n.raw", "1M")):
        run(["qemu-img", "create", "-q", "-f", "raw", path(name), size])
    for name in ("code.fd", "vars.fd"):
        run(["qemu-img", "create", "-q", "-f", "raw", path(name), "4M"])
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=1.1,cluster_size=128k",
         path("q.qcow2"), "3M"])
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", path("old.qcow2"),
         "1M"])
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "c.raw", "-F", "raw",
         path("over.qcow2")])
    return [
        "-M", "pc", "-accel", "tcg", "-device", "virtio-scsi-pci,id=scsi0",
        # pflash: firmware and its variables
        "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + path("code.fd"),
        "-drive", "if=pflash,unit=1,format=raw,file=" + path("vars.fd"),
        # -drive, with and without an id and a device of its own
        "-drive", "if=virtio,format=raw,file=" + path("a.raw"),
        "-drive", "if=none,id=dv,format=raw,file=" + path("b.raw"),
        "-device", "virtio-blk-pci,id=vd1,drive=dv",
        # -blockdev, the guest's device with an id and without
        "-blockdev", "driver=qcow2,node-name=nq,file.driver=file,file.filename="
        + path("q.qcow2"), "-device", "virtio-blk-pci,id=vd2,drive=nq",
        "-blockdev", "driver=qcow2,node-name=nold,file.driver=file,file.filename="
        + path("old.qcow2"), "-device", "scsi-hd,drive=nold",
        "-drive", "if=none,id=over,format=qcow2,file=" + path("over.qcow2"),
        "-device", "scsi-hd,id=vd3,drive=over",
        # a filter: the name becomes json:
        "-object", "throttle-group,id=tg0,x-iops-total=1000",
        "-blockdev", "driver=throttle,throttle-group=tg0,node-name=nt,file.driver=raw,"
        "file.file.driver=file,file.file.filename=" + path("t.raw"),
        "-device", "virtio-blk-pci,id=vd4,drive=nt",
        # json: by an option that a plain name cannot say
        "-drive", "if=none,id=dj,format=raw,offset=512,size=512k,file=" + path("n.raw"),
        "-device", "virtio-blk-pci,id=vd5,drive=dj",
        # snapshot=on
        "-drive", "if=none,id=snap,snapshot=on,format=raw,file=" + path("s.raw"),
        "-device", "virtio-blk-pci,id=vd6,drive=snap",
        # CD-ROMs: empty and with a medium; a floppy
        "-device", "ide-cd,id=cd0",
        "-drive", "if=none,id=cd1,media=cdrom,format=raw,file=" + path("cd.iso"),
        "-device", "ide-cd,id=cdrom1,drive=cd1",
        "-blockdev", "driver=raw,node-name=nfd,file.driver=file,file.filename=" + path("fd.img"),
        "-device", "floppy,id=fd0,drive=nfd",
        # an NBD target without a file: served by our own NBD server below
        "-drive", "if=none,id=dn,format=raw,file=nbd:unix:%s:exportname=x" % path("nbd.sock"),
        "-device", "virtio-blk-pci,id=vd7,drive=dn",
        # a drive no device uses
        "-drive", "if=none,id=idle,format=raw,file=" + path("c.raw"),
    ]


def record(name, qemu):
    here = os.path.dirname(os.path.abspath(__file__))
    directory = tempfile.mkdtemp(prefix="r", dir="/tmp")
    nbd = process = None
    try:
        run(["qemu-img", "create", "-q", "-f", "raw", os.path.join(directory, "x.raw"), "1M"])
        arguments = drives_guest(directory)
        nbd = subprocess.Popen(["qemu-nbd", "-k", os.path.join(directory, "nbd.sock"), "-x", "x",
                                "-t", "-f", "raw", os.path.join(directory, "x.raw")])
        while not os.path.exists(os.path.join(directory, "nbd.sock")):
            time.sleep(0.05)
        process, monitor = start(qemu, directory, arguments)
        schema = reduce_schema(monitor.call("query-qmp-schema"))
        drives = monitor.call("query-block")
        types = {d["qdev"]: monitor.call("qom-get", path=d["qdev"], property="type")
                 for d in drives if d.get("qdev")}
        answers = json.dumps({"query-block": [reduce_drive(d) for d in drives], "types": types},
                             indent=1).replace(directory, "/rec")
        monitor.call("quit")
        process.wait(30)
        with open(os.path.join(here, "drives-%s.json" % name), "w") as out:
            out.write(answers + "\n")
        with open(os.path.join(here, "schema-%s.json" % name), "w") as out:
            out.write("[\n" + ",\n".join(json.dumps(e, separators=(",", ":")) for e in schema)
                      + "\n]\n")
    finally:
        for p in (process, nbd):
            if p and p.poll() is None:
                p.kill()
                p.wait()
        shutil.rmtree(directory)


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2:])
