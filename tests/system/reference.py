"""A move by hand, in the safe order, over QMP only: the rig is proved with it,
and vmferry can be compared with it. Destination and RAM without encryption.

Instead of a port there can be the path of a Unix socket, which somebody else carries from one
host to the other."""

NBD_PORT = 49152
RAM_PORT = 49153


def move(source, destination, nbd_port=NBD_PORT, ram_port=RAM_PORT):
    """Moves the guest; both QEMUs live on, the destination runs it."""
    src, dst = source.watch, destination.watch
    nodes = [f"disk{number}" for number in range(len(source.guest.disks))]
    listen(destination, nodes, nbd_port, ram_port)
    mirror(source, destination, nodes, nbd_port)
    migrate_to_switchover(source, destination, ram_port)
    for node in nodes:
        end_mirror(src, node)
    dst.command("nbd-server-stop")
    src.command("migrate-continue", state="pre-switchover")
    src.wait_event("MIGRATION", status="completed")
    dst.wait_status("paused", "prelaunch")
    if not source.guest.paused:
        dst.command("cont")
        dst.wait_status("running")


def listen(destination, nodes, nbd_port=NBD_PORT, ram_port=RAM_PORT):
    dst, address = destination.watch, destination.host.ipv4
    set_capabilities(dst, "events", "late-block-activate")
    dst.command("migrate-incoming", uri=uri(address, ram_port))
    kind, where = socket_address(address, nbd_port)
    dst.command("nbd-server-start", addr={"type": kind, "data": where})
    for node in nodes:
        dst.command("block-export-add", {"type": "nbd", "id": f"export-{node}", "writable": True,
                                         "node-name": node_name(dst, node), "name": node})


def mirror(source, destination, nodes, nbd_port=NBD_PORT):
    src = source.watch
    kind, where = socket_address(destination.host.ipv4, nbd_port)
    set_capabilities(src, "events", "pause-before-switchover")
    for node in nodes:
        src.command("blockdev-add", {
            "driver": "nbd", "node-name": f"nbd-{node}", "export": node, "discard": "unmap",
            "server": {"type": kind, **where}})
        src.command("blockdev-add", {  # a mirror wants both sides of one size
            "driver": "raw", "node-name": f"target-{node}", "file": f"nbd-{node}",
            "discard": "unmap", "size": size_of(src, node)})
        src.command("blockdev-mirror", {
            "job-id": f"mirror-{node}", "device": node, "target": f"target-{node}", "sync": "full"})
    for node in nodes:
        src.wait_event("BLOCK_JOB_READY", device=f"mirror-{node}")


def migrate_to_switchover(source, destination, ram_port=RAM_PORT):
    source.watch.command("migrate", uri=uri(destination.host.ipv4, ram_port))
    source.watch.wait_event("MIGRATION", status="pre-switchover")


def end_mirror(src, node):
    src.command("block-job-cancel", device=f"mirror-{node}")
    done = src.wait_event("BLOCK_JOB_COMPLETED", device=f"mirror-{node}")
    assert "error" not in done["data"], done
    src.command("blockdev-del", node_name=f"target-{node}")
    src.command("blockdev-del", node_name=f"nbd-{node}")


def socket_address(host, port):
    """QEMU's type for it, and its members."""
    if isinstance(port, str):
        return "unix", {"path": port}
    return "inet", {"host": host, "port": str(port)}


def uri(host, port):
    return f"unix:{port}" if isinstance(port, str) else f"tcp:{host}:{port}"


def set_capabilities(qmp, *names):
    qmp.command("migrate-set-capabilities", capabilities=[
        {"capability": name, "state": True} for name in names])


def node_name(qmp, name):
    """The node of a device (-drive) or of a node name (-blockdev)."""
    return _inserted(qmp, name)["node-name"]


def size_of(qmp, name):
    return _inserted(qmp, name)["image"]["virtual-size"]


def _inserted(qmp, name):
    for block in qmp.command("query-block"):
        if name in (block["device"], block.get("inserted", {}).get("node-name")):
            return block["inserted"]
    raise KeyError(name)
