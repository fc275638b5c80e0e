"""Reading what a guest's logger has kept: the console and QEMU's own words, newest last.

The logger writes whole lines to `current`, and renames that to @TIME.s when it is full; a name tells its age.
"""

import os
import time
from collections.abc import Iterator
from io import FileIO
from typing import Self

from kvmrun.host.rundir import lock

_HEX = frozenset("0123456789abcdef")
_PAUSE = 0.1
_TITLE = "--- started "
BEGINS = 3.0
"""How long a logger may take until it is at work, in seconds after its guest was started."""


def end_offset(directory: str) -> int:
    """How much the current log holds now, to tell later what is new."""
    try:
        return os.stat(f"{directory}/current").st_size
    except OSError:
        return 0


def lines_since(directory: str, start: int, most: int = 64 << 10) -> list[str]:
    """The lines that came after `position` said `start`; a log begun anew meanwhile is read whole.

    At most the last `most` bytes.
    """
    try:
        with open(f"{directory}/current", "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(start if start <= size else 0, size - most))
            data = file.read(most)
    except OSError:
        return []
    lines = data.decode(errors="replace").splitlines()
    return lines[1:] if lines and lines[0].startswith(_TITLE) else lines


def title(directory: str, how: str) -> bytes:
    """The line that parts what a guest says from what it said when it ran before; empty in a log that is empty."""
    if not exists(directory):
        return b""
    return f"{_TITLE}{time.strftime('%Y-%m-%d %H:%M:%S')} ({how})\n".encode()


def has_writer(directory: str) -> bool:
    """Whether a logger is at work there: it holds a lock of its own."""
    try:
        return lock.is_held(f"{directory}/lock")
    except OSError:
        return True  # not ours to know


def exists(directory: str) -> bool:
    return bool(_files(directory))


class Reader:
    """Reads on from file to file, whatever is renamed or removed meanwhile."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._file: FileIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def last(self, count: int) -> list[bytes]:
        """The last `count` lines there are; what comes later is read by `more`."""
        lines: list[bytes] = []
        for path in _files(self._directory):
            lines += self._remainder()
            if self._opened(path):
                lines = [*lines, *self._rest()][-count:]
        return lines if count else []

    def more(self) -> list[bytes]:
        """The whole lines that have come since."""
        lines = self._rest() if self._file else []
        while (path := self._next()) is not None:
            lines += self._remainder()
            if not self._opened(path):
                break
            lines += self._rest()
        return lines

    def _close(self) -> None:
        if self._file:
            self._file.close()

    def _rest(self) -> list[bytes]:
        """What is left in the file that is open; a line that is still being written is left for later."""
        assert self._file
        *lines, begun = self._file.read().split(b"\n")
        self._file.seek(-len(begun), os.SEEK_CUR)
        return lines

    def _remainder(self) -> list[bytes]:
        """What is left in a file that nobody writes to any more."""
        lines = self._file.read().split(b"\n") if self._file else []
        return lines[:-1] if lines and not lines[-1] else lines

    def _next(self) -> str | None:
        """The file after the one that is open, the first one when that is gone; None when there is none."""
        paths = _files(self._directory)
        here = os.fstat(self._file.fileno()) if self._file else None
        for place, path in enumerate(paths):
            if here and _same(path, here):
                return next(iter(paths[place + 1 :]), None)
        return next(iter(paths), None)

    def _opened(self, path: str) -> bool:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return False
        self._close()
        self._file = FileIO(fd)
        return True


def follow(reader: Reader) -> Iterator[list[bytes]]:
    """New lines again and again, an empty list where there are none; a pause lies between."""
    while True:
        yield reader.more()
        time.sleep(_PAUSE)


def _files(directory: str) -> list[str]:
    """The files of a log, oldest first."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    found = sorted(name for name in names if _is_archive(name))
    return [f"{directory}/{name}" for name in (*found, *(["current"] if "current" in names else []))]


def _same(path: str, here: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), here)
    except OSError:
        return False


def _is_archive(name: str) -> bool:
    """Whether it is a full log: @, the time in 24 hexadecimal digits, .s or .u."""
    return len(name) == 27 and name[0] == "@" and name[25:] in {".s", ".u"} and _HEX.issuperset(name[1:25])
