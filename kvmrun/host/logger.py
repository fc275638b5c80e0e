"""The bounded log: s6-log fed by a pipe. It may die, and never stalls whoever writes to it."""

import fcntl
import os
import select
import stat
import sys
import time

from kvmrun.errors import Refused
from kvmrun.host import lock, process

_FIONREAD = 0x541B  # termios has it, and is loaded by nothing else on the way
_LAST_WORDS = 1.0
_MEMORY = 20_000 * 1024  # under this limit it dies rather than grow on endless lines


def is_stalled(directory: str) -> bool:
    """Whether the logger there has let its pipe fill up: whoever writes to it waits."""
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
    """End a logger that does not read on: whoever writes to it goes on at once, without it."""
    if is_stalled(directory):
        with process.opened(f"{directory}/lock", inherited=None) as pidfd:
            if pidfd is not None:
                process.kill(pidfd)


def start(directory: str, uid: int | None, reader: int) -> int:
    """Start a logger that keeps the newest 4 MB of what comes from `reader`, which is closed here; its pidfd."""
    _make_directory(directory, uid)
    _end_former(directory)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        limited = [process.tool("prlimit"), f"--as={_MEMORY}", "--"]
        log = [process.tool("s6-log"), "n3", "s1000000", directory]
        command = [*limited, *process.confined(log, uid, None)]
        return process.spawn(command, stdin=reader, output=null)[1]
    finally:
        os.close(null)
        os.close(reader)


def _end_former(directory: str) -> None:
    """Wait for the logger of a guest that has ended; one that finds no room for the last words is ended."""
    deadline = time.monotonic() + _LAST_WORDS
    while lock.is_held(f"{directory}/lock") and time.monotonic() < deadline:
        time.sleep(0.01)
    if lock.is_held(f"{directory}/lock"):
        with process.opened(f"{directory}/lock", inherited=None) as pidfd:
            if pidfd is not None:
                process.kill(pidfd)


def _make_directory(path: str, uid: int | None) -> None:
    """The logger's own directory: nobody else's to read, and its parents only to pass through."""
    parent = os.path.dirname(path)
    os.makedirs(parent, mode=0o711, exist_ok=True)
    if uid is not None:
        os.chmod(os.path.dirname(parent), 0o755)  # noqa: S103 - to pass through to what is its own
        os.chmod(parent, 0o711)  # noqa: S103
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise Refused(f"{path} is not a directory", f"remove {path}") from None
    if uid is not None and os.lstat(path).st_uid != uid:
        _give(path, uid)


def _give(path: str, uid: int) -> None:
    os.chown(path, uid, uid, follow_symlinks=False)
    for name in os.listdir(path):
        os.chown(f"{path}/{name}", uid, uid, follow_symlinks=False)
