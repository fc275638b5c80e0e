"""The members of a tar archive that a guest made. Nothing in it is trusted, and no work depends on what it claims.

The standard library reads more than is wanted here: it evaluates patterns over whatever a header holds, follows sizes
below zero, and keeps every member. Before Python 3.12 it also extracts names that lead out of the directory.
"""

import os
from collections.abc import Iterator

from kvmrun.errors import Refused
from kvmrun.model.printable import printable
from kvmrun.model.value import Value

BLOCK = 512
_MOST_HEADER = 64 << 10
"""The bytes that a long name or an extended header may have."""
_LONGEST = 4096
_DEEPEST = 200
_KINDS = {
    **dict.fromkeys((b"0", b"\0", b"7"), "file"),
    b"1": "hard link",
    b"2": "link",
    b"3": "device",
    b"4": "device",
    b"5": "directory",
    b"6": "FIFO",
}


class Member(Value):
    """One entry: the components of its name (none for the top), the link's target, and where its bytes are."""

    kind: str
    parts: tuple[bytes, ...]
    target: bytes
    mode: int
    start: int
    size: int


def refused(reason: str) -> Refused:
    return Refused("the archive that the guest's tar made is refused", reason=reason)


def parts_of(name: bytes) -> tuple[bytes, ...]:
    """The components of a name that stays below the directory it is used in. Raises Refused for any other."""
    parts = tuple(part for part in name.split(b"/") if part not in {b"", b"."})
    shown = printable(os.fsdecode(name), 80)
    if name.startswith(b"/") or b".." in parts or b"\0" in name:
        raise refused(f"{shown} leads out of the directory")
    if not name or len(name) > _LONGEST or len(parts) > _DEEPEST or any(len(part) > 255 for part in parts):
        raise refused(f"the name {shown} is too long")
    return parts


def read_members(fd: int) -> Iterator[Member]:
    """The entries in their order, the bytes of each wholly within the file. Raises Refused."""
    end, at = os.fstat(fd).st_size, 0
    extended: dict[bytes, bytes] = {}
    while any(head := _read(fd, at, BLOCK)):
        _checked(head)
        kind, size = head[156:157], _number(head[124:136])
        if kind not in b"LKxg" and b"size" in extended:
            size = _decimal(extended[b"size"])
        start = at + BLOCK
        if size > end - start:
            raise refused("it ends within a file")
        at = start + -(-size // BLOCK) * BLOCK
        if kind in b"LKx":
            if size > _MOST_HEADER:
                raise refused("a header is too large")
            extended |= _extension(kind, _read(fd, start, size))
        elif kind != b"g":
            yield _member(head, extended, start, size)
            extended = {}


def _member(head: bytes, extended: dict[bytes, bytes], start: int, size: int) -> Member:
    kind = head[156:157]
    if kind == b"S" or any(key.startswith(b"GNU.sparse") for key in extended):
        raise refused("it holds sparse files in a form of their own")
    name = extended.get(b"path", _name(head))
    what = _KINDS.get(kind, "entry of an unknown kind")
    if what == "file" and name.endswith(b"/"):  # a directory, as it was written before POSIX
        what = "directory"
    return Member(
        kind=what,
        parts=parts_of(name),
        target=extended.get(b"linkpath", _text(head[157:257])),
        mode=_number(head[100:108]) & 0o700,
        start=start,
        size=size,
    )


def _extension(kind: bytes, data: bytes) -> dict[bytes, bytes]:
    if kind != b"x":
        return {b"path" if kind == b"L" else b"linkpath": _text(data)}
    found, at = {}, 0
    while at < len(data):
        blank = data.find(b" ", at, at + 8)
        length = _decimal(data[at:blank]) if blank > at else 0
        record = data[blank + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if at + length > len(data) or not equals or not value.endswith(b"\n"):
            raise refused("an extended header is damaged")
        found[key] = value[:-1]
        at += length
    return found


def _checked(head: bytes) -> None:
    if _number(head[148:156]) != sum(head[:148]) + sum(head[156:]) + 8 * ord(" "):
        raise refused("a header is damaged")


def _name(head: bytes) -> bytes:
    """In the format of POSIX the first part of a long name has a field of its own; GNU's format has times there."""
    name, prefix = _text(head[:100]), _text(head[345:500])
    return prefix + b"/" + name if prefix and head[257:263] == b"ustar\0" else name


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Octal digits; or, where the first bit is set, a number in the other bytes, which is not below zero."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = _text(field).strip(b" ")
    if digits.strip(b"01234567"):
        raise refused("a header is damaged")
    return int(digits or b"0", 8)


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 19:
        raise refused("an extended header is damaged")
    return int(digits)


def _read(fd: int, at: int, size: int) -> bytes:
    data = os.pread(fd, size, at)
    if len(data) < size:
        raise refused("it ends early")
    return data
