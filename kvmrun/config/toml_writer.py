"""Values, keys and tables written as TOML: the only place that knows how a value is spelled.

Control characters and others that no terminal should see are written as escapes, which TOML reads back unchanged.
Bytes of a path that are not UTF-8 (lone surrogates here) have no escape in TOML and stay as they are.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

from kvmrun.model.printable import printable

Entry = tuple[str, object, str]
"""A key, its value, and a comment, "" for none."""
_COMMENT_COLUMN = 31


def format_value(value: object) -> str:
    """A value as TOML: text, numbers, true and false, and lists of them. Any other value is the text that it prints."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(format_value, value))}]"
    if type(value) in {bool, int, float}:  # not their subclasses, such as a size, which are written as text
        return json.dumps(value)
    return "".join(map(_escaped, json.dumps(f"{value}", ensure_ascii=False)))


def _escaped(char: str) -> str:
    code = ord(char)
    if printable(char) == char or 0xD800 <= code < 0xE000:
        return char
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def format_entry(entry: Entry) -> str:
    """A key with its value on one line, and the comment behind it."""
    key, value, comment = entry
    text = f"{key} = {format_value(value)}"
    return f"{text:<{_COMMENT_COLUMN}} # {comment}\n" if comment else f"{text}\n"


def format_array_table(name: str, entries: Iterable[Entry]) -> str:
    """One [[name]] with its keys, one on each line."""
    return f"[[{name}]]\n" + "".join(map(format_entry, entries))


def format_document(table: Mapping[str, object]) -> str:
    """A whole file: values before tables. None and "" are keys that were not given, and are left out."""
    return "".join(_lines(table))


def _lines(table: Mapping[str, object]) -> Iterator[str]:
    nested = {key: value for key, value in table.items() if _is_table(value)}
    for key, value in table.items():
        if key not in nested and value is not None and value != "":
            yield format_entry((key, value, ""))
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield f"\n[{key}]\n"
            yield from _lines(value)
        elif isinstance(value, tuple):
            for one in value:
                yield f"\n[[{key}]]\n"
                yield from _lines(one)


def _is_table(value: object) -> bool:
    """Whether the value is a table, or a list of tables."""
    return isinstance(value, Mapping) or (isinstance(value, tuple) and bool(value) and isinstance(value[0], Mapping))
