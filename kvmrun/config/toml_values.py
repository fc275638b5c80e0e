"""A TOML table to a frozen value, driven by its class: the fields are the keys, their types the checks."""

import ipaddress
from collections.abc import Callable, Mapping
from types import GenericAlias, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from kvmrun.model.lab import Problem
from kvmrun.model.printable import printable
from kvmrun.model.scalars import PathBase
from kvmrun.model.suggest import closest
from kvmrun.model.value import Value

_PLAIN: dict[type, tuple[type, str]] = {
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    str: (str, "text"),
}
_PARSED: dict[type, tuple[Callable[[Any], object], str]] = {
    ipaddress.IPv4Address: (ipaddress.IPv4Address, 'an IPv4 address, such as "192.168.0.1"'),
    ipaddress.IPv4Network: (ipaddress.IPv4Network, 'an IPv4 subnet, such as "192.168.0.0/24"'),
    ipaddress.IPv6Network: (ipaddress.IPv6Network, 'an IPv6 prefix, such as "fd00:77::/64"'),
}


class _Wanted(Exception):
    """The value is not valid; the text says what it must be."""


class Converter:
    """Converts the tables of one file and gathers every problem met on the way."""

    def __init__(self, file: str, base: PathBase) -> None:
        self.file = file
        self.base = base
        self.problems: list[Problem] = []

    def convert(self, cls: type[Value], table: Mapping[str, object], key: str = "", **given: object) -> Any:
        """An instance of `cls`, or None after recording why not. `given` fields are not keys."""
        before = len(self.problems)
        fields = {name: kind for name, kind in cls.FIELDS.items() if name not in given}
        prefix = f"{key}." if key else ""
        for unknown in (name for name in table if name not in fields):
            self.sentence(prefix + printable(unknown, 60), _suggest(unknown, list(fields)))
        values = dict(given)
        for name, kind in fields.items():
            if name in table:
                values[name] = self._value(kind, table[name], prefix + name)
            elif name not in cls.DEFAULTS:
                self.sentence(prefix + name, "this key is missing")
        return cls(**values) if len(self.problems) == before else None

    def sentence(self, key: str, text: str) -> None:
        """Record what is wrong with a key in words of its own."""
        self.problems.append(Problem(file=self.file, key=key, found="", wanted="", text=text))

    def problem(self, key: str, found: object, wanted: str) -> None:
        """Record that a key is `found`, and must be `wanted`."""
        self.problems.append(Problem(file=self.file, key=key, found=printable(found, 80), wanted=wanted))

    def _value(self, kind: Any, raw: object, key: str) -> object:
        try:
            return self._of(kind, raw, key)
        except _Wanted as wanted:
            self.problem(key, _as_written(raw), str(wanted))
            return None

    def _of(self, kind: Any, raw: object, key: str) -> object:
        if get_origin(kind) in {Union, UnionType}:
            return self._union(get_args(kind), raw, key)
        if allowed := choices(kind):
            return _choice(allowed, raw)
        if isinstance(kind, GenericAlias):
            each = kind.__args__
            return self._list(each[0], raw, key) if kind.__origin__ is tuple else self._table(each[1], raw, key)
        if _is_table(kind):
            if not isinstance(raw, dict):
                raise _Wanted(f"a table with {', '.join(kind.FIELDS)}")
            return self.convert(kind, raw, key)
        return self._single(kind, raw)

    def _single(self, kind: Any, raw: object) -> object:
        if kind is Any:
            return raw
        if hasattr(kind, "parse"):
            try:
                return kind.parse(raw, self.base)
            except ValueError as wanted:
                raise _Wanted(str(wanted)) from None
        if kind in _PARSED:
            parse, wanted_text = _PARSED[kind]
            try:
                return parse(raw if isinstance(raw, str) else "")
            except ValueError as error:
                detail = " (host bits are set)" if "host bits" in str(error) else ""
                raise _Wanted(wanted_text + detail) from None
        plain, wanted_text = _PLAIN[kind]
        if type(raw) is not plain:
            raise _Wanted(wanted_text)
        return raw

    def _union(self, kinds: tuple[Any, ...], raw: object, key: str) -> object:
        """`X | None` is X, and where X is a table also false, which switches it off; `X | bool` is either."""
        if isinstance(raw, bool) and bool in kinds:
            return raw
        (kind,) = (one for one in kinds if one not in {NoneType, bool})
        if _is_table(kind) and isinstance(raw, bool):  # true is the table with nothing in it
            return self.convert(kind, {}, key) if raw else None
        return self._of(kind, raw, key)

    def _list(self, kind: Any, raw: object, key: str) -> tuple[object, ...]:
        if not isinstance(raw, list):
            raise _Wanted(f"a list of tables, [[{key}]]" if _is_value(kind) else "a list")
        return tuple(self._value(kind, one, f"{key}[{number}]") for number, one in enumerate(raw))

    def _table(self, kind: Any, raw: object, key: str) -> dict[str, object]:
        if not isinstance(raw, dict):
            raise _Wanted("a table")
        return {name: self._value(kind, one, f"{key}.{printable(name, 40)}") for name, one in raw.items()}


def choices(kind: Any) -> tuple[Any, ...]:
    """The values of a Literal, also of one that may be absent; () for any other type."""
    if get_origin(kind) in {Union, UnionType}:
        return next(filter(None, map(choices, get_args(kind))), ())
    return get_args(kind) if get_origin(kind) is Literal else ()


def _is_value(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Value)


def _is_table(kind: Any) -> bool:
    return _is_value(kind) and not hasattr(kind, "parse")


def _choice(choices: tuple[object, ...], raw: object) -> object:
    if isinstance(raw, str) and raw in choices:
        return raw
    raise _Wanted("one of " + ", ".join(f'"{choice}"' for choice in choices))


def _suggest(unknown: str, known: list[str]) -> str:
    close = closest(unknown, known)
    return f"there is no such key; {f'did you mean {close}?' if close else 'known keys: ' + ', '.join(sorted(known))}"


def _as_written(raw: object) -> str:
    if isinstance(raw, bool):
        return str(raw).lower()
    return f'"{raw}"' if isinstance(raw, str) else str(raw)
