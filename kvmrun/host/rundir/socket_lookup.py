"""Running guests whose lock file or whole run directory was removed, found by their sockets.

The kernel's table of Unix sockets keeps the path a socket was bound to, whatever became of the file: who still listens
there is the guest. A QEMU that is about to end shows no descriptors any more, and is not mistaken for one.
"""

import os
from collections.abc import Collection

from kvmrun.host.process import socket_owners

_LISTENS = b"00010000"


def bound_monitors(run: str) -> dict[str, int]:
    """The inode of the first monitor of every guest that listens on it, by the name it was bound to below `run`."""
    before, after = os.fsencode(f"{run}/vm/"), b"/q"
    with open(f"/proc/{os.getpid()}/net/unix", "rb", buffering=0) as file:
        rows = [line.split(None, 7) for line in file.read().split(b"\n") if line.endswith(after) and before in line]
    mine = [row for row in rows if len(row) == 8 and row[3] == _LISTENS and row[7].startswith(before)]
    return {row[7][len(before) : -len(after)].decode(errors="replace"): int(row[6]) for row in mine}


def is_bound_elsewhere(run: str, name: str) -> bool:
    """Whether a first monitor of a guest of that name is listened on anywhere but below `run`."""
    end, ours = os.fsencode(f"/vm/{name}/q"), os.fsencode(f"{run}/vm/")
    with open(f"/proc/{os.getpid()}/net/unix", "rb", buffering=0) as file:
        rows = [line.split(None, 7) for line in file.read().split(b"\n") if line.endswith(end)]
    return any(len(row) == 8 and row[3] == _LISTENS and not row[7].startswith(ours) for row in rows)


def find_running_guests(run: str, names: Collection[str]) -> dict[str, int]:
    """The pids of those of `names` that run, whatever became of their directories."""
    sockets = {inode: name for name, inode in bound_monitors(run).items() if name in names}
    pids = socket_owners.with_sockets(sockets) if sockets else {}
    return {name: pids[inode] for inode, name in sockets.items() if is_guest(pids.get(inode, 0), name)}


def pid_by_socket(directory: str) -> int:
    """The pid of the guest whose run directory that is, or was; 0 when none runs."""
    vms, name = os.path.split(directory)
    return find_running_guests(os.path.dirname(vms), [name]).get(name, 0)


def is_guest(pid: int, name: str) -> bool:
    """Whether that is a QEMU started as this guest: a command of ours that is starting it is not."""
    words = command_line(pid)
    return "-name" in words and f"guest={name}" in words and pid != os.getpid()


def command_line(pid: int) -> list[str]:
    """The words a process was started with; none when there is no such process, or it is ending."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(256 << 10).decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []
