"""QEMUs of other Debian suites than the machine's, as ../versions/setup unpacks them.

They run on the test's hosts like the machine's own, without chroot or mounts: each with the
loader, the libraries, the firmware and the modules of its folder.

    python3 suites.py SUITE COMMAND...     runs the command with that QEMU in $VMFERRY_TEST_QEMU
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys

FOLDER = pathlib.Path(os.environ.get("VMFERRY_TEST_QEMUS", "/var/cache/vmferry-qemus"))
MACHINE = re.compile(r"^pc-i440fx-(\d+)\.(\d+)\b", re.MULTILINE)


def qemu_of(suite):
    """A suite's QEMU: program and what goes before its arguments. The machine's own if it is
    of that suite."""
    root = FOLDER / suite
    program = root / "usr/bin/qemu-system-x86_64.placed"
    if not program.exists():
        if suite == _own_suite():
            return ["qemu-system-x86_64"]
        raise FileNotFoundError(f"{root}: no QEMU; tests/versions/setup unpacks it")
    firmware = [word for folder in ("share/qemu", "share/seabios", "lib/ipxe/qemu")
                for word in ("-L", f"{root}/usr/{folder}") if (root / "usr" / folder).is_dir()]
    return ["env", f"QEMU_MODULE_DIR={root}/usr/lib/x86_64-linux-gnu/qemu", str(program),
            *firmware]


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


if __name__ == "__main__":
    os.environ["VMFERRY_TEST_QEMU"] = shlex.join(qemu_of(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
