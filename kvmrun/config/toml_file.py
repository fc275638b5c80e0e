"""One file of a lab, read with suspicion: bounded, regular, not too deep, TOML."""

import os
import re
import stat
import tomllib
from typing import Any

LIMIT = 16 << 10
_DEEPEST = 32
_MARK = b"\xef\xbb\xbf"
_QUOTED = (
    r'"""(?:\\.|[^\\])*?(?:"""|\Z)|"(?:\\.|[^"\\\n])*"|#[^\n]*'
    r"|'''.*?(?:'''|\Z)|'[^'\n]*'"
)
"""Strings and comments: what may hold any number of dots."""


class Unreadable(Exception):
    """The file is not a definition; `found` and `wanted` say why, or `text` in a sentence of its own."""

    def __init__(self, found: str, wanted: str, text: str = "") -> None:
        super().__init__(found, wanted)
        self.found = found
        self.wanted = wanted
        self.text = text


def read_toml(path: str) -> dict[str, Any]:
    """The table in the file at `path`. Raises Unreadable, never anything else; never blocks."""
    try:
        data = _bytes(path)
    except OSError as error:
        found = os.strerror(error.errno or 0).lower()
        raise Unreadable(found, "a file that can be read", f"the file cannot be read: {found}") from None
    return parse_toml(data)


def parse_toml(data: bytes) -> dict[str, Any]:
    """The table that the bytes of a file say. Raises Unreadable, never anything else."""
    if len(data) > LIMIT:
        raise Unreadable(f"{len(data)} bytes", f"at most {LIMIT}")
    if data.startswith(_MARK):
        raise Unreadable("a byte-order mark at its start", "UTF-8 without one")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Unreadable("bytes that are not UTF-8", "TOML text in UTF-8") from None
    table = _table(text)
    _require_bounded(table)
    return table


def _table(text: str) -> dict[str, Any]:
    """The table in a text of any sort. Raises Unreadable with why it is none."""
    if any(line.count(".") > _DEEPEST for line in re.sub(_QUOTED, "_", text, flags=re.DOTALL).splitlines()):
        raise _too_deep()  # tomllib takes a time that is quadratic in the dots of a key
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # tomllib lets int() speak for itself
        raise _unquoted(text, f"{error}") or Unreadable(f"{error}", "valid TOML", _sentence(f"{error}")) from None


def _sentence(reason: str) -> str:
    """What tomllib says, the place first."""
    found = re.fullmatch(r"(.*) \((?:at )?(line \d+, column \d+|end of document)\)", reason, re.DOTALL)
    place, text = (found[2], found[1]) if found else ("not valid TOML", reason)
    return f"{place}: {text[:1].lower()}{text[1:]}"


def _unquoted(text: str, reason: str) -> Unreadable | None:
    """What is said of a line such as memory = 16M, where nothing is missing but the quotes; None for any other."""
    place = re.search(r"at line (\d+)", reason)
    lines = text.split("\n")
    line = lines[int(place[1]) - 1] if place and int(place[1]) <= len(lines) else ""
    found = re.fullmatch(r"\s*([A-Za-z0-9_.-]+)\s*=\s*([^\s\"'\[\]{}#=][^\"'\[\]{}#=]*?)\s*(#.*)?", line)
    if place is None or found is None or not reason.startswith(("Expected newline", "Invalid value")):
        return None
    wanted = f'quotes around text: {found[1]} = "{found[2]}"'
    sentence = f'line {place[1]}: text must be in quotes: {found[1]} = "{found[2]}"'
    return Unreadable(f"{found[1]} = {found[2]} in line {place[1]}", wanted, sentence)


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


def _too_deep() -> Unreadable:
    return Unreadable("tables nested too deeply", f"at most {_DEEPEST} levels")


def _require_bounded(table: dict[str, Any]) -> None:
    """Refuse values Python can read but not write: printing deep ones exhausts its stack, long numbers its patience."""
    level: list[Any] = [table]
    for _ in range(_DEEPEST):
        if not level:
            return
        values = [value for one in level for value in (one.values() if isinstance(one, dict) else one)]
        if any(isinstance(value, int) and value.bit_length() > 64 for value in values):
            raise Unreadable("a number of more than 64 bits", "a smaller number")
        level = [value for value in values if isinstance(value, dict | list)]
    if level:
        raise _too_deep()
