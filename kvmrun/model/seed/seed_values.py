"""Small values of a seed, each of which parses itself and says what it wanted when it cannot."""

import os
from binascii import a2b_base64
from typing import Self

from kvmrun.model.scalars import DIGITS, LETTERS, LOWER, PathBase, consists_of

_KEY_TYPES = ("ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-")


class AccountName(str):
    """The name of an account in the guest."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if (
            isinstance(raw, str)
            and consists_of(raw, LOWER | DIGITS | frozenset("_-"), 32)
            and raw[0] not in DIGITS | {"-"}
        ):
            return cls(raw)
        raise ValueError("the name of an account: a-z, 0-9, '_' and '-', a letter first, at most 32 characters")


class LabFile(str):
    """The path of a file, relative to the one that names it; a leading ~/ is the home directory."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, base: PathBase) -> Self:
        if isinstance(raw, str) and raw and raw.isprintable() and len(raw) <= 1000:
            return cls(os.path.normpath(os.path.join(base.directory, os.path.expanduser(raw))))
        raise ValueError("the path of a file")


class PublicKey(str):
    """A public key of SSH, as one line of a .pub file; or the path of such a file."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, base: PathBase) -> Self:
        if isinstance(raw, str) and raw.startswith(_KEY_TYPES) and " " in raw:
            if is_public_key(raw):
                return cls(raw)
            raise ValueError("a public key as one line: its type, its base64 text, and a comment")
        try:
            return cls(LabFile.parse(raw, base))
        except ValueError:
            raise ValueError('a public key such as "ssh-ed25519 AAAA…", or the path of a .pub file') from None

    @property
    def path(self) -> str:
        """The file that holds the key, "" where this is the key itself."""
        return self if self.startswith("/") else ""


def is_public_key(line: str) -> bool:
    """Whether a line is a public key: a type, and in base64 fields of which the first is the same type (RFC 4253)."""
    words = line.split(" ", 2)
    if len(words) < 2 or not line.isprintable() or len(line) > 8000 or not words[0].startswith(_KEY_TYPES):
        return False
    try:
        blob = a2b_base64(words[1], strict_mode=True)
    except ValueError:
        return False
    return _fields(blob)[:1] == [words[0].encode()]


def _fields(blob: bytes) -> list[bytes]:
    """The fields, each with its length before it; none at all where the last one is cut short."""
    found = []
    while blob:
        end = 4 + int.from_bytes(blob[:4])
        if len(blob) < end:
            return []
        found.append(blob[4:end])
        blob = blob[end:]
    return found


class Text(str):
    """Text of one line or several, without control characters."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and all(char in "\n\t" or char >= " " for char in raw):
            return cls(raw)
        raise ValueError("text without control characters other than newlines and tabs")


class ShellCommand(Text):
    """A line or several lines for sh."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and raw.strip():
            return super().parse(raw)
        raise ValueError("a command for sh")


class PackageName(str):
    """A package as the package manager of the guest takes it, with a version where it can have one."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and consists_of(raw, LETTERS | frozenset("+-.:=~_@/"), 100) and raw[0] != "-":
            return cls(raw)
        raise ValueError('the name of a package, such as "nginx"')


class TimeZone(str):
    """The name of a time zone, as in /usr/share/zoneinfo."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and consists_of(raw, LETTERS | frozenset("_+-/"), 64) and raw[0] not in "/-":
            return cls(raw)
        raise ValueError('the name of a time zone, such as "Europe/Berlin"')


class LocaleName(str):
    """The name of a locale."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and consists_of(raw, LETTERS | frozenset("_.@-"), 64) and raw[0] in LETTERS:
            return cls(raw)
        raise ValueError('the name of a locale, such as "de_DE.UTF-8"')


class GuestPath(str):
    """The absolute path of a file in the guest."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        is_path = isinstance(raw, str) and raw.isprintable() and 1 < len(raw) <= 1000 and raw == os.path.normpath(raw)
        if is_path and raw[0] == "/" and raw[1] != "/":  # type: ignore[index]
            return cls(raw)
        raise ValueError('an absolute path in the guest, such as "/etc/motd"')


class FileMode(str):
    """The mode of a file, in octal digits."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and consists_of(raw, frozenset("01234567"), 4) and len(raw) >= 3:
            return cls(raw)
        raise ValueError('a mode in octal digits, such as "0644"')


class FileOwner(str):
    """An account and a group of the guest."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        user, _, group = raw.partition(":") if isinstance(raw, str) else ("", "", "")
        try:
            return cls(f"{AccountName.parse(user)}:{AccountName.parse(group or user)}")
        except ValueError:
            raise ValueError('an account and a group of the guest, such as "www-data:www-data"') from None

    @property
    def user(self) -> str:
        return self.partition(":")[0]

    @property
    def group(self) -> str:
        return self.partition(":")[2]
