"""One file of a lab, read with suspicion: bounded, regular, not too deep, TOML."""

import os
import stat
import tomllib
from typing import Any

LIMIT = 16 << 10
_DEEPEST = 32


class Unreadable(Exception):
    """The file is not a definition; `found` and `wanted` say why."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(found, wanted)
        self.found = found
        self.wanted = wanted


def read(path: str) -> dict[str, Any]:
    """The table in the file at `path`. Raises Unreadable, never anything else; never blocks."""
    try:
        text = _bytes(path).decode()
    except OSError as why:
        raise Unreadable(os.strerror(why.errno or 0).lower(), "a file that can be read") from None
    except UnicodeDecodeError:
        raise Unreadable("bytes that are not UTF-8", "TOML text in UTF-8") from None
    if _too_deep(text):
        raise Unreadable("tables nested too deeply", f"at most {_DEEPEST} levels")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as why:  # tomllib lets int() and the stack speak for themselves
        raise Unreadable(f"{why}", "valid TOML") from None


def _bytes(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable(f"a {_kind(found.st_mode)}", "a regular file")
        if found.st_size > LIMIT:
            raise Unreadable(f"{found.st_size} bytes", f"at most {LIMIT}")
        return os.read(fd, LIMIT + 1)[:LIMIT]
    finally:
        os.close(fd)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "directory", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFBLK: "block device"}
    return kinds.get(stat.S_IFMT(mode), "character device")


def _too_deep(text: str) -> bool:
    """A cheap bound on nesting: tomllib is quadratic in dots and recurses in brackets."""
    return any(line.count(".") > 4 * _DEEPEST and "=" not in line.split(".", 1)[0] for line in text.splitlines()) or (
        _nesting(text, "[", "]") > _DEEPEST or _nesting(text, "{", "}") > _DEEPEST
    )


def _nesting(text: str, opening: str, closing: str) -> int:
    depth = deepest = 0
    if text.count(opening) <= _DEEPEST:
        return 0
    for char in text:
        depth += (char == opening) - (char == closing and depth > 0)
        deepest = max(deepest, depth)
    return deepest
