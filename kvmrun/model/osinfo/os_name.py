"""The name of an operating system in osinfo-db."""

from typing import Self

from kvmrun.model.scalars import DIGITS, LETTERS, LOWER, PathBase, consists_of

_SCHEME = "http://"
_LONGEST = 60


class OsName(str):
    """A short ID of osinfo-db, such as "debian12", or a whole one, such as "http://debian.org/debian/12"."""

    __slots__ = ()
    WANTED = 'the ID of an operating system in osinfo-db, such as "debian12"'

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and (_is_short(raw) or cls(raw).file):
            return cls(raw)
        raise ValueError(cls.WANTED)

    @property
    def file(self) -> str:
        """The file that describes it, below a directory of osinfo-db; "" for a short ID, which does not tell."""
        vendor, slash, product = self.removeprefix(_SCHEME).partition("/")
        parts = product.split("/")
        if not (self.startswith(_SCHEME) and slash and consists_of(vendor, LOWER | DIGITS | {"-", "."}, _LONGEST)):
            return ""
        if vendor[0] == "." or not all(consists_of(part, LETTERS | set("._-"), _LONGEST) for part in parts):
            return ""
        return f"os/{vendor}/{'-'.join(parts)}.xml" if parts[0][0] != "." else ""


def _is_short(raw: str) -> bool:
    return consists_of(raw, LETTERS | {"-", "."}, _LONGEST) and raw[0] in LETTERS - DIGITS


def squeezed(word: str) -> str:
    """A short ID, or the name of a file, without what tells them apart: debian-12 and debian12."""
    return word.lower().replace("-", "").replace(".", "")
