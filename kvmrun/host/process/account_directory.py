"""A directory of ours that belongs to an account of its own, for nobody else to read."""

import errno
import os
import stat
from contextlib import suppress

from kvmrun.errors import Refused
from kvmrun.host.files import safe_directory


def made(path: str, uid: int | None, *, passage: bool) -> int:
    """A descriptor on the directory at `path`, made where it is missing, with all in it the account's.

    With `passage` the account can come there by its path.

    Raises Refused where something else has its name.
    """
    parent, name = os.path.split(path)
    with safe_directory.opened(parent, make=0o711 if passage else 0o700) as above:
        if uid is not None and passage:
            os.chmod(os.path.dirname(parent), 0o755)  # noqa: S103 - to pass through to what is its own
            os.fchmod(above.fd, 0o711)
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=above.fd)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above.fd)
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            raise Refused(f"{path} is not a directory", f"check it, and move it away: {path}") from None
    try:
        if uid is not None and os.fstat(fd).st_uid != uid:
            _give(fd, uid)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _give(held: int, uid: int) -> None:
    """The directory and its files to another account, after the seed was changed.

    The former account may have linked somebody else's file into it: one with a second name is not given away.
    """
    os.fchown(held, uid, uid)
    for name in os.listdir(held):
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held)
        try:
            found = os.fstat(fd)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                os.chown(f"/proc/self/fd/{fd}", uid, uid)
        finally:
            os.close(fd)
