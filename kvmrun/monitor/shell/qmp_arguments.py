"""The arguments of one command, each written as the type that QEMU's schema gives it."""

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from kvmrun.errors import UsageError
from kvmrun.model.printable import printable
from kvmrun.monitor.qmp.qmp_schema import Command, Schema
from kvmrun.monitor.shell.shell_lexer import Token, Tree

_BOOLEANS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
_PYTHON: Mapping[str, type | tuple[type, ...]] = {
    "array": list,
    "object": dict,
    "number": (int, float),
    "any": object,
}
_UNFIT = object()
_INTEGERS = range(-(1 << 63), 1 << 64)
# An alternate takes the first of these that it allows and that fits the word.
_MOST_TELLING = ("array", "object", "null", "bool", "int", "number", "any", "enum", "str")


def build_arguments(schema: Schema, command: Command, given: Tree) -> dict[str, object]:
    """What `command` is sent for the words in `given`. Raises UsageError naming the argument at fault."""
    return _object(schema, command.takes, given, where=command)


def closest_hint(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word most like this one, or ""."""
    found = get_close_matches(word, list(known), n=1)
    return f"did you mean '{found[0]}'?" if found else ""


def _object(schema: Schema, name: str, given: Tree, *, where: Command) -> dict[str, object]:
    chosen = {key: leaf.text for key, leaf in given.items() if isinstance(leaf, Token)}
    members = {member.name: member.type for member in schema.members(name, chosen)}
    values: dict[str, object] = {}
    for key, leaf in given.items():
        if key not in members and not where.open:
            fix = _hint(schema, name, key, chosen=chosen) or f"help {where.name}"
            raise UsageError(f"{where.name} has no argument '{printable(key, 80)}'", fix)
        values[key] = _value(schema, members.get(key, "any"), leaf, key=key, where=where)
    return values


def _hint(schema: Schema, name: str, key: str, *, chosen: Mapping[str, str]) -> str:
    tag = schema.type(name).tag
    if tag and tag not in chosen:
        return f"what else it takes depends on {tag}=, which is not given"
    return closest_hint(key, (member.name for member in schema.members(name, chosen)))


def _value(schema: Schema, name: str, leaf: "Token | Tree", *, key: str, where: Command) -> object:
    if isinstance(leaf, Token):
        return _typed(schema, name, leaf, key=key)
    if inner := schema.object_in(name):
        return _object(schema, inner, leaf, where=where)
    if name == "any":
        return {part: _value(schema, "any", below, key=part, where=where) for part, below in leaf.items()}
    raise UsageError(f"'{key}' of {where.name} has no parts: it wants {schema.label(name)}")


def _typed(schema: Schema, name: str, word: Token, *, key: str) -> object:
    choices = schema.type(name).choices
    kinds = {_kind(schema, one): one for one in choices or (name,)}
    for kind in _MOST_TELLING:
        # Quotes say text, where text is one of several things it may be.
        if kind in kinds and not (choices and word.quoted and kind not in ("enum", "str")):
            value = _as(kind, word, schema.values(kinds[kind]))
            if value is not _UNFIT:
                return value
    raise _unfit(schema, name, word, key=key)


def _kind(schema: Schema, name: str) -> str:
    kind = schema.type(name).kind
    return name if kind == "builtin" else kind


def _as(kind: str, word: Token, values: tuple[str, ...]) -> object:
    """The word read as `kind`, or _UNFIT."""
    text = word.text
    match kind:
        case "str":
            return text
        case "enum":
            return text if text in values else _UNFIT
        case "bool":
            return _BOOLEANS.get(text, _UNFIT)
        case "null":
            return None if text == "null" else _UNFIT
        case "int":
            return _integer(text)
        case _:
            return _json(kind, word)


def _integer(text: str) -> object:
    try:
        number = int(text, 0)
    except ValueError:
        return _UNFIT
    return number if number in _INTEGERS else _UNFIT


def _json(kind: str, word: Token) -> object:
    if kind == "any" and word.quoted:
        return word.text
    free = _free(word)
    fits = isinstance(free, _PYTHON[kind]) and not (kind == "number" and isinstance(free, bool))
    return free if fits else _UNFIT


def _free(word: Token) -> object:
    """JSON where it is JSON, text otherwise."""
    if word.data is not None:
        return word.data
    try:
        return json.loads(word.text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return word.text


def _no_constant(text: str) -> object:
    raise ValueError(text)


def _unfit(schema: Schema, name: str, word: Token, *, key: str) -> UsageError:
    values = schema.values(name)
    fix = closest_hint(word.text, values) or (f"one of {', '.join(values[:12])}" if values else "")
    example = {
        "array": "as JSON, like [1, 2]",
        "object": f"as JSON, or by its parts: {key}.part=value",
        "int": "a whole number, like 4096 or 0x1000",
    }
    fix = fix or example.get(_kind(schema, name), "")
    return UsageError(f"'{key}' wants {schema.label(name)}, not '{printable(word.text, 80)}'", fix)
