"""A directory of exported files: written whole or not at all, and never over what is somebody else's."""

import os
import stat

from kvmrun.errors import KvmrunError, Refused
from kvmrun.light.abc import Iterable, Mapping


def write(directory: str, texts: Mapping[str, str], mark: str, *, force: bool) -> None:
    """Make `directory` hold `texts` by file name, and of other files that begin with `mark` none.

    Raises Refused when there is a file without our mark, unless `force`: then those of the same names are replaced.
    """
    try:
        if not os.path.isdir(directory):
            os.makedirs(directory)
            os.chmod(directory, 0o755)  # noqa: S103 - to be read by those it is written for
        present = sorted(os.listdir(directory))
        ours = [name for name in present if _begins(f"{directory}/{name}", mark)]
        if not force:
            _refuse_foreign(directory, [name for name in present if name not in ours])
        _replace(directory, texts)
        for name in ours:
            if name not in texts:
                os.unlink(f"{directory}/{name}")
    except OSError as why:
        raise KvmrunError(f"cannot write to {directory}", why=os.strerror(why.errno or 0)) from None


def put(path: str, text: str) -> None:
    """Make the file at `path` hold `text`, for everybody to read: a reader sees the old one whole, or the new one."""
    try:
        _replace(os.path.dirname(path), {os.path.basename(path): text})
    except OSError as why:
        raise KvmrunError(f"cannot write {path}", why=os.strerror(why.errno or 0)) from None


def _refuse_foreign(directory: str, foreign: list[str]) -> None:
    if foreign:
        named = ", ".join(foreign[:4]) + (f" and {len(foreign) - 4} more" if len(foreign) > 4 else "")
        hint = "name another directory; --force replaces the files that have the names of ours"
        raise Refused(f"{directory} holds files that are not ours", hint, why=named)


def _replace(directory: str, texts: Mapping[str, str]) -> None:
    """All files beside their places first, so that a full disk leaves the old ones as they were."""
    try:
        for name, text in texts.items():
            _write(_part(directory, name), text)
        for name in texts:
            os.rename(_part(directory, name), f"{directory}/{name}")
    finally:
        _discard(_part(directory, name) for name in texts)


def _part(directory: str, name: str) -> str:
    return f"{directory}/.{name}.part"


def _write(path: str, text: str) -> None:
    _discard([path])
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(fd, 0o644)


def _discard(paths: Iterable[str]) -> None:
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue


def _begins(path: str, mark: str) -> bool:
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return False
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    with open(fd, "rb", buffering=0) as file:
        return file.read(len(mark)) == mark.encode()
