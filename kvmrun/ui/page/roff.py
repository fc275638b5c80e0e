"""A page of the manual for man(1): the macros it needs, and no text that is taken for one of them."""

import textwrap
from collections.abc import Iterable, Iterator

from kvmrun.ui.page.markdown import Block

_FONTS = {"code": r"\fB", "bold": r"\fB", "italic": r"\fI"}
_MACROS = {"section": ".SH", "subsection": ".SS"}
_INDENT = 4
# Names of files and commands must not be hyphenated. groff 1.24 resets both requests at each paragraph, to what the
# register HY and the string AD say; older versions and mandoc have only the requests.
_LAYOUT = ".nh\n.ad l\n.nr HY 0\n.ds AD l\n"


def page(name: str, section: str, date: str, source: str, blocks: Iterable[Block]) -> str:
    """A whole page. `date` is when it was made, and `source` the program with its version."""
    header = f'.TH {name.upper()} {section} "{date}" "{source}" "kvmrun manual"\n'
    return header + _LAYOUT + "".join(_body(blocks))


def _body(blocks: Iterable[Block]) -> Iterator[str]:
    level = 0
    after = ""
    for block in blocks:
        # What stands in a list item is an indented paragraph (.IP) of the list's own level; .RS moves that level.
        wanted = block.depth if block.kind in {"term", "bullet"} else max(0, block.depth - 1)
        yield from (f".RS {_INDENT}\n" for _ in range(level, wanted))
        yield from (".RE\n" for _ in range(wanted, level))
        level = wanted
        yield _block(block, after)
        after = block.kind


def _block(block: Block, after: str) -> str:
    match block.kind:
        case "title":
            return ""
        case "section" | "subsection":
            return f"{_MACROS[block.kind]} {_heading(block)}\n"
        case "term":
            return f".TP {_INDENT}\n{_inline(block)}\n"
        case "bullet":
            return f".IP \\(bu 2\n{_filled(block)}\n"
        case "code":
            lines = f".RS {_INDENT}\n.nf\n{escaped(block.text(), code=True)}\n.fi\n.RE\n"
            return f"{_begin(block, after)}{lines}"
        case _:
            return f"{_begin(block, after)}{_filled(block)}\n"


def _begin(block: Block, after: str) -> str:
    """The macro that begins a paragraph; none where a heading or a term has begun it."""
    if after in {"term", "section", "subsection"}:
        return ""
    return f'.IP "" {_INDENT}\n' if block.depth else ".PP\n"


def _heading(block: Block) -> str:
    text = "".join(block.shown(style, part) for style, part in block.spans)
    return '"' + escaped(text).replace('"', r"\(dq") + '"'


def _inline(block: Block) -> str:
    """The text of the block on one line, with its fonts."""
    parts = ((_FONTS.get(style, ""), escaped(text, code=style == "code")) for style, text in block.spans)
    return "".join(f"{font}{text}\\fR" if font else text for font, text in parts)


def _filled(block: Block) -> str:
    """The same in short lines, which those who check pages ask for."""
    text = " ".join(_inline(block).split())
    return _guarded(textwrap.fill(text, width=78, break_long_words=False, break_on_hyphens=False))


def escaped(text: str, *, code: bool = False) -> str:
    r"""Text as it is: hyphens that can be copied, no escapes, and no line that begins like a request.

    In code, quotes stay what they are: groff prints ' and ` as typographic quotes.
    """
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("^", r"\(ha").replace("~", r"\(ti")
    return _guarded(text.replace("'", r"\(aq").replace("`", r"\(ga") if code else text)


def _guarded(text: str) -> str:
    return "\n".join(rf"\&{line}" if line[:1] in {".", "'"} else line for line in text.split("\n"))
