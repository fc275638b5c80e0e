"""Exclusive use of a guest's console or interactive monitor: a lock file that names its holder."""

import errno
import os
import pwd
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kvmrun.errors import Busy
from kvmrun.host.process import process
from kvmrun.host.rundir import lock

STOLEN = signal.SIGUSR1
"""The signal that is sent to a holder when the lock is taken over."""
_LIMIT = 5.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextmanager
def acquire(path: str, guest: str, *, steal: bool) -> Iterator[None]:
    """Sit where the lock at `path` is, which has the name of the command; with `steal` whoever sits there is told to
    leave. Raises Busy.

    Where there is no room for the file, nothing is locked: QEMU serves one client after the other in any case.
    """
    try:
        fd = _hold(path)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        yield
        return
    try:
        if fd < 0:
            fd = _stolen(path, guest) if steal else _refused(path, guest)
        _sign(path)
        yield
    finally:
        if fd >= 0:
            os.close(fd)


def holder_text(path: str) -> str:
    """The last holder, as it described itself in the file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return "somebody"
    try:
        return os.read(fd, 200).decode(errors="replace").strip() or "somebody"
    finally:
        os.close(fd)


def _refused(path: str, guest: str) -> int:
    what = os.path.basename(path)
    fix = f"kvmrun {what} {guest} --steal takes it over"
    raise Busy(f"the {what} of {guest} is in use", fix, reason=f"{holder_text(path)} is connected to it")


def _stolen(path: str, guest: str) -> int:
    holder = holder_text(path)
    hint = holder.rpartition("pid ")[2].rstrip(")")
    _sign(path)  # first: the holder tells its person who it was
    with process.pidfd_of_lock_holder(path, int(hint) if hint.isdecimal() else 0, inherited=False) as pidfd:
        if pidfd is not None:
            signal.pidfd_send_signal(pidfd, STOLEN)
    deadline = time.monotonic() + _LIMIT
    while time.monotonic() < deadline:
        if (fd := _hold(path)) >= 0:
            return fd
        time.sleep(0.02)
    _sign(path, holder)
    what = os.path.basename(path)
    raise Busy(
        f"the {what} of {guest} is in use", "end that process, then try again", reason=f"{holder} does not let go"
    )


def _hold(path: str) -> int:
    """A descriptor that holds the lock, -1 when somebody else does; a lock file removed meanwhile is no seat."""
    while True:
        fd = lock.open_lock(path)
        if not lock.take_lock(fd):
            os.close(fd)
            return -1
        try:
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass
        os.close(fd)


def _sign(path: str, who: str = "") -> None:
    """Write who we are: a hint for people. The file is replaced in place, for the lock is on it."""
    who = who or f"{(os.environ.get('SUDO_USER') or _account())[:64]} (pid {os.getpid()})"
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.truncate(fd, 0)
        os.write(fd, f"{who}\n".encode())
    except OSError:
        pass  # a full disk: the lock holds without the word
    finally:
        os.close(fd)


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
