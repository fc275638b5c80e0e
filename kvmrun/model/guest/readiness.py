"""When a guest counts as ready, and the groups it belongs to: words of a definition."""

from typing import Self

from kvmrun.model.scalars import PathBase, is_host_label


class Ready(str):
    """What a guest must show: "running", "address", "agent", "seed", "port:22" or "console:TEXT"."""

    __slots__ = ()
    WANTED = '"running", "address", "agent", "seed", "port:NUMBER" or "console:TEXT"'

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and raw.isprintable() and len(raw) <= 200 and _known(raw):
            return cls(raw)
        raise ValueError(cls.WANTED)

    @property
    def kind(self) -> str:
        return self.partition(":")[0]

    @property
    def text(self) -> str:
        """What comes after the colon, "" where there is none."""
        return self.partition(":")[2]


class GroupName(str):
    """The name of a group of guests, written without the @ that stands before it on the command line."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and is_host_label(raw, 32):
            return cls(raw)
        raise ValueError("a name of a-z, 0-9 and '-', not at either end, at most 32 characters")


def _known(word: str) -> bool:
    kind, colon, text = word.partition(":")
    if kind == "port":
        return text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16
    return bool(text) if kind == "console" else kind in {"running", "address", "agent", "seed"} and not colon
