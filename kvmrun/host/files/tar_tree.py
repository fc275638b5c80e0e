"""Directories with what is in them, put into a tar archive and made again from one that is not trusted."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kvmrun.errors import Refused
from kvmrun.host.files import tar_members
from kvmrun.host.files.safe_directory import Directory

_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE = 1 << 20
_COPIES = 32
"""Copies of hard links may have so many times the bytes of their archive: a few bytes make a link to a large file."""


class Contents:
    """What was put into an archive or made from one: files, their bytes, and what was left out, with the reason."""

    def __init__(self) -> None:
        self.files = 0
        self.size = 0
        self.skipped: list[str] = []

    def skip(self, name: bytes | str, reason: str) -> None:
        self.skipped.append(f"{os.fsdecode(name)}: {reason}")

    def __str__(self) -> str:
        return f"{self.files} {'file' if self.files == 1 else 'files'}, {self.size} bytes"


def pack_tree(source: str, into: Any) -> Contents:
    """Write what is below the directory `source` to the binary file `into`, as names below "."; links are not followed.

    Each file is opened relative to its directory and judged by that descriptor, because the tree may be another user's.
    """
    import tarfile

    done = Contents()
    with tarfile.open(fileobj=into, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8") as tar:
        for path, directories, files, fd in os.fwalk(os.path.join(source, "."), onerror=_raised):
            below = os.path.relpath(path, source)
            tar.addfile(_info(below, os.fstat(fd), tarfile.DIRTYPE))
            for name in sorted((*files, *directories)):
                _add(tar, done, f"{below}/{name}", fd)
    return done


def _raised(error: OSError) -> None:
    raise error


def _info(name: str, found: os.stat_result, kind: bytes) -> Any:
    """The header of an entry, which belongs to root in the guest."""
    import tarfile

    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, found.st_mode & 0o777, int(found.st_mtime)
    return info


def _add(tar: Any, done: Contents, path: str, fd: int) -> None:
    """Add one entry of the directory `fd`, unless it is a directory, which the walk comes to."""
    import tarfile

    name = os.path.basename(path)
    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        info = _info(path, found, tarfile.SYMTYPE)
        info.linkname = os.readlink(name, dir_fd=fd)
        tar.addfile(info)
    elif stat.S_ISREG(found.st_mode):
        with open(os.open(name, _LOOK, dir_fd=fd), "rb") as file:
            now = os.fstat(file.fileno())
            if stat.S_ISREG(now.st_mode):  # else it was exchanged just now
                info = _info(path, now, tarfile.REGTYPE)
                info.size = now.st_size
                tar.addfile(info, file)
                done.files += 1
                done.size += info.size
    elif not stat.S_ISDIR(found.st_mode):
        done.skip(path, "neither a file nor a directory nor a link")


def unpack_tree(parent: Directory, name: str, fd: int, without: bytes = b"") -> Contents:
    """Make the archive `fd` the new directory `name`, whole or not at all. Raises Refused, or OSError.

    What is called `without` at the top is left out, with all below it.
    """
    with _fresh(parent, name) as (part, root):
        tree = _Tree(root, os.fstat(fd).st_size)
        for member in tar_members.read_members(fd):
            if member.parts[:1] != (without,):
                tree.make(member, fd)
        tree.make_links()
        _publish(parent, part, name)
        tree.set_modes()
    return tree.done


@contextmanager
def _fresh(directory: Directory, name: str) -> Iterator[tuple[str, int]]:
    """A directory that nobody else may enter, beside the place of `name`; it is gone at the end unless renamed."""
    from shutil import rmtree

    part = f".{name[:100]}.{os.urandom(6).hex()}"
    os.mkdir(part, 0o700, dir_fd=directory.fd)
    try:
        root = os.open(part, _ENTER, dir_fd=directory.fd)
        try:
            yield part, root
        finally:
            os.close(root)
    finally:
        if directory.has(part):
            rmtree(part, dir_fd=directory.fd)


def _publish(directory: Directory, part: str, name: str) -> None:
    """A rename replaces an empty directory, and that only: the name is taken by one of ours before."""
    try:
        os.mkdir(name, 0o700, dir_fd=directory.fd)
    except FileExistsError:
        raise exists(f"{directory.path}/{name}") from None
    try:
        directory.move(part, name)
    except BaseException:
        os.rmdir(name, dir_fd=directory.fd)
        raise


def exists(path: str) -> Refused:
    """The error for a directory that would have to be merged with what is there."""
    return Refused(f"{path} is there already", "name a path that is not there yet", reason="directories are not merged")


class _Tree:
    """A directory that is being filled, each entry relative to the descriptor of the directory it is in.

    All of it is for its owner alone, whose permissions are those in the guest.
    No link is there before the last file is, so that no name leads through one.
    """

    def __init__(self, root: int, size: int) -> None:
        self.done = Contents()
        self._root = root
        self._copies = _COPIES * size
        self._most = size // tar_members.BLOCK
        self._modes: dict[tuple[bytes, ...], int] = {(): 0o700}
        self._links: list[tar_members.Member] = []

    def make(self, member: tar_members.Member, fd: int) -> None:
        name = b"/".join(member.parts)
        if member.kind == "directory":
            os.close(self._entered(member.parts))
            self._modes[member.parts] = member.mode
        elif not member.parts:
            raise tar_members.refused(f"the directory itself is a {member.kind} there")
        elif member.kind == "file":
            self._file(member, fd, member.start, member.size)
        elif member.kind == "hard link":
            self._copy(member)
        elif member.kind == "link":
            self._links.append(member)
        else:
            self.done.skip(name, member.kind)

    def make_links(self) -> None:
        """Only links to what is below the top are made."""
        for member in self._links:
            if not _stays(member):
                self.done.skip(b"/".join(member.parts), f"a link to {os.fsdecode(member.target)}, outside of the copy")
                continue
            directory = self._entered(member.parts[:-1])
            try:
                os.symlink(member.target, member.parts[-1], dir_fd=directory)
            except FileExistsError:
                raise _twice(member) from None
            finally:
                os.close(directory)

    def set_modes(self) -> None:
        """Those of directories, last and the top at the very end: one that may not be written to cannot be removed."""
        for parts in sorted(self._modes, key=len, reverse=True):
            fd = self._entered(parts)
            try:
                os.fchmod(fd, self._modes[parts])
            finally:
                os.close(fd)

    def _entered(self, parts: tuple[bytes, ...]) -> int:
        """A descriptor on that directory, made where it is missing."""
        at = os.open(".", _ENTER, dir_fd=self._root)
        for depth, part in enumerate(parts, 1):
            above = at
            try:
                if parts[:depth] not in self._modes:
                    if len(self._modes) > self._most:  # tar writes a block at least for each
                        raise tar_members.refused("its names make more directories than it holds")
                    os.mkdir(part, 0o700, dir_fd=above)
                    self._modes[parts[:depth]] = 0o700
                at = os.open(part, _ENTER, dir_fd=above)
            except FileExistsError:
                raise tar_members.refused(f"{os.fsdecode(b'/'.join(parts[:depth]))} is in it twice") from None
            finally:
                os.close(above)
        return at

    def _file(self, member: tar_members.Member, source: int, start: int, size: int) -> None:
        directory = self._entered(member.parts[:-1])
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(member.parts[-1], flags, member.mode, dir_fd=directory)
        except FileExistsError:
            raise _twice(member) from None
        finally:
            os.close(directory)
        with open(fd, "wb", buffering=0) as file:
            _copied(source, start, size, file.fileno())
        self.done.files += 1
        self.done.size += size

    def _copy(self, member: tar_members.Member) -> None:
        """A hard link becomes a file of its own."""
        parts = tar_members.parts_of(member.target)
        directory = self._entered(parts[:-1])
        try:
            fd = os.open(parts[-1] if parts else b".", _LOOK, dir_fd=directory)
        except FileNotFoundError:
            raise tar_members.refused("it holds a hard link to a file that it does not hold") from None
        finally:
            os.close(directory)
        try:
            found = os.fstat(fd)
            self._copies -= found.st_size
            if not stat.S_ISREG(found.st_mode) or self._copies < 0:
                raise tar_members.refused("its hard links lead to a directory, or to too many bytes")
            self._file(member, fd, 0, found.st_size)
        finally:
            os.close(fd)


def _stays(member: tar_members.Member) -> bool:
    """Whether a link leads below the top: ".." only at its beginning, where all above it are real directories."""
    words = [word for word in member.target.split(b"/") if word not in {b"", b"."}]
    up = next((count for count, word in enumerate(words) if word != b".."), len(words))
    relative = bool(member.target) and not member.target.startswith(b"/") and b"\0" not in member.target
    return relative and up < len(member.parts) and b".." not in words[up:]


def _twice(member: tar_members.Member) -> Refused:
    return tar_members.refused(f"{os.fsdecode(b'/'.join(member.parts))} is in it twice")


def _copied(source: int, start: int, size: int, into: int) -> None:
    while size:
        data = os.pread(source, min(size, _PIECE), start)
        if not data:
            raise OSError(errno.EIO, "the file became shorter")
        start, size = start + len(data), size - len(data)
        while data:
            data = data[os.write(into, data) :]
