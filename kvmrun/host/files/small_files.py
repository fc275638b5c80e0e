"""Small files of ours in the run directory: read without waiting, replaced in one move, removed whatever they are.

Somebody may have put a pipe, a link or a directory in the place of one: that costs what it said, and nothing else.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from kvmrun.host.files import atomic_write


def read_bounded(path: str, limit: int = 64 << 10) -> bytes | None:
    """What the regular file at `path` says, at most `limit` bytes; None when there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(fd, limit) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(fd)


def read_text(path: str, limit: int = 1 << 20) -> str | None:
    """What is written at `path`, which may be a link to it; None when it cannot be read, "" for a pipe."""
    try:
        with open(path, encoding="utf-8", errors="replace", opener=_at_once) as file:
            return file.read(limit)
    except OSError:
        return None


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def replace_atomically(path: str, data: bytes) -> None:
    """Put `data` at `path` in one move, for us alone to read: a reader sees the old file or the new one."""
    with replacing(path) as fd:
        atomic_write.fill(fd, data, 0o600, durable=False)
        if os.path.isdir(path):
            atomic_write.remove(path)


@contextmanager
def replacing(path: str) -> Iterator[int]:
    """A descriptor on a new file, which takes the place of `path` when the body has written it."""
    with atomic_write.errors_name(path), atomic_write.replacing(path, f"{path}.new") as fd:
        yield fd
