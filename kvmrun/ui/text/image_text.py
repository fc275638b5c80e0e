"""Images for people: a table, or every fact of each."""

from collections.abc import Iterable, Mapping, Sequence

from kvmrun.model.printable import printable
from kvmrun.model.scalars import Size
from kvmrun.model.value import Value

_COLUMNS = {
    "NAME": "name",
    "STATE": "state",
    "SIZE": "size",
    "DISK": "disk",
    "VERIFIED": "verified",
    "GUESTS": "guests",
    "SOURCE": "source",
    "TITLE": "title",
    "CODENAME": "codename",
    "USER": "user",
    "SEED": "seed",
}


def text(found: Sequence[Value], *, full: bool) -> str:
    """The images as a table, with `full` one fact on each line."""
    rows = [one.as_dict() for one in found]
    if not rows:
        return "no images: kvmrun image list --all shows those there are\n"
    if full:
        return "\n".join("".join(f"{key:<9} {_cell(value)}\n" for key, value in row.items()) for row in rows)
    heads = [head for head, key in _COLUMNS.items() if key in rows[0]]
    if "state" in rows[0]:
        heads = [head for head in heads if head not in {"USER", "SEED"}]
    return _table(heads, rows)


def _table(heads: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    lines = [list(heads), *([_cell(row[_COLUMNS[head]]) for head in heads] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _cell(value: object) -> str:
    if value is None or value in {"", ()}:
        return "-"
    if isinstance(value, int):
        return _rounded(value)
    return printable(", ".join(value) if isinstance(value, tuple) else value, 300)


def _rounded(size: int) -> str:
    """A number of bytes in the unit that suits it."""
    for unit, name in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + name
    return f"{Size(size)}"
