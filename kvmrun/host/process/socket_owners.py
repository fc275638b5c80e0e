"""Which processes have sockets open, by the inodes of the sockets."""

import os
from collections.abc import Collection


def with_sockets(inodes: Collection[int]) -> dict[int, int]:
    """The pid of one process that has it, for each of these sockets that we may see."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, int] = {}
    for pid in (entry for entry in os.listdir("/proc") if entry.isdigit()):
        try:
            for number in os.listdir(f"/proc/{pid}/fd"):
                if (link := os.readlink(f"/proc/{pid}/fd/{number}")) in wanted:
                    found[wanted[link]] = int(pid)
        except OSError:
            continue
    return found
