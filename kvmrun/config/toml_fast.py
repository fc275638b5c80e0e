"""Plain TOML, read without tomllib, whose loading costs 6 ms. Whatever is not plain is tomllib's.

Plain is what a definition mostly is: tables and lists of tables, bare keys, and on one line each text without escapes,
whole numbers, true, false, lists and inline tables of those. Mistakes are not plain: tomllib explains them. A test
holds the two to the same answers.
"""

from kvmrun.light.typing import Any
from kvmrun.model.scalars import DIGITS, LETTERS

_BARE = LETTERS | frozenset("_-")
_DEEPEST = 8
_WORDS = {"true": True, "false": False}


class _NotPlain(Exception):
    """This text is for tomllib."""


def plain(text: str) -> dict[str, Any] | None:
    """The table that `text` is, None when tomllib should say."""
    try:
        return _table(text)
    except _NotPlain:
        return None


def _table(text: str) -> dict[str, Any]:
    here: dict[str, Any] = {}
    heads = _Heads(here)
    for line in (one.strip(" \t") for one in text.split("\n")):
        if not line.replace("\t", "").isprintable():
            raise _NotPlain
        if line.startswith("["):
            here = heads.open(line)
        elif line and line[0] != "#":
            name, _, rest = line.partition("=")
            value, rest = _value(rest.lstrip(" \t"), _DEEPEST)
            if rest and rest[0] != "#":
                raise _NotPlain
            _put(here, name.rstrip(" \t"), value)
    return heads.root


class _Heads:
    """The tables opened by lines in brackets: only they may be opened again, and only as TOML has it."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root
        self._tables = {id(root): root}
        self._lists: dict[int, list[dict[str, Any]]] = {}

    def open(self, line: str) -> dict[str, Any]:
        """The new table of `[a.b]`, or of `[[a.b]]` at the end of its list."""
        many = line.startswith("[[")
        inner = line.removeprefix("[[").removesuffix("]]") if many else line[1:].removesuffix("]")
        if len(inner) != len(line) - (4 if many else 2):
            raise _NotPlain
        *path, last = inner.split(".", _DEEPEST)
        at = self.root
        for name in path:
            at = self._step(at, name)
        table = self._new()
        if not many:
            _put(at, last, table)
        elif last not in at:
            _put(at, last, [table])
            self._lists[id(at[last])] = at[last]
        elif id(at[last]) in self._lists:
            at[last].append(table)
        else:
            raise _NotPlain
        return table

    def _step(self, at: dict[str, Any], name: str) -> dict[str, Any]:
        """The table `name` in `at`, made if need be; of a list of tables the last."""
        if name not in at:
            _put(at, name, self._new())
        found = id(at[name][-1] if id(at[name]) in self._lists else at[name])
        if found not in self._tables:
            raise _NotPlain
        return self._tables[found]

    def _new(self) -> dict[str, Any]:
        table: dict[str, Any] = {}
        self._tables[id(table)] = table
        return table


def _put(table: dict[str, Any], name: str, value: object) -> None:
    if not name or name in table or not _BARE.issuperset(name):
        raise _NotPlain
    table[name] = value


def _value(text: str, depth: int) -> tuple[Any, str]:
    """The value that `text` begins with, and what comes after it."""
    first = text[:1]
    if first in {'"', "'"}:
        inner, quote, rest = text[1:].partition(first)
        if not quote or rest.startswith(first) or (first == '"' and "\\" in inner):
            raise _NotPlain
        return inner, rest.lstrip(" \t")
    if first in {"[", "{"} and depth:
        rest = text[1:].lstrip(" \t")
        return _list(rest, depth - 1) if first == "[" else _inline(rest, depth - 1)
    size = next((place for place, char in enumerate(text) if char not in LETTERS), len(text))
    word, rest = text[:size], text[size:].lstrip(" \t")
    if rest[:1] not in {"", ",", "]", "}", "#"}:
        raise _NotPlain
    if word in _WORDS:
        return _WORDS[word], rest
    if DIGITS.issuperset(word) and 0 < len(word) < 19 and (word == "0" or word[0] != "0"):
        return int(word), rest
    raise _NotPlain


def _list(rest: str, depth: int) -> tuple[list[Any], str]:
    found = []
    while not rest.startswith("]"):
        value, rest = _value(rest, depth)
        found.append(value)
        rest = _next(rest, "]")
    return found, rest[1:].lstrip(" \t")


def _inline(rest: str, depth: int) -> tuple[dict[str, Any], str]:
    found: dict[str, Any] = {}
    while not rest.startswith("}"):
        name, _, rest = rest.partition("=")
        value, rest = _value(rest.lstrip(" \t"), depth)
        _put(found, name.rstrip(" \t"), value)
        comma, rest = rest.startswith(","), _next(rest, "}")
        if comma and rest.startswith("}"):
            raise _NotPlain
    return found, rest[1:].lstrip(" \t")


def _next(rest: str, end: str) -> str:
    """What comes after the comma, or the end itself."""
    if rest.startswith(","):
        return rest[1:].lstrip(" \t")
    if rest.startswith(end):
        return rest
    raise _NotPlain
