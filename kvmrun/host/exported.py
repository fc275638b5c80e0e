"""A directory of exported files: written whole or not at all, and never over what is somebody else's."""

import os
import stat

from kvmrun.errors import Refused
from kvmrun.host import directory
from kvmrun.host.directory import Directory, cannot
from kvmrun.light.abc import Mapping
from kvmrun.light.contextlib import ExitStack


def write(path: str, texts: Mapping[str, str], mark: str, *, force: bool) -> None:
    """Make the directory hold `texts` by file name, and of other files that begin with `mark` none.

    Raises Refused when there is a file without our mark, unless `force`: then those of the same names are replaced.
    """
    try:
        with directory.opened(path, make=0o755) as place:
            present = place.names()
            ours = [name for name in present if _begins(place, name, mark)]
            if not force:
                _refuse_foreign(path, [name for name in present if name not in ours])
            _replace(place, texts)
            for name in ours:
                if name not in texts:
                    place.remove(name)
    except OSError as why:
        raise cannot("write to", path, why) from None


def put(path: str, text: str) -> None:
    """Make the file at `path` hold `text`, for everybody to read: a reader sees the old one whole, or the new one."""
    try:
        with directory.replacing(path) as (place, name):
            place.write(name, text.encode(), 0o644)
    except OSError as why:
        raise cannot("write", path, why) from None


def _refuse_foreign(path: str, foreign: list[str]) -> None:
    if foreign:
        named = ", ".join(foreign[:4]) + (f" and {len(foreign) - 4} more" if len(foreign) > 4 else "")
        hint = "name another directory; --force replaces the files that have the names of ours"
        raise Refused(f"{path} holds files that are not ours", hint, why=named)


def _replace(place: Directory, texts: Mapping[str, str]) -> None:
    """All files beside their places first, so that a full disk leaves the old ones as they were."""
    with ExitStack() as parts:
        made = []
        for name, text in texts.items():
            fd, part = parts.enter_context(place.part(name))
            directory.filled(fd, text.encode(), 0o644)
            made.append((part, name))
        for part, name in made:
            place.move(part, name)


def _begins(place: Directory, name: str, mark: str) -> bool:
    try:
        if not stat.S_ISREG(os.stat(name, dir_fd=place.fd, follow_symlinks=False).st_mode):
            return False
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place.fd)
    except OSError:
        return False
    with open(fd, "rb", buffering=0) as file:
        return file.read(len(mark)) == mark.encode()
