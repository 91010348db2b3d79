"""QEMUs of other Debian suites than the machine's, as ../versions/setup unpacks them.

They run on the test's hosts like the machine's own, without chroot or mounts: each through
the loader and the libraries of its folder, with the firmware and the modules there.
"""

import os
import pathlib
import re
import subprocess

FOLDER = pathlib.Path(os.environ.get("VMFERRY_TEST_QEMUS", "/var/cache/vmferry-qemus"))
MACHINE = re.compile(r"^pc-i440fx-(\d+)\.(\d+)\b", re.MULTILINE)


def qemu_of(suite):
    """A suite's QEMU: program and what goes before its arguments. The machine's own if it is
    of that suite."""
    root = FOLDER / suite
    if not (root / ".whole").exists():
        if suite == _own_suite():
            return ["qemu-system-x86_64"]
        raise FileNotFoundError(f"{root}: no QEMU; tests/versions/setup unpacks it")
    libraries = root / "usr/lib/x86_64-linux-gnu"
    return ["env", f"QEMU_MODULE_DIR={libraries}/qemu",
            f"{libraries}/ld-linux-x86-64.so.2",
            "--library-path", f"{libraries}:{libraries}/pulseaudio",
            f"{root}/usr/bin/qemu-system-x86_64",
            "-L", f"{root}/usr/share/qemu", "-L", f"{root}/usr/share/seabios"]


def version_of(qemu):
    """The whole of it, as 7.2.22."""
    return re.search(r"version (\S+)", _ask(qemu, "--version")).group(1)


def newest_machine(*qemus):
    """The newest versioned machine type that all of these have."""
    each = [{tuple(map(int, found)) for found in MACHINE.findall(_ask(qemu, "-machine", "help"))}
            for qemu in qemus]
    return "pc-i440fx-%d.%d" % max(set.intersection(*each))


def _own_suite():
    return re.search(r"^VERSION_CODENAME=(\S+)", pathlib.Path("/etc/os-release").read_text(),
                     re.MULTILINE).group(1)


def _ask(qemu, *question):
    return subprocess.run([*qemu, *question], check=True, capture_output=True, text=True).stdout
