"""Open file description locks: inherited by a child, released by the kernel when the last holder ends."""

import errno
import fcntl
import os
import struct
import time

from kvmrun.errors import Busy

_FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux: type, whence, start, length, pid


def open_lock(path: str) -> int:
    """A descriptor on the lock file at `path`, made 0600 when absent. Lock files are never removed while in use."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def take_lock(fd: int, *, shared: bool = False) -> bool:
    """Try once to take (or convert) the lock on `fd`; False when somebody else holds it."""
    kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return False
        raise
    return True


def wait_for_lock(fd: int, what: str, *, limit: float, shared: bool = False) -> None:
    """Take the lock on `fd` within `limit` seconds, or raise Busy saying that `what` is held by another command."""
    deadline = time.monotonic() + limit
    while not take_lock(fd, shared=shared):
        if time.monotonic() > deadline:
            raise Busy(
                f"{what} is busy", "try again when the other command is done", reason="another kvmrun is at work on it"
            )
        time.sleep(0.01)


def is_held(path: str) -> bool:
    """Whether anybody holds the lock at `path`; asked without taking it, even for an instant.

    What is there instead of a lock file, such as a link or a directory, is held by nobody.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO}:
            return False
        raise
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        return bool(struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)
    finally:
        os.close(fd)
