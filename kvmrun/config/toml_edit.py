"""A definition's text changed line by line, so that what a person wrote around the change stays.

This knows TOML as people write it, not all of it. Whoever uses it reads the result again and compares.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kvmrun.config.toml_writer import format_value

_HEADER = re.compile(r"\s*\[{1,2}\s*([A-Za-z0-9_.-]+)\s*\]{1,2}")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")
_TEXT = re.compile(r"""=\s*("(?:[^"\\]|\\.)*"|'[^']*')""")

Section = tuple[str, int]
"""A table and which one of that name: ("", 0) before the first, ("nic", 1) the second [[nic]]."""
TOP: Section = ("", 0)


def lines(text: str) -> Iterator[tuple[Section, str, str]]:
    """Every line with the section it is in and the key it gives, "" for none; a header is in its own section."""
    seen: dict[str, int] = {}
    section = TOP
    for line in text.splitlines(keepends=True):
        if found := _HEADER.match(line):
            section = found[1], seen.get(found[1], 0)
            seen[found[1]] = section[1] + 1
        key = _KEY.match(line)
        yield section, "" if found or not key else key[1], line


def value(line: str) -> object:
    """The value of a line that gives a key, where the line is TOML by itself; else None."""
    import tomllib

    try:
        return next(iter(tomllib.loads(line).values()), None)
    except (ValueError, RecursionError):
        return None


def drop_keys(text: str, *unwanted: tuple[str, str]) -> str:
    """The text less the lines that give one of these (table, key)."""
    return "".join(line for (table, _), key, line in lines(text) if not key or (table, key) not in unwanted)


def drop_section_keys(text: str, section: Section, *keys: str) -> str:
    """The text less the lines of one section that give these keys."""
    return "".join(line for here, key, line in lines(text) if not key or here != section or key not in keys)


def insert_keys(text: str, section: Section, values: Mapping[str, Any]) -> str:
    """The text with these keys at the beginning of that section, which is added at the end when it is the next one."""
    new = "".join(f"{key} = {format_value(value)}\n" for key, value in values.items())
    if section == TOP:
        return _at_top(text, new)
    before, after, found = "", "", False
    for here, key, line in lines(text):
        if here == section and not key and not found:
            found = True
            before += line if line.endswith("\n") else f"{line}\n"
        elif found:
            after += line
        else:
            before += line
    if found:
        return before + new + after
    return f"{_ended(text)}\n[[{section[0]}]]\n{new}"


def replace_text(text: str, section: Section, key: str, value: str) -> str:
    """The text with another string for a key that has one."""
    changed = [
        _TEXT.sub(lambda _: f"= {format_value(value)}", line, count=1) if (here, found) == (section, key) else line
        for here, found, line in lines(text)
    ]
    return "".join(changed)


def rename_guest(text: str, old: str, new: str) -> str:
    """The text with another name for a guest where guests are named: in `after`, and behind the arrow of `forward`."""
    changed, given = [], ""
    for _, key, line in lines(text):
        given = key or given  # a list goes on over lines
        change = {"after": _quoted, "forward": rename_forward_target}.get(given)
        changed.append(change(line, old, new) if change else line)
    return "".join(changed)


def _quoted(text: str, old: str, new: str) -> str:
    return re.sub(rf"""(["']){re.escape(old)}\1""", lambda found: f"{found[1]}{new}{found[1]}", text)


def rename_forward_target(text: str, old: str, new: str) -> str:
    """The words of a port forward with another name for its guest."""
    return re.sub(rf"(->\s*){re.escape(old)}(?=:)", lambda found: f"{found[1]}{new}", text)


def _at_top(text: str, new: str) -> str:
    """Before the first line that is neither empty nor a comment."""
    rows = text.splitlines(keepends=True)
    place = next((number for number, row in enumerate(rows) if row.strip() and not row.startswith("#")), len(rows))
    head = "".join(rows[:place])
    return (_ended(head) if head else "") + new + "".join(rows[place:])


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
