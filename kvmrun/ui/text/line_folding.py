"""Lines that fit the terminal: folded between words, so that no address, MAC or path is broken."""

import os
from typing import Protocol

_NARROWEST = 40
_COMMANDS = r"\b(kvmrun|sudo|nft|ip|sysctl|qemu-img|chmod|cp|apt|modprobe|mkdir|iptables|systemctl|diff) "
"""What the commands of fixes begin with."""


class _Stream(Protocol):
    def fileno(self) -> int: ...


def fold_to_terminal(text: str, stream: _Stream, *, indent: int) -> str:
    """`text` folded for the terminal behind `stream`, later lines indented; as it is where there is no terminal.

    A word that is longer than a line is left whole: the terminal breaks it, but it can be copied as one.
    """
    width = _width(stream)
    if not width or len(text) <= width:
        return text
    from textwrap import wrap  # loads `re`, which most lines do not need

    first = text[: len(text) - len(text.lstrip(" "))]
    rest = first + " " * indent
    lines = wrap(text, width, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def proposed(text: str, stream: _Stream, *, indent: int) -> str:
    """A fix for the terminal behind `stream`: one proposal on a line where they do not fit on one.

    A line with a command is never folded, because it could not be pasted any more.
    """
    width = _width(stream)
    if not width or len(text) <= width:
        return text
    import re

    parts = [""]
    for part in re.split(r"(?<=[;,]) (?=or )|(?<=;) ", text):
        if parts[-1].count("'") % 2:  # within the quotes of a command
            parts[-1] += f" {part}"
        else:
            parts.append(part)
    lines = [parts[1], *(f"{'':<{indent}}{part}" for part in parts[2:])]
    return "\n".join(
        one if re.search(_COMMANDS, one) else fold_to_terminal(one, stream, indent=indent) for one in lines
    )


def _width(stream: _Stream) -> int:
    """The columns of the terminal behind `stream`, 0 where there is none."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0
    return max(columns or 80, _NARROWEST)
