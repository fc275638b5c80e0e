"""A QEMU without a machine: it works on images that are passed by descriptor, as an account of its own.

qemu-img opens images by their paths, which such an account may not.
"""

import json
import os
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from kvmrun.errors import HostLacks
from kvmrun.host.facts import guest_facts
from kvmrun.host.images.convert import confined
from kvmrun.model.guest.guest import SANDBOX


@contextmanager
def started(
    nodes: Iterable[Mapping[str, object]], fds: Iterable[int], monitor: int
) -> Iterator[subprocess.Popen[bytes]]:
    """The process, which is killed at the end if it has not ended by itself.

    `nodes` are as -blockdev takes them, with the descriptors in `fds` as /dev/fdset/NUMBER; `monitor` is a connected
    socket for QMP.

    Raises: HostLacks where there is no QEMU.
    """
    if not (program := guest_facts.qemu_facts()):
        raise HostLacks("qemu-system-x86_64 is not installed", "apt install qemu-system-x86")
    argv = [program, "-machine", "none", "-accel", "tcg", "-nodefaults", "-no-user-config", "-display", "none"]
    argv += ["-sandbox", SANDBOX, "-chardev", f"socket,id=q,fd={monitor}", "-qmp", "chardev:q"]
    for fd in fds:
        argv += ["-add-fd", f"fd={fd},set={fd}"]
    for node in nodes:
        argv += ["-blockdev", json.dumps(node)]
    with subprocess.Popen(
        confined(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(*fds, monitor),
        cwd="/",
        start_new_session=True,  # Ctrl-C is for us, who decide when it ends
    ) as child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()


def node(
    name: str, driver: str, fd: int, *, readonly: bool, backing: Mapping[str, object] | None = None
) -> dict[str, object]:
    """An image for `nodes`, with what it lies on; an overlay without is used by itself."""
    flags: dict[str, object] = {"read-only": readonly}
    if not readonly:
        flags |= {"discard": "unmap"}
    kind = "host_device" if stat.S_ISBLK(os.fstat(fd).st_mode) else "file"
    file = {"driver": kind, "filename": f"/dev/fdset/{fd}", **flags}
    found: dict[str, object] = {"driver": driver, "node-name": name, "file": file, **flags}
    return found | ({"backing": backing} if driver == "qcow2" else {})
