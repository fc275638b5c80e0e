"""The part of a definition with errors that is valid: what it says there, no other guest must have as well."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kvmrun.config.toml_values import Converter
from kvmrun.model.guest.guest import Guest
from kvmrun.model.scalars import GuestName, PathBase

_ATTEMPTS = 3
"""How often errors are removed: the keys, then the tables that lack a key, then what is neither."""
_PART = re.compile(r"[^.\[\]]+")


def valid_part(stem: str, table: Mapping[str, Any], base: PathBase) -> Guest | None:
    """The guest without the keys that have errors; None where no guest is left."""
    rest = {key: value for key, value in table.items() if key in Guest.FIELDS and key != "name"}
    for _ in range(_ATTEMPTS if GuestName.fits(stem) else 0):
        file = Converter(stem, base)
        guest: Guest | None = file.convert(Guest, rest, name=GuestName(stem))
        if guest is not None:
            return guest
        rest = _without(rest, [problem.key for problem in file.problems])
    return None


def _without(table: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """The table without these keys, each of which begins with one of the table's own.

    An element of a list is removed with the list: the others keep their numbers.
    """
    for key in keys:
        first, *path = _PART.findall(key)
        if not path or not (changed := _removed(table.get(first), path)):
            table = {name: value for name, value in table.items() if name != first}
            table |= {"nic": []} if first == "nic" else {}  # without the key a guest has one NIC
        else:
            table = table | {first: changed[0]}
    return table


def _removed(value: Any, path: list[str]) -> list[Any]:
    """The value without the key at that path, in a list; an empty list where it has no such key."""
    first, *rest = path
    if isinstance(value, list) and rest and first.isdecimal() and int(first) < len(value):
        number = int(first)
        return [[*value[:number], *inner, *value[number + 1 :]] for inner in [_removed(value[number], rest)] if inner]
    if isinstance(value, dict) and first in value:
        if not rest:
            return [{name: one for name, one in value.items() if name != first}]
        return [value | {first: inner[0]} for inner in [_removed(value[first], rest)] if inner]
    return []
