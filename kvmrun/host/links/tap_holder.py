"""What only the descriptor of a tap can change: owner, group and persistence, by the descriptor of whoever has it."""

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from kvmrun.errors import KvmrunError
from kvmrun.host.links import tap_device

_TUNSETPERSIST, _TUNSETOWNER, _TUNSETGROUP = 0x400454CB, 0x400454CC, 0x400454CE
_PIDFD_GETFD = 438


def restore_from_holder(tap: str, owner: int | None) -> None:
    """Restore the owner of the tap: `owner`, for whom it is persistent, or root as long as it is held."""
    with _descriptor(tap) as fd:
        fcntl.ioctl(fd, _TUNSETOWNER, os.geteuid() if owner is None else owner)
        if owner is None:
            fcntl.ioctl(fd, _TUNSETGROUP, os.getegid())
        fcntl.ioctl(fd, _TUNSETPERSIST, owner is not None)


@contextmanager
def _descriptor(tap: str) -> Iterator[int]:
    """A descriptor on the tap: a copy of its holder's, since one with a single queue is nobody else's to open."""
    for pid in filter(_is_near, filter(str.isdigit, os.listdir("/proc"))):
        for number, name in tap_device.held_taps(int(pid)).items():
            if name == tap and (fd := _copy(int(pid), int(number))) >= 0:
                try:
                    yield fd
                finally:
                    os.close(fd)
                return
    if (kept := tap_device.persistent_tap(tap)) is None:
        raise KvmrunError(f"nobody holds {tap}", "try again", reason="it is about to vanish")
    fds = tap_device.open_tap(tap, kept.queues, kept=True)
    try:
        yield fds[0]
    finally:
        for fd in fds:
            os.close(fd)


def _is_near(pid: str) -> bool:
    """Whether a process is in our network namespace: there may be a tap of that name in another."""
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), os.stat("/proc/self/ns/net"))
    except OSError:
        return False


def _copy(pid: int, number: int) -> int:
    """A copy of another process's descriptor, -1 where it cannot be had."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return -1
    try:
        return int(ctypes.CDLL(None).syscall(_PIDFD_GETFD, pidfd, number, 0))
    finally:
        os.close(pidfd)
