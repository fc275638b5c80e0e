"""What files and block devices are made of, so that two names of one disk are known for what they are."""

import os
import stat

from kvmrun.host import small
from kvmrun.light.abc import Iterator
from kvmrun.light.contextlib import suppress

Key = tuple[int, int]
"""(device, inode) of a file; (number, 0) of a block device, whichever node it was reached by."""
_DEVICES = "/sys/dev/block"
_DEEPEST = 16


def same(found: os.stat_result) -> set[Key]:
    """What is written when that file is: itself, and what a loop device shows all of."""
    if not stat.S_ISBLK(found.st_mode):
        return {(found.st_dev, found.st_ino)}
    own = (found.st_rdev, 0)
    shown = _shown(found.st_rdev)
    whole = small.text(f"{_path(found.st_rdev)}/loop/offset") == "0\n"
    return {own} | (same(shown) if shown and whole else set())


def below(found: os.stat_result, deepest: int = _DEEPEST) -> set[Key]:
    """The same and all that it lies on: a partition on its disk, a mapping on its parts, a loop device on its file."""
    keys = same(found)
    if stat.S_ISBLK(found.st_mode) and deepest:
        for one in _parts(found.st_rdev):
            keys |= below(one, deepest - 1)
    return keys


def _parts(number: int) -> Iterator[os.stat_result]:
    path = _path(number)
    if shown := _shown(number):
        yield shown
    with suppress(OSError):
        for name in os.listdir(f"{path}/slaves"):
            yield os.stat(f"/dev/{name.replace('!', '/')}")
    if os.path.exists(f"{path}/partition"):
        with suppress(OSError):
            yield os.stat(f"/dev/{os.path.basename(os.path.dirname(os.path.realpath(path))).replace('!', '/')}")


def _shown(number: int) -> os.stat_result | None:
    """The file behind a loop device."""
    name = (small.text(f"{_path(number)}/loop/backing_file") or "").rstrip("\n")
    try:
        return os.stat(name) if name else None
    except OSError:
        return None


def _path(number: int) -> str:
    return f"{_DEVICES}/{os.major(number)}:{os.minor(number)}"
