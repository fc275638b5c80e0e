"""A page of the manual as a list of blocks, which both the terminal and man(1) are rendered from.

The pages use a part of CommonMark: headings of three levels, paragraphs, code blocks and lists. A list item of several
blocks that begins with code or strong text is an entry: its first paragraph is the term, the others describe it.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

from kvmrun.model.value import Value

Kind = Literal["title", "section", "subsection", "paragraph", "code", "term", "bullet"]
Style = Literal["", "code", "bold", "italic"]
_HEADINGS: dict[str, Kind] = {"h1": "title", "h2": "section", "h3": "subsection"}
_STYLES: dict[str, Style] = {"strong_open": "bold", "em_open": "italic", "strong_close": "", "em_close": ""}
_SILENT = frozenset({"html_block", "heading_close", "paragraph_close", "bullet_list_open", "bullet_list_close"})


class Block(Value):
    """One block. `depth` is the number of list items around it; a term or bullet belongs to the depth of its list."""

    kind: Kind
    depth: int
    spans: tuple[tuple[Style, str], ...]

    def text(self) -> str:
        """The block without its styles."""
        return "".join(text for _, text in self.spans)

    def shown(self, style: Style, text: str) -> str:
        """One span as it is shown: the headings of sections are in capitals, except for names in code."""
        return text.upper() if self.kind == "section" and style != "code" else text


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page. Comments are left out. Raises ValueError for what the pages do not use."""
    tokens = MarkdownIt("commonmark").parse(text)
    kind: Kind = "paragraph"
    first: Kind | None = None
    depth = 0
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            kind = _HEADINGS[token.tag]
        elif token.type == "paragraph_open":
            kind, first = first or "paragraph", None
        elif token.type == "inline":
            outer = depth - 1 if kind in {"term", "bullet"} else depth
            yield Block(kind=kind, depth=outer, spans=tuple(_spans(token.children or ())))
        elif token.type in {"fence", "code_block"}:
            yield Block(kind="code", depth=depth, spans=(("code", token.content.rstrip("\n")),))
        elif token.type == "list_item_open":
            depth += 1
            first = "term" if _is_entry(tokens, position) else "bullet"
        elif token.type == "list_item_close":
            depth -= 1
        elif token.type not in _SILENT:
            raise ValueError(f"the manual does not use {token.type}: {token.content[:60]}")


def _is_entry(tokens: Sequence[Token], position: int) -> bool:
    """Whether the list item at `position` is a term with its description."""
    inline, following = tokens[position + 2], tokens[position + 4]
    begins = next((one.type for one in inline.children or () if one.type != "text" or one.content), "")
    return begins in {"code_inline", "strong_open"} and following.type != "list_item_close"


def _spans(tokens: Sequence[Token]) -> Iterator[tuple[Style, str]]:
    """The text of a paragraph with its styles. A link is its text: where it leads means nothing to man(1)."""
    style: Style = ""
    for token in tokens:
        if token.type in _STYLES:
            style = _STYLES[token.type]
        elif token.type == "code_inline":
            yield "code", token.content
        elif token.type == "softbreak":
            yield style, " "
        elif token.type == "text":
            yield style, token.content
        elif token.type not in {"link_open", "link_close"}:
            raise ValueError(f"the manual does not use {token.type}")
