"""Files without a name: the kernel removes them with the last descriptor, however those who hold it end."""

import errno
import os
import re
from contextlib import suppress

from kvmrun.host.disk import image_files
from kvmrun.host.files import safe_directory
from kvmrun.model.deadline import Deadline
from kvmrun.plan.steps.guest_steps import MakeImage, MakeTemporaryImage

_NOT_SUPPORTED = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}
"""What file systems say that have no O_TMPFILE: NFS, older overlayfs."""


_PREFIX = ".throwaway."
_UNNAMED = re.compile(rf"/(#\d+|{re.escape(_PREFIX)}[0-9a-f]+) \(deleted\)$")
"""What the kernel calls a file that never had a name, and one that lost ours at once."""


def make_temporary_image(step: MakeTemporaryImage, deadline: Deadline) -> int:
    """A descriptor on a new qcow2 image. Raises: what `format_image` raises; OSError where the host refuses."""
    with safe_directory.opened(step.directory, make=0o755) as directory:
        fd = open_unnamed(directory)
        fd = _open_and_unlink(directory) if fd is None else fd
    try:
        image = MakeImage(path=step.file.path, format="qcow2", size=step.size)
        image_files.format_image(fd, image, deadline)
    except BaseException:
        os.close(fd)
        raise
    return fd


def holds_temporary_image(pid: int) -> bool:
    """Whether a process has such an image open."""
    places = list[str]()
    with suppress(OSError):  # it ends, or is another user's
        for number in os.listdir(f"/proc/{pid}/fd"):
            places.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return any(_UNNAMED.search(place) for place in places)


def open_unnamed(directory: safe_directory.Directory) -> int | None:
    """A descriptor on a new file in the file system of a directory, None where that has no such files."""
    try:
        return os.open(".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=directory.fd)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
    return None


def give_name(fd: int, directory: safe_directory.Directory, name: str) -> None:
    """Give such a file a name, which nothing may have: FileExistsError."""
    os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory.fd, follow_symlinks=True)


def _open_and_unlink(directory: safe_directory.Directory) -> int:
    name = f"{_PREFIX}{os.urandom(6).hex()}"
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory.fd)
    os.unlink(name, dir_fd=directory.fd)
    return fd
