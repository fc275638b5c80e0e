"""The identity of files and block devices, so that two names of one disk are recognised."""

import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

from kvmrun.errors import Refused
from kvmrun.host.files import small_files

Key = tuple[int, int]
"""(device, inode) of a file; (number, 0) of a block device, whichever node it was reached by."""
_DEVICES = "/sys/dev/block"
_LOOPS = "/sys/block"
_DEEPEST = 16
_FLOCK = "hhqqi4x"
_WRITER, _ANYBODY = (101, 1), (100, 200)
"""(first byte, length) of the locks by which QEMU says that it writes to an image, and that it uses it at all."""
_ENDING = 1.0
"""How long a guest that has just ended may keep its disk, in seconds: its descriptors are closed one after another."""


def identities(found: os.stat_result) -> set[Key]:
    """What is written when that file is: itself, and what a loop device shows all of."""
    if not stat.S_ISBLK(found.st_mode):
        return {(found.st_dev, found.st_ino)}
    own = (found.st_rdev, 0)
    shown = _shown(found.st_rdev)
    whole = small_files.read_text(f"{_path(found.st_rdev)}/loop/offset") == "0\n"
    return {own} | (identities(shown) if shown and whole else set())


def identities_below(found: os.stat_result, deepest: int = _DEEPEST) -> set[Key]:
    """The same and all that it lies on: a partition on its disk, a mapping on its parts, a loop device on its file."""
    keys = identities(found)
    if stat.S_ISBLK(found.st_mode) and deepest:
        for one in _parts(found.st_rdev):
            keys |= identities_below(one, deepest - 1)
    return keys


def _parts(number: int) -> Iterator[os.stat_result]:
    path = _path(number)
    if shown := _shown(number):
        yield shown
    with suppress(OSError):
        for name in os.listdir(f"{path}/slaves"):
            yield os.stat(f"/dev/{name.replace('!', '/')}")
    if os.path.exists(f"{path}/partition"):
        with suppress(OSError):
            yield os.stat(f"/dev/{os.path.basename(os.path.dirname(os.path.realpath(path))).replace('!', '/')}")


def _shown(number: int) -> os.stat_result | None:
    """The file behind a loop device."""
    name = (small_files.read_text(f"{_path(number)}/loop/backing_file") or "").rstrip("\n")
    try:
        return os.stat(name) if name else None
    except OSError:
        return None


def _path(number: int) -> str:
    return f"{_DEVICES}/{os.major(number)}:{os.minor(number)}"


def claim_exclusively(at: int, path: str, *, readonly: bool) -> int:
    """A descriptor for using the file that the O_PATH descriptor `at` is on. Raises Refused where the host uses it.

    With O_EXCL the kernel says EBUSY for a block device that is mounted, swapped on, or claimed by LVM, RAID or a
    device mapping, and for a disk of which a partition is, or the reverse. Who writes keeps the claim, so that the host
    cannot mount it meanwhile; readers only try it, because several may read.
    """
    flags = (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK
    found = os.fstat(at)
    if stat.S_ISBLK(found.st_mode):
        fd = _exclusive(at, path, flags)
        if readonly:
            os.close(fd)
            fd = os.open(f"/proc/self/fd/{at}", flags)
    else:
        if stat.S_ISREG(found.st_mode):
            _unused_by_loops(found, path)
        fd = os.open(f"/proc/self/fd/{at}", flags)
        if stat.S_ISREG(found.st_mode):
            _await_locks(fd, readonly=readonly)
    os.set_blocking(fd, True)
    return fd


def _await_locks(fd: int, *, readonly: bool) -> None:
    """Wait a moment for the locks on an image whose QEMU has just ended; whoever keeps them is told of by QEMU itself.

    Requests of io_uring that were under way keep the file open for some milliseconds after the end of their process.
    """
    deadline = time.monotonic() + _ENDING
    first, length = _WRITER if readonly else _ANYBODY
    while time.monotonic() < deadline:
        found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, first, length, 0))
        if struct.unpack(_FLOCK, found)[0] == fcntl.F_UNLCK:
            return
        time.sleep(0.005)


def _exclusive(at: int, path: str, flags: int) -> int:
    deadline = time.monotonic() + _ENDING
    while True:
        try:
            return os.open(f"/proc/self/fd/{at}", flags | os.O_EXCL)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            if time.monotonic() > deadline:
                raise _in_use(path, os.fstat(at).st_rdev) from None
        time.sleep(0.02)


def _unused_by_loops(found: os.stat_result, path: str) -> None:
    """Raises Refused for the file behind a loop device that the host uses."""
    for name in os.listdir(_LOOPS):
        if not name.startswith("loop"):
            continue
        behind = small_files.read_text(f"{_LOOPS}/{name}/loop/backing_file")
        with suppress(OSError):
            if behind and os.path.samestat(os.stat(behind.rstrip("\n")), found):
                at = os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC)
                try:
                    os.close(_exclusive(at, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
                finally:
                    os.close(at)


def _in_use(path: str, number: int) -> Refused:
    """The refusal, with the place where it is mounted if that is how it is used."""
    mounts = (line.split(" ") for line in (small_files.read_text("/proc/self/mountinfo") or "").splitlines())
    own = f"{os.major(number)}:{os.minor(number)}"
    place = next((words[4] for words in mounts if len(words) > 4 and words[2] == own), "")
    reason = (
        f"it is mounted at {place}" if place else "it is mounted, swapped on, or part of a RAID, LVM or device mapping"
    )
    return Refused(
        f"this host uses {path} itself", "name another image: only one of the two may use a disk", reason=reason
    )
