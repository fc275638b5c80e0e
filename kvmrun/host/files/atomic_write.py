"""How a file is written: whole, under another name beside its place, which it then takes in one move.

A reader sees the old file or the new one, and a write that fails leaves the old one as it was.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
Owner = tuple[int, int]
"""The uid and gid of a file."""


@contextmanager
def part_file(part: str, mode: int = 0o600, *, dir_fd: int | None = None) -> Iterator[int]:
    """A descriptor on a new file called `part`; the file is removed at the end, unless it was moved to its place."""
    fd = os.open(part, NEW_FILE, mode, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)
        with suppress(OSError):
            os.unlink(part, dir_fd=dir_fd)


@contextmanager
def replacing(name: str, part: str, *, dir_fd: int | None = None) -> Iterator[int]:
    """A descriptor on a new file, which takes the place of `name` when the body has written it.

    It is called `part` until then, always the same: what a killed command left is replaced by the next one. For who
    holds a lock, or is alone for another reason.
    """
    remove(part, dir_fd=dir_fd)
    with part_file(part, dir_fd=dir_fd) as fd:
        yield fd
        move(part, name, dir_fd=dir_fd)


def remove(name: str, *, dir_fd: int | None = None) -> None:
    """Remove what is called `name`, an empty directory, too; nothing there is no error."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except (FileNotFoundError, NotADirectoryError):
        return
    except IsADirectoryError:
        with suppress(FileNotFoundError):
            os.rmdir(name, dir_fd=dir_fd)


def fill(fd: int, data: bytes, mode: int, owner: Owner | None = None, *, durable: bool = True) -> None:
    """Write `data` to a new file, and with `durable` to the disk, before anybody sees it under its name."""
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    if durable:
        os.fsync(fd)
    if owner is not None:
        os.fchown(fd, *owner)
    os.fchmod(fd, mode)


def keep_owner(fd: int, before: os.stat_result) -> None:
    """Give a new file the owner of the one that it will replace, as far as this user may."""
    with suppress(PermissionError):
        os.fchown(fd, before.st_uid, before.st_gid)


def move(part: str, name: str, *, dir_fd: int | None = None) -> None:
    """Give a finished file its name; what has that name, a link included, is replaced and not followed."""
    os.rename(part, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


@contextmanager
def errors_name(path: str) -> Iterator[None]:
    """Have an OSError say of which file it is: a failed write() does not."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = path
        raise
