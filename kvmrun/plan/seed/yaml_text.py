"""Values as YAML, in the block style that people write, with every text in double quotes."""

import json
from collections.abc import Iterator, Mapping, Sequence


def yaml_text(value: Mapping[str, object]) -> str:
    """The document. The keys are ours: words that YAML takes for nothing else."""
    return "".join(f"{line}\n" for line in _mapping(value))


def _mapping(value: Mapping[str, object]) -> Iterator[str]:
    for key, one in value.items():
        yield from _entry(f"{key}:", one)


def _entry(head: str, value: object) -> Iterator[str]:
    """A value after its key, or after the dash of a list."""
    if isinstance(value, Mapping) and value:
        lines = list(_mapping(value))
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        lines = [line for one in value for line in _entry("-", one)]
    else:
        yield f"{head} {_scalar(value)}"
        return
    if head == "-":
        yield f"- {lines[0]}"
        yield from (f"  {line}" for line in lines[1:])
    else:
        yield head
        yield from (f"  {line}" for line in lines)


def _scalar(value: object) -> str:
    """A value in the form of JSON, which YAML reads as well: but for what YAML calls a line break or not printable."""
    return "".join(map(_escaped, json.dumps(value, ensure_ascii=False)))


def _escaped(char: str) -> str:
    if char == " " or char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
