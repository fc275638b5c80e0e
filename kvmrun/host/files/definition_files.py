"""Files of a lab, written whole or not at all, with the mode and owner a lab's files have."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from kvmrun.errors import AS_ROOT, KvmrunError, NotPermitted, Refused
from kvmrun.host.execute.undo import UndoneBy
from kvmrun.host.files import atomic_write, safe_directory


def create(path: str, data: bytes) -> None:
    """Make the file; its directory as well, for everybody to read. Raises Refused when there is one."""
    with _words(path), safe_directory.holding(path, make=0o755) as (parent, name), parent.part(name) as (fd, part):
        there = os.fstat(parent.fd)
        atomic_write.keep_owner(fd, there)
        atomic_write.fill(fd, data, there.st_mode & 0o644)
        parent.publish(part, name)


def replace(path: str, data: bytes) -> None:
    """Put other content into the file, which keeps its mode and owner; through a link, where it is one."""
    with _words(path), safe_directory.holding(os.path.realpath(path)) as (parent, name):
        there = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
        parent.write(name, data, there.st_mode & 0o7777, like=there)


def replace_for_now(path: str, data: bytes, undone_by: UndoneBy) -> None:
    """The same where something that follows may fail: `undone_by` gets what puts the content of before back."""
    before = read(path)
    if data != before:
        replace(path, data)
        undone_by(partial(replace, path, before))


def rename(old: str, new: str) -> None:
    """Give the file another name. Raises Refused when that is taken; the caller holds both guests."""
    with _words(new), safe_directory.holding(new) as (parent, name):
        if parent.has(name):
            raise FileExistsError
        os.rename(old, name, dst_dir_fd=parent.fd)


def remove(path: str) -> None:
    """Remove the file, if it is there."""
    with _words(path), safe_directory.holding(path) as (parent, name):
        parent.remove(name)


def remove_tree(path: str) -> None:
    """Remove the directory with what is in it."""
    with _words(path):
        shutil.rmtree(path)


def read(path: str) -> bytes:
    """What the file holds, b"" when there is none. Raises KvmrunError."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise KvmrunError(f"cannot read {path}", reason=os.strerror(error.errno or 0)) from None


@contextmanager
def _words(path: str) -> Iterator[None]:
    """What the kernel says of writing a definition, in words."""
    try:
        yield
    except FileExistsError:
        raise Refused(f"{path} exists already", "choose another name") from None
    except PermissionError:
        raise NotPermitted(f"you may not write {path}", f"{AS_ROOT}; or use a lab of your own: -C DIR") from None
    except OSError as error:
        raise KvmrunError(
            f"cannot write {path}", "free some room there", reason=os.strerror(error.errno or 0)
        ) from None
