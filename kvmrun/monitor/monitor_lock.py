"""QEMU serves one client of a socket at a time: commands of kvmrun wait for each other, by a lock on a file near it."""

import fcntl
import time

_PAUSE = 0.01


def try_lock(fd: int) -> bool:
    """Whether the lock of the open file `fd` is ours now; without waiting."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_turn(fd: int, limit: float) -> bool:
    """Whether the lock is ours within `limit` seconds."""
    deadline = time.monotonic() + limit
    while not try_lock(fd):
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True
