"""Directories by descriptor: every component of a path is judged after it was opened, so that it cannot be exchanged.

A path that is checked and then used again by name can lead elsewhere the second time: whoever may write to one of its
directories renames what was looked at and puts a link in its place. Here each component is opened with O_NOFOLLOW
relative to the one before, judged by `fstat` on that descriptor, and a link is read from its own descriptor and walked
in the same way. Whatever is made, is made with O_EXCL relative to the directory that was judged.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from kvmrun.config import standard_paths
from kvmrun.errors import KvmrunError, NotPermitted, Refused, host_fix
from kvmrun.host.files import atomic_write

_LINKS = 40
"""The number of links the kernel follows in one path before it says ELOOP."""
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Untrusted(Refused):
    """Another user of this host could exchange what is at `path`."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} is not to be trusted", "name a place in a directory of your own", reason=reason)
        self.path = path


class Directory:
    """An open directory that nobody but us (and root) can exchange. Use `opened`."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.fd))

    def has(self, name: str) -> bool:
        """Whether there is anything of that name, a link to nothing included."""
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            return True
        return False

    @contextmanager
    def part(self, name: str, mode: int = 0o600) -> Iterator[tuple[int, str]]:
        """A new file beside the place of `name`, with its own name; it is gone at the end unless it was published."""
        part = f".{name[:200]}.{os.urandom(6).hex()}"
        with atomic_write.part_file(part, mode, dir_fd=self.fd) as fd:
            yield fd, part

    def publish(self, part: str, name: str) -> None:
        """Give a finished part its name, which nobody may have: FileExistsError. A rename would replace."""
        try:
            os.link(part, name, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}:
                raise
            if self.has(name):  # a file system without links, which is not one that several users share
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
            self.move(part, name)

    def move(self, old: str, new: str) -> None:
        """Rename within the directory; what is called `new`, a link included, is replaced and not followed."""
        atomic_write.move(old, new, dir_fd=self.fd)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def write_new(self, name: str, data: bytes, mode: int) -> None:
        """Make a file of that name, which must not be there: FileExistsError."""
        with self.part(name) as (fd, part):
            atomic_write.fill(fd, data, mode)
            self.publish(part, name)

    def write(self, name: str, data: bytes, mode: int, *, like: os.stat_result | None = None) -> None:
        """Make `name` hold `data`: a reader sees the old file or the new one. `like` is whose owner it keeps."""
        with self.part(name) as (fd, part):
            if like is not None:
                atomic_write.keep_owner(fd, like)
            atomic_write.fill(fd, data, mode)
            self.move(part, name)


@contextmanager
def opened(path: str, *, make: int | None = None) -> Iterator[Directory]:
    """The directory at the absolute `path`. With `make`, what is missing is made with that mode.

    Raises Untrusted where another user could exchange a part of the path, and KvmrunError where it leads nowhere.
    """
    with Directory(_named(path, make), path) as found:
        yield found


def made(path: str, mode: int = 0o755) -> None:
    """Make the directory at `path` and its parents, where they are missing."""
    with opened(path, make=mode):
        return


@contextmanager
def holding(path: str, *, make: int | None = None) -> Iterator[tuple[Directory, str]]:
    """The directory that the file at `path` is in, or is to be made in, and the file's name there.

    Raises: Refused for a path that ends in no name.
    """
    directory, name = os.path.split(path)
    if name in {"", ".", ".."}:
        raise Refused(f"{path} is not the name of a file", "name a file, not a directory")
    with opened(directory, make=make) as found:
        yield found, name


@contextmanager
def replacing(path: str) -> Iterator[tuple[Directory, str]]:
    """The same for a file that may be there: only a regular file, or a link to one, is ever replaced.

    A rename would put a regular file in the place of /dev/null, and of the link /dev/stdout.
    """
    with holding(path) as (found, name):
        _replaceable(found, name, path)
        yield found, name


def _replaceable(directory: Directory, name: str, path: str) -> None:
    with suppress(FileNotFoundError):
        here = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        if stat.S_ISLNK(here.st_mode):
            if os.readlink(name, dir_fd=directory.fd).startswith("/proc/"):
                raise Refused(f"{path} is not a file", "name a file", reason="it stands for an open descriptor")
            here = os.stat(name, dir_fd=directory.fd)
        if not stat.S_ISREG(here.st_mode):
            raise Refused(f"{path} is not a file", "name a regular file, or one that is not there yet")


def located(path: str) -> int:
    """An O_PATH descriptor on the file that `path` leads to, links followed. Raises Untrusted, or OSError."""
    return _walk(path, None, final=True)


def _named(path: str, make: int | None) -> int:
    """A descriptor on a directory for reading, with errors in words."""
    try:
        fd = _walk(path, make, final=False)
        try:
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise cannot("use", path, error) from None


def cannot(verb: str, path: str, error: OSError) -> KvmrunError:
    """The error for a place that the kernel does not let us use."""
    text = os.strerror(error.errno or 0)
    if isinstance(error, PermissionError):
        return NotPermitted(f"you may not {verb} {path}", "name a place in a directory of your own", reason=text)
    if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.EEXIST}:
        return KvmrunError(f"cannot {verb} {path}", "correct the path", reason=text)
    return KvmrunError(f"cannot {verb} {path}", host_fix(error), reason=text)


class _Walk:
    """The directories from the root to where a walk has come, all open: ".." goes back in what was really walked."""

    def __init__(self, *, judged: bool) -> None:
        self.judged = judged
        self.held = [os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
        self.names = [""]
        self.shared = False

    @property
    def at(self) -> int:
        return self.held[-1]

    def path(self, name: str = "") -> str:
        return "/".join((*self.names, name) if name else self.names) or "/"

    def enter(self, fd: int, name: str, found: os.stat_result) -> None:
        self.held.append(fd)
        self.names.append(name)
        self.shared = bool(found.st_mode & standard_paths.WRITABLE)

    def back(self, depth: int) -> None:
        """Leave directories until `depth` are held."""
        while len(self.held) > max(1, depth):
            os.close(self.held.pop())
            self.names.pop()
        self.shared = bool(os.fstat(self.at).st_mode & standard_paths.WRITABLE)

    def judge(self, found: os.stat_result, path: str, *, final: bool) -> None:
        """Raises Untrusted for what another user could exchange, or has put here."""
        if not self.judged:
            return
        if final:  # whose the file is does not matter, unless it is where everybody may put one
            if self.shared and (reason := standard_paths.planted_path(found, standard_paths.owners(os.environ))):
                raise Untrusted(path, reason)
        elif reason := standard_paths.component_fault(found, standard_paths.owners(os.environ), is_parent=True):
            raise Untrusted(path, reason)


def _walk(path: str, make: int | None, *, final: bool) -> int:
    """An O_PATH descriptor on what `path` is: a directory that is judged too, or with `final` any file."""
    walk = _Walk(judged=os.geteuid() == 0)
    left, links = [part for part in path.split("/")[::-1] if part], 0
    try:
        while left:
            part = left.pop()
            if part in {".", ".."}:
                walk.back(len(walk.held) - (part == ".."))
                continue
            fd = _component(walk, part, make)
            found = os.fstat(fd)
            if stat.S_ISLNK(found.st_mode):
                links += 1
                left += _target(walk, fd, part, found, links)
            elif final and not left:
                walk.judge(found, walk.path(part), final=True)
                return fd
            else:
                walk.enter(fd, part, found)
                if not stat.S_ISDIR(found.st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
                walk.judge(found, walk.path(), final=False)
        return os.dup(walk.at)
    finally:
        for fd in walk.held:
            os.close(fd)


def _target(walk: _Walk, fd: int, part: str, found: os.stat_result, links: int) -> list[str]:
    """The components that a link leads to, read from its own descriptor; the walk is back at the root for "/"."""
    try:
        walk.judge(found, walk.path(part), final=False)
        if links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)
    if target.startswith("/"):
        walk.back(1)
    return [one for one in target.split("/")[::-1] if one]


def _component(walk: _Walk, part: str, make: int | None) -> int:
    """An O_PATH descriptor on one component, made where it is missing. Somebody else may make it just before us."""
    try:
        return os.open(part, _LOOK, dir_fd=walk.at)
    except FileNotFoundError:
        if make is None:
            raise
    with suppress(FileExistsError):
        os.mkdir(part, 0o700, dir_fd=walk.at)
        fd = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=walk.at)
        try:
            if os.fstat(fd).st_uid == os.geteuid():  # else it was exchanged, which the judgement below says
                os.fchmod(fd, make)
        finally:
            os.close(fd)
    return os.open(part, _LOOK, dir_fd=walk.at)
