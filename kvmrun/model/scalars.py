"""Small values: each parses itself from a definition and says what it wanted when it cannot.

Every `parse` raises ValueError whose text completes the sentence "wanted …".
"""

import os
from collections.abc import Mapping
from typing import Self

from kvmrun.model.printable import printable
from kvmrun.model.value import EMPTY, Value

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
DIGITS = frozenset("0123456789")
LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
LETTERS = LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ") | DIGITS
_HEX = DIGITS | frozenset("abcdefABCDEF")


def consists_of(text: str, letters: frozenset[str], most: int) -> bool:
    """Whether `text` is one to `most` of these letters. Said in sets: patterns would load `re`, 5 ms."""
    return 0 < len(text) <= most and letters.issuperset(text)


def is_host_label(text: str, most: int) -> bool:
    """Whether `text` is one label of a host name, in lower case."""
    return consists_of(text, LOWER | DIGITS | {"-"}, most) and text[0] != "-" != text[-1]


class PathBase(Value):
    """Where the paths of one file start: its own directory, and the images made or kept by us."""

    directory: str
    images: str
    pins: Mapping[str, str] = EMPTY
    """The files of the images that the lab pins, by name."""


class GuestName(str):
    """The name of a guest: a host name label of at most 32 characters, lower case."""

    __slots__ = ()
    WANTED = "a name of a-z, 0-9 and '-', not at either end, at most 32 characters"

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if cls.fits(raw):
            return cls(raw)
        raise ValueError(cls.WANTED)

    @staticmethod
    def fits(raw: object) -> bool:
        """Whether `raw` is such a name."""
        return isinstance(raw, str) and is_host_label(raw, 32)


class NicName(str):
    """The name of a NIC inside its guest, such as eth0."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and consists_of(raw, LOWER | DIGITS, 8) and raw[0] in LOWER:
            return cls(raw)
        raise ValueError("a name of a-z and 0-9, a letter first, at most 8 characters")


class HostName(str):
    """A name in DNS: one label, or several with dots between."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and len(raw) <= 200 and all(is_host_label(label, 63) for label in raw.split(".")):
            return cls(raw)
        raise ValueError('a name such as "linksys" or "linksys.example"')


class UplinkName(str):
    """The name of an uplink; a provider of Shorewall's may be called so."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and consists_of(raw, LOWER | DIGITS, 15) and raw[0] in LOWER:
            return cls(raw)
        raise ValueError("a name of a-z and 0-9, a letter first, at most 15 characters")


class Display(str):
    """What the guest shows itself on: nothing, VNC on a Unix socket, or VNC on a port of the loopback address."""

    __slots__ = ()
    WANTED = '"none", "vnc" or "vnc:PORT", PORT being 5900 to 65535'

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and (raw in {"none", "vnc"} or _is_vnc_port(raw)):
            return cls(raw)
        raise ValueError(cls.WANTED)

    @property
    def port(self) -> int:
        """The TCP port, 0 for none."""
        return int(self.partition(":")[2] or 0)


def _is_vnc_port(word: str) -> bool:
    """Whether it names a port. Viewers, and QEMU's own command line, count displays from 5900 on."""
    kind, _, port = word.partition(":")
    return kind == "vnc" and consists_of(port, DIGITS, 5) and 5900 <= int(port) < 1 << 16


class LinkName(str):
    """The name of a network interface of the host; the kernel takes 15 characters."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        text = raw if isinstance(raw, str) else ""
        if consists_of(text, LETTERS | frozenset("_.-"), 15) and text[0] not in ".-" and text not in {"all", "default"}:
            return cls(text)
        raise ValueError("an interface name of at most 15 letters, digits, '_', '.' or '-'")


class SafeWord(str):
    """One word that QEMU will read: no space, comma or control character."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and consists_of(raw, LETTERS | frozenset("_.+=:-"), 64):
            return cls(raw)
        raise ValueError("one word of letters, digits and _ . + = : -")


class CpuModel(str):
    """A CPU model with its flags, as QEMU's -cpu takes it: "host", "qemu64,+ssse3"."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        model, *flags = raw.split(",") if isinstance(raw, str) else ("",)
        right = all(consists_of(flag, LETTERS | frozenset("_.=+-"), 64) for flag in flags)
        if right and consists_of(model, LETTERS | frozenset("_.-"), 64):
            return cls(raw)
        raise ValueError('a CPU model, such as "host" or "qemu64,+ssse3"')


class OneLine(str):
    """Free text on one line."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and raw and raw.isprintable() and len(raw) <= 2000:
            return cls(raw)
        raise ValueError("one line of 1 to 2000 printable characters")


class Mac(str):
    """A unicast Ethernet address, lower case with colons."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and _is_hex(raw.split(":"), (2, 2, 2, 2, 2, 2)):
            if not int(raw[:2], 16) & 1 and raw != "00:00:00:00:00:00":
                return cls(raw.lower())
            raise ValueError("a unicast address: the first byte is even, and not all are zero")
        raise ValueError('six bytes such as "52:54:1b:24:cb:2b"')


class Uuid(str):
    """A UUID in its usual form, lower case."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and _is_hex(raw.split("-"), (8, 4, 4, 4, 12)):
            return cls(raw.lower())
        raise ValueError("a UUID of 8-4-4-4-12 hexadecimal digits")


class Size(int):
    """A number of bytes, written with a unit: "512M", "2G" (powers of 1024)."""

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        text = raw if isinstance(raw, str) else ""
        text = text.removesuffix("iB" if text.endswith("iB") else "B")
        if text[-1:] not in _UNITS or not consists_of(text[:-1], DIGITS, 12):
            raise ValueError('a size with its unit, such as "512M" or "2G"')
        if size := int(text[:-1]) * _UNITS[text[-1]]:
            return cls(size)
        raise ValueError("a size above zero")

    def __str__(self) -> str:
        for unit in ("T", "G", "M", "K"):
            if self and self % _UNITS[unit] == 0:
                return f"{int(self) // _UNITS[unit]}{unit}"
        return f"{int(self)}"


class FilePath(str):
    """An absolute path. Written relative to the file that names it; a bare name is one of our images."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, base: PathBase) -> Self:
        if not isinstance(raw, str) or not raw or not raw.isprintable() or len(raw) > 1000:
            raise ValueError("a path")
        if raw.startswith("~/"):
            return cls(os.path.normpath(os.path.expanduser(raw)))
        if "/" not in raw:
            return cls(os.path.join(base.images, raw))
        return cls(os.path.normpath(os.path.join(base.directory, raw)))


class BaseImage(FilePath):
    """A path, or the name of an image that the lab pins, such as debian:13."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, base: PathBase) -> Self:
        if isinstance(raw, str) and raw in base.pins:
            return cls(base.pins[raw])
        if isinstance(raw, str) and "/" not in raw and raw[:1] in LOWER and ":" in raw:
            raise ValueError(
                f"a path, or an image that images.toml pins; kvmrun image pull {printable(raw, 60)} does that"
            )
        return super().parse(raw, base)


def _is_hex(parts: list[str], sizes: tuple[int, ...]) -> bool:
    return tuple(map(len, parts)) == sizes and all(map(_HEX.issuperset, parts))
