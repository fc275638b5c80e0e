"""A page of the manual on a terminal, or as plain text in a pipe."""

import io
import os
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from kvmrun.ui.page.markdown import Block

_WIDTH = 80
_INDENT = 4
_STYLES = {"code": "bold", "bold": "bold", "italic": "underline"}


def rendered(blocks: Iterable[Block], *, color: bool) -> str:
    """The page as text of at most 80 columns; with escape sequences for bold text only where `color` asks for them."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=_columns(),
        color_system="standard" if color else None,
        force_terminal=color,
        highlight=False,
        markup=False,
    )
    after = ""
    for block in blocks:
        # A description stands below its term, and the text of a section below its heading, without a blank line.
        if after and after not in {"term", "section", "subsection"} and not (after == block.kind == "bullet"):
            console.print()
        _print(console, block)
        after = block.kind
    return out.getvalue()


def lines_of_terminal() -> int:
    """The height of the terminal on standard output; 0 where there is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).lines if sys.stdout.isatty() else 0
    except (OSError, ValueError):
        return 0


def _columns() -> int:
    try:
        return max(40, min(_WIDTH, os.get_terminal_size(sys.stdout.fileno()).columns or _WIDTH))
    except (OSError, ValueError):
        return _WIDTH


def _print(console: Console, block: Block) -> None:
    indent = {"title": 0, "section": 0, "subsection": _INDENT // 2}.get(block.kind, _INDENT * (1 + block.depth))
    if block.kind == "code":
        indent += _INDENT
        lines = [Text(line) for line in block.text().split("\n")]
    else:
        lines = [*_text(block).wrap(console, console.width - indent - (2 if block.kind == "bullet" else 0))]
    for number, line in enumerate(lines):
        line.rstrip()
        lead = " " * indent
        if block.kind == "bullet":
            lead += "  " if number else "* "
        console.print(Text(lead if line else "") + line, soft_wrap=True)


def _text(block: Block) -> Text:
    text = Text()
    for style, part in block.spans:
        text.append(block.shown(style, part), style=_STYLES.get(style))
    if block.kind in {"title", "section", "subsection"}:
        text.stylize("bold")
    return text
