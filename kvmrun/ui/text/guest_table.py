"""The list as a table on a terminal: what fits is shown, the least useful columns go first."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kvmrun.model.guest.guest_status import Status
from kvmrun.ui.text import guest_columns

STATES = {"running": "green", "stopped": "dim", "paused": "yellow", "invalid": "red", "stale": "yellow"}
_ALARMS = frozenset({"ROOT", "OFF", "YES", "GONE", "NONE"})
_RIGHT = frozenset({"PID", "CPU%", "MEMORY", "UPTIME"})
_NARROWEST = 40
_PROBLEM, _READABLE = "PROBLEM", 24
"""The column of problems, and how narrow it may be."""


def draw_table(found: list[Status], view: guest_columns.View, *, color: str) -> None:
    """Print the table on standard output, as wide as the terminal."""
    console = _console(color)
    console.print(table(found, view, console.width))


def _console(color: str) -> Console:
    made = Console(
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal=True if color == "always" else None,
        no_color=True if color == "never" else None,
    )
    made.width = max(made.width, _NARROWEST)  # COLUMNS may say 0, and then nothing would be shown
    return made


def table(found: list[Status], view: guest_columns.View, width: int) -> Table:
    """The rows, with the columns that fit into `width`; problems stand below where they would be broken beside them."""
    body = [dict(zip(view.heads, view.cells(one), strict=True)) for one in found]
    needed = [head for head in view.heads if guest_columns.is_column_needed(head, (row[head] for row in body))]
    heads = _fitting(needed, view.spare, body, width)
    below = _PROBLEM in heads and _width(heads, body) > width
    if below:
        heads = _fitting([head for head in needed if head != _PROBLEM], (*view.spare, "ADDRESS"), body, width)
    names = max((len(row["NAME"]) for row in body), default=4)
    room = max(len("NAME"), names - max(0, _width(heads, body) - width))
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads:
        only = head in {"NAME", _PROBLEM}
        made.add_column(
            head,
            justify="right" if head in _RIGHT else "left",
            no_wrap=head != _PROBLEM,
            overflow="ellipsis" if head == "NAME" else "fold",
            max_width=room if head == "NAME" else None,
            min_width=None
            if only
            else max([len(head), *(len(line) for row in body for line in row[head].split("\n"))]),
        )
    for row in body:
        made.add_row(*(Text(row[head], style=_style(head, row)) for head in heads))
    if below:
        told = "\n".join(f"{row['NAME']}: {row[_PROBLEM]}" for row in body if row[_PROBLEM])
        made.caption, made.caption_justify, made.caption_style = Text(told, style="red"), "left", ""
    return made


def _fitting(heads: list[str], spare: tuple[str, ...], body: list[dict[str, str]], width: int) -> list[str]:
    """`heads` less as many of `spare` as it takes to fit into `width`."""
    left = list(heads)
    for head in [one for one in spare if one in heads]:
        if _width(left, body) <= width:
            break
        left.remove(head)
    return left


def _width(heads: list[str], body: list[dict[str, str]]) -> int:
    """The width the table wants; the problem may be folded, so it counts with what it needs to be read."""
    total = 2 * len(heads)
    for head in heads:
        longest = max((len(line) for row in body for line in row[head].split("\n")), default=0)
        if head == _PROBLEM:
            word = max((len(word) for row in body for word in row[head].split()), default=0)
            longest = min(longest, max(_READABLE, word))
        total += max(len(head), longest)
    return total - 2


def _style(head: str, row: dict[str, str]) -> str:
    if head == "STATE":
        return STATES.get(row[head].partition(" ")[0], "red")
    return "red" if head == "PROBLEM" or row[head] in _ALARMS else "bold" if head == "NAME" else ""
