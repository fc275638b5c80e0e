"""The size-limited log of a guest: s6-log reading a pipe. If it dies, writers do not block."""

import fcntl
import os
import select
import sys
import time

from kvmrun.host.process import account_directory, process
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
    os.close(account_directory.made(directory, uid, passage=True))
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
