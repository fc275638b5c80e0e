"""Lines that fit the terminal: folded between words, so that no address, MAC or path is broken."""

import os

from kvmrun.light.typing import Protocol

_NARROWEST = 40


class _Stream(Protocol):
    def fileno(self) -> int: ...


def fitted(text: str, stream: _Stream, *, indent: int) -> str:
    """`text` folded for the terminal behind `stream`, later lines indented; as it is where there is no terminal.

    A word that is longer than a line is left whole: the terminal breaks it, but it can be copied as one.
    """
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return text
    width = max(columns or 80, _NARROWEST)
    if len(text) <= width:
        return text
    from textwrap import wrap  # loads `re`, which most lines do not need

    first = text[: len(text) - len(text.lstrip(" "))]
    rest = first + " " * indent
    lines = wrap(text, width, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)
