"""Frozen, keyword-only values: what a frozen dataclass is, at a tenth of its price at start-up.

The standard dataclass writes and compiles the source of six methods for every class, and imports inspect to do so:
17 ms for the classes that `kvmrun --list` needs, twice what the interpreter itself takes. These are shared methods.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Never, Self, dataclass_transform

EMPTY: Mapping[Any, Any] = MappingProxyType({})
"""The default of a field that holds a mapping."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Value:
    """Subclasses annotate their fields. A default must itself be immutable. Equal and hashed by type and fields."""

    FIELDS: ClassVar[Mapping[str, Any]] = EMPTY
    DEFAULTS: ClassVar[Mapping[str, Any]] = EMPTY

    def __init_subclass__(cls) -> None:
        # The class's own, on every Python since 3.10: `type` answers this attribute and never asks a parent. From 3.14
        # on they are evaluated here, and nothing is in `__dict__` before.
        own = cls.__annotations__
        cls.FIELDS = {**cls.FIELDS, **own}
        cls.DEFAULTS = {**cls.DEFAULTS, **{name: cls.__dict__[name] for name in own if name in cls.__dict__}}

    def __init__(self, **given: Any) -> None:
        values = self.__dict__
        values.update(self.DEFAULTS)
        values.update(given)
        if values.keys() != self.FIELDS.keys():
            wrong = sorted(values.keys() ^ self.FIELDS.keys())
            raise TypeError(f"{type(self).__name__}: missing or unknown: {', '.join(wrong)}")

    def __setattr__(self, name: str, value: object) -> Never:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name}")

    def __delattr__(self, name: str) -> Never:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *(self.__dict__[name] for name in self.FIELDS)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={self.__dict__[name]!r}' for name in self.FIELDS)})"

    def replace(self, **changes: Any) -> Self:
        """The same value with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, values within made plain in the same way."""
        return {name: _plain(self.__dict__[name]) for name in self.FIELDS}


def _plain(value: Any) -> Any:
    if isinstance(value, Value):
        return value.as_dict()
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return {key: _plain(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value
