"""`unset`: the keys of defaults.toml that a guest does not take over."""

from collections.abc import Iterator, Mapping, Sequence
from types import GenericAlias, UnionType
from typing import Any

from kvmrun.model.guest.guest import Guest
from kvmrun.model.suggest import closest
from kvmrun.model.value import Value

_OWN = ("name", "unset")
_INSTEAD = {"cpus": "topology", "topology": "cpus"}
"""Of two keys that say the same, the one in the file of the guest applies."""


def apply_unset(defaults: Mapping[str, Any], keys: object) -> dict[str, Any]:
    """`defaults` less `keys`, of which a dotted one names a key inside a table, or inside each table of a list."""
    kept = dict(defaults)
    for key in keys if isinstance(keys, list) else ():
        if isinstance(key, str):
            kept = _less(kept, key.split("."))
    return kept


def inherited(defaults: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """What a guest with that table takes over from `defaults`."""
    given = {other for key, other in _INSTEAD.items() if key in table}
    return {key: value for key, value in apply_unset(defaults, table.get("unset")).items() if key not in given}


def unset_problems(keys: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The keys that no guest has, as (position, what is expected instead)."""
    for number, key in enumerate(keys):
        fields: Mapping[str, Any] = {name: kind for name, kind in Guest.FIELDS.items() if name not in _OWN}
        for part in key.split("."):
            if part not in fields:
                close = closest(part, list(fields))
                yield number, f"a key of a guest{f' (did you mean {close}?)' if close else ''}"
                break
            fields = _inner(fields[part])


def _less(table: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {key: value for key, value in table.items() if key != first}
    return {key: _inside(value, rest) if key == first else value for key, value in table.items()}


def _inside(value: Any, path: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_inside(one, path) for one in value]
    return _less(value, path) if isinstance(value, dict) else value


def _inner(kind: Any) -> Mapping[str, Any]:
    """The keys inside a value of that type: a table, a list of tables, or a table that may be absent."""
    for one in kind.__args__ if isinstance(kind, GenericAlias | UnionType) else (kind,):
        if isinstance(one, type) and issubclass(one, Value):
            return one.FIELDS
    return {}
