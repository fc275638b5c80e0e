"""The size-limited log of a guest: s6-log reading a pipe. If it dies, writers do not block."""

import errno
import fcntl
import os
import select
import stat
import sys
import time
from contextlib import suppress

from kvmrun.errors import Refused
from kvmrun.host.files import safe_directory
from kvmrun.host.process import process
from kvmrun.host.rundir import lock

_FIONREAD = 0x541B  # termios has it, and is loaded by nothing else on the way
_LAST_WORDS = 1.0
_MEMORY = 20_000 * 1024  # under this limit it dies rather than grow on endless lines


def is_stalled(directory: str) -> bool:
    """Whether the pipe of the logger is full, so that its writer blocks."""
    pid = process.holder(f"{directory}/lock", inherited=None)
    try:
        fd = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        waiting = int.from_bytes(fcntl.ioctl(fd, _FIONREAD, bytes(4)), sys.byteorder)
        return waiting + select.PIPE_BUF > fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    except OSError:
        return False
    finally:
        os.close(fd)


def end_stalled(directory: str) -> None:
    """End a logger that does not read any more: its writer continues at once, without a log."""
    if is_stalled(directory):
        with process.pidfd_of_lock_holder(f"{directory}/lock", inherited=None) as pidfd:
            if pidfd is not None:
                process.kill(pidfd)


def start_writer(directory: str, uid: int | None, reader: int) -> int:
    """Start a logger that keeps the newest 4 MB of what comes from `reader`, which is closed here; its pidfd."""
    _make_directory(directory, uid)
    _end_former(directory)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        limited = [process.require_program("prlimit"), f"--as={_MEMORY}", "--"]
        log = [process.require_program("s6-log"), "n3", "s1000000", directory]
        command = [*limited, *process.drop_privileges_command(log, uid, None)]
        pid, pidfd = process.spawn(command, stdin=reader, output=null, detached=True)
        process.disown(pid)
        return pidfd
    finally:
        os.close(null)
        os.close(reader)


def _end_former(directory: str) -> None:
    """Wait for the logger of a guest that has ended; one that finds no room for the last words is ended."""
    deadline = time.monotonic() + _LAST_WORDS
    while lock.is_held(f"{directory}/lock") and time.monotonic() < deadline:
        time.sleep(0.01)
    if lock.is_held(f"{directory}/lock"):
        with process.pidfd_of_lock_holder(f"{directory}/lock", inherited=None) as pidfd:
            if pidfd is not None:
                process.kill(pidfd)


def _make_directory(path: str, uid: int | None) -> None:
    """The logger's own directory: nobody else's to read, and its parents only to pass through."""
    parent, name = os.path.split(path)
    with safe_directory.opened(parent, make=0o711) as directory:
        if uid is not None:
            os.chmod(os.path.dirname(parent), 0o755)  # noqa: S103 - to pass through to what is its own
            os.fchmod(directory.fd, 0o711)
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=directory.fd)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            raise Refused(f"{path} is not a directory", f"check it, and move it away: {path}") from None
        try:
            if uid is not None and os.fstat(fd).st_uid != uid:
                _give(fd, uid)
        finally:
            os.close(fd)


def _give(held: int, uid: int) -> None:
    """The directory and its files to another account, after the seed was changed.

    The former account may have linked somebody else's file into it: one with a second name is not given away.
    """
    os.fchown(held, uid, uid)
    for name in os.listdir(held):
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held)
        try:
            found = os.fstat(fd)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                os.chown(f"/proc/self/fd/{fd}", uid, uid)
        finally:
            os.close(fd)
