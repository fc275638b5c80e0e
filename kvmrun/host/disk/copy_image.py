"""New images with the content of others: shared blocks where the file system can, holes where there are holes."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from kvmrun.errors import KvmrunError, Refused, Unresponsive, host_fix, host_reason
from kvmrun.host.disk import unnamed_file
from kvmrun.host.files import safe_directory
from kvmrun.model.deadline import Deadline
from kvmrun.model.value import Value

_FICLONE = 0x40049409
_CHUNK = 8 << 20
_NO_RANGE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
"""What copy_file_range says where the file systems cannot do it, or not between these files."""
Moved = Callable[[int], None]


class NewImage(Value):
    """An image without a name, until `publish` gives it the one that it is for."""

    fd: int
    publish: Callable[[], None]


@contextmanager
def new_image(path: str) -> Iterator[NewImage]:
    """An empty file for the image at `path`, which must not be there; gone at the end unless it was published.

    Raises: Refused where something is there; KvmrunError where the host refuses.
    """
    with safe_directory.holding(path, make=0o755) as (directory, name), _worded(path):
        if directory.has(name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        fd = unnamed_file.open_unnamed(directory)
        if fd is None:
            with directory.part(name) as (fd, part):
                yield NewImage(fd=fd, publish=lambda: directory.publish(part, name))
            return
        try:
            yield NewImage(fd=fd, publish=lambda: unnamed_file.give_name(fd, directory, name))
        finally:
            os.close(fd)


def copy_content(source: int, target: int, moved: Moved, deadline: Deadline) -> None:
    """Make a new file hold what another one does; `moved` is called with the bytes that were looked at.

    Raises: Unresponsive once the time is over, OSError where the host refuses.
    """
    size = os.fstat(source).st_size
    with suppress(OSError):  # not on this file system, or not between two
        fcntl.ioctl(target, _FICLONE, source)
        moved(size)
        return
    os.ftruncate(target, size)
    at = 0
    while (start := _data_from(source, at, size)) < size:
        at = os.lseek(source, start, os.SEEK_HOLE)
        while start < at:
            start += _copy_range(source, target, start, min(_CHUNK, at - start))
            moved(start)
            if deadline.is_over():
                raise Unresponsive("the image was not copied in time", "--timeout SECONDS")


def _data_from(fd: int, at: int, size: int) -> int:
    """Where the next data of a file begins; its end, where only a hole follows."""
    try:
        return os.lseek(fd, at, os.SEEK_DATA) if at < size else size
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size


def _copy_range(source: int, target: int, at: int, length: int) -> int:
    try:
        if done := os.copy_file_range(source, target, length, at, at):
            return done
    except OSError as error:
        if error.errno not in _NO_RANGE:
            raise
    data = os.pread(source, length, at)
    if not data:
        raise KvmrunError("the image became shorter while it was copied", "stop whoever uses it")
    return os.pwrite(target, data, at)


@contextmanager
def _worded(path: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise Refused(f"{path} exists already", "choose another name") from None
    except OSError as error:
        raise KvmrunError(f"cannot write {path}", host_fix(error), reason=host_reason(error)) from None
