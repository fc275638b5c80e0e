"""The list as a table on a terminal: what fits is shown, the least useful columns go first."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kvmrun.model.status import Status
from kvmrun.ui import rows

STATES = {"running": "green", "stopped": "dim", "paused": "yellow", "invalid": "red", "stale": "yellow"}
_ALARMS = frozenset({"ROOT", "OFF", "YES", "GONE", "NONE"})
_RIGHT = frozenset({"PID", "CPU%", "MEMORY", "UPTIME"})
_NARROWEST = 40


def draw(found: list[Status], view: rows.View, *, color: str) -> None:
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


def table(found: list[Status], view: rows.View, width: int) -> Table:
    """The rows, with the columns that fit into `width`."""
    body = [dict(zip(view.heads, view.cells(one), strict=True)) for one in found]
    heads = [head for head in view.heads if rows.needed(head, (row[head] for row in body))]
    for head in [one for one in view.spare if one in heads]:
        if _width(heads, body) <= width:
            break
        heads.remove(head)
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads:
        last = head == "PROBLEM"
        made.add_column(head, justify="right" if head in _RIGHT else "left", no_wrap=not last, overflow="fold")
    for row in body:
        made.add_row(*(Text(row[head], style=_style(head, row)) for head in heads))
    return made


def _width(heads: list[str], body: list[dict[str, str]]) -> int:
    """The width the table wants; the problem may be folded, so it counts with what it needs to be read."""
    total = 2 * len(heads)
    for head in heads:
        longest = max((len(line) for row in body for line in row[head].split("\n")), default=0)
        total += max(len(head), min(longest, 24) if head == "PROBLEM" else longest)
    return total


def _style(head: str, row: dict[str, str]) -> str:
    if head == "STATE":
        return STATES.get(row[head], "red")
    return "red" if head == "PROBLEM" or row[head] in _ALARMS else "bold" if head == "NAME" else ""
