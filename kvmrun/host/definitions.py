"""Files of a lab, written whole or not at all, with the mode and owner a lab's files have."""

import os

from kvmrun.errors import KvmrunError, NotPermitted, Refused
from kvmrun.light.contextlib import suppress


def create(path: str, data: bytes) -> None:
    """Make the file; its directory as well. Raises Refused when there is one."""
    try:
        directory = os.path.dirname(path)
        _make(directory)
        there = os.stat(directory)
        part = _part(path, data, there.st_mode & 0o644, there)
        try:
            os.link(part, path)  # unlike a rename it never replaces
        finally:
            os.unlink(part)
    except FileExistsError:
        raise Refused(f"{path} exists already", "choose another name") from None
    except OSError as why:
        raise _cannot(path, why) from None


def replace(path: str, data: bytes) -> None:
    """Put other content into the file, which keeps its mode and owner; through a link, where it is one."""
    try:
        path = os.path.realpath(path)
        there = os.stat(path)
        part = _part(path, data, there.st_mode & 0o7777, there)
        try:
            os.rename(part, path)
        except BaseException:
            os.unlink(part)
            raise
    except OSError as why:
        raise _cannot(path, why) from None


def rename(old: str, new: str) -> None:
    """Give the file another name. Raises Refused when that is taken; the caller holds both guests."""
    if os.path.lexists(new):
        raise Refused(f"{new} exists already", "choose another name")
    try:
        os.rename(old, new)
    except OSError as why:
        raise _cannot(new, why) from None


def remove(path: str) -> None:
    """Remove the file, if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as why:
        raise _cannot(path, why) from None


def read(path: str) -> bytes:
    """What the file holds, b"" when there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as why:
        raise KvmrunError(f"cannot read {path}", why=os.strerror(why.errno or 0)) from None


def _make(directory: str) -> None:
    """The directory and its parents, for everybody to read: a lab is no secret, and nobody else may write to it."""
    if not os.path.isdir(directory):
        _make(os.path.dirname(directory))
        os.mkdir(directory)
        os.chmod(directory, 0o755)  # noqa: S103


def _part(path: str, data: bytes, mode: int, like: os.stat_result) -> str:
    """A file beside `path` with the data, on the disk before anybody sees it under its name."""
    part = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{os.getpid()}"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
            with suppress(PermissionError):
                os.fchown(fd, like.st_uid, like.st_gid)
            os.fchmod(fd, mode)
    except BaseException:
        os.unlink(part)
        raise
    return part


def _cannot(path: str, why: OSError) -> KvmrunError:
    if isinstance(why, PermissionError):
        return NotPermitted(f"you may not write {path}", "sudo, or a lab of yours: -C DIR")
    return KvmrunError(f"cannot write {path}", "free some room there", why=os.strerror(why.errno or 0))
