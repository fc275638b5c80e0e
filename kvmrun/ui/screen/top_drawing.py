"""Drawing the live view of what guests use, for a terminal of any width."""

import sys
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kvmrun.model.guest.guest_usage import GuestUsage, HostUsage, UsageRates
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.ui.screen import top_text
from kvmrun.ui.text import guest_columns
from kvmrun.ui.text.guest_table import STATES

AROUND = 4
"""Lines that are not guests: two above, two below."""
_WIDTHS = {"CPU%": 5, "CPU": 10, "MEMORY": 11, "READ": 6, "WRITE": 6, "DISK": 10, "IN": 6, "OUT": 6, "NET": 10}
_DISPENSABLE = (("DISK", "NET"), ("CPU",), ("READ", "WRITE"), ("IN", "OUT"), ("MEMORY",))
"""Columns that may go on a narrow terminal, the first to go first."""
_ALIKE = {"cpu": "CPU%", "memory": "MEMORY", "disk": "READ", "network": "IN", "name": "NAME"}
_TITLES = {"CPU": "", "DISK": "", "NET": ""}
"""The little bars have no title: they stand beside their numbers."""
_LEFT = frozenset({"NAME", "STATE"})
_NAME = 12
"""Of a longer name so much is shown before columns go."""
_LITTLE = 1024.0
"""Bytes a second that are a whole bar where there was never more."""
_KEYS = "q quit  {} select  Enter console  p pause  s sort: {}  v detail  ? help"
_HELP = """\
{:<16} select a guest
Enter, c         its console; Ctrl-] comes back here
p                pause it, or let it go on: asks first
s, < >           sort by the next column; C, M, D, N, A: by CPU, memory, disk,
                 network, name
v                each drive and NIC on a line of its own
a                also guests that do not run
space            hold the display, or let it go on
q, Ctrl-C        quit; guests go on

CPU: 100 is one core. MEMORY: what it occupies of what it may have.
READ, WRITE: bytes a second of its drives. IN, OUT: what it receives and sends.\
"""


class GuestRow(Value):
    """A guest: how it is now, and how it was, the newest last."""

    sample: GuestUsage
    rates: UsageRates
    past: tuple[UsageRates, ...]

    @property
    def name(self) -> str:
        return self.sample.status.name


class Row(Value):
    """A row of the table: a guest, or with a name of its own one of its drives or NICs."""

    line: GuestRow
    part: tuple[str, ...] = ()


class TopFrame(Value):
    """What is to be drawn: `about` is the line below the guests, `loud` when it is more than about the selected one."""

    head: str
    rows: Sequence[Row]
    selected: str
    order: str
    about: str
    loud: bool
    helping: bool


def rows(lines: Sequence[GuestRow], *, details: bool) -> list[Row]:
    """Each guest, with `details` followed by its drives and NICs."""
    found = []
    for line in lines:
        found.append(Row(line=line))
        found += [Row(line=line, part=part) for part in top_text.parts(line.rates)] if details else []
    return found


def scrolled(all_rows: Sequence[Row], selected: str, first: int, room: int) -> int:
    """The first row to show, as near to `first` as lets `selected` be seen."""
    at = next((number for number, row in enumerate(all_rows) if row.line.name == selected), 0)
    return max(0, min(max(first, at - room + 1), at, max(0, len(all_rows) - room)))


def head(load: HostUsage, busy: float | None, shown: str, every: float, *, held: bool) -> str:
    """What there is to say of the host."""
    cpu = "-" if busy is None else f"{busy:.0f}%"
    memory = f"{guest_columns.mib(load.used_bytes)} of {guest_columns.mib(load.memory_bytes)}"
    pace = "HELD" if held else f"every {every:g} s"
    return f"kvmrun top: {shown} guests  {pace}  host: CPU {cpu} of {load.cpus}, RAM {memory}"


def about(sample: GuestUsage) -> str:
    """A line about one guest."""
    status = sample.status
    words = [status.accel, f"pid {status.pid}" if status.pid else "", ", ".join(n.address or "-" for n in status.nics)]
    if status.uptime_s is not None:
        words.append(f"up {guest_columns.duration(status.uptime_s)}")
    if sample.balloon_bytes is not None and sample.balloon_bytes != status.memory_bytes:
        words.append(f"balloon {guest_columns.mib(sample.balloon_bytes)} of {guest_columns.mib(status.memory_bytes)}")
    return printable(f"{status.name}: {'; '.join(filter(None, [status.problem, *words]))}", 400)


def draw(picture: TopFrame, width: int, room: int) -> RenderableType:
    """The whole screen; the last two lines are always at its foot."""
    arrows, bars = ("↑↓", True) if _unicode() else ("j/k", False)
    body: list[RenderableType] = [Text(picture.head, style="bold", no_wrap=True, overflow="ellipsis")]
    if picture.helping:
        text = _HELP.format(f"{arrows}, j k, PgUp").split("\n")
        body += [Text(""), *(Text(line, no_wrap=True, overflow="ellipsis") for line in text[:room])]
        used = min(len(text), room)
    else:
        body.append(_table(picture, width, bars=bars))
        used = len(picture.rows)
    body += [Text("")] * (room - used)
    style = "bold yellow" if picture.loud else "dim"
    body.append(Text(picture.about, style=style, no_wrap=True, overflow="ellipsis"))
    keys = "any key goes back" if picture.helping else _KEYS.format(arrows, picture.order)
    body.append(Text(keys, style="cyan", no_wrap=True, overflow="ellipsis"))
    return Group(*body)


def _table(picture: TopFrame, width: int, *, bars: bool) -> Table:
    body = [(row, _cells(row, bars=bars)) for row in picture.rows]
    widths = _widths([cells for _, cells in body], width)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    for head, size in widths.items():
        sorted_by = _ALIKE[picture.order] == head
        table.add_column(
            Text(_TITLES.get(head, head), style="bold underline" if sorted_by else "bold"),
            justify="left" if head in _LEFT else "right",
            width=size,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row, cells in body:
        chosen = row.line.name == picture.selected and not row.part
        table.add_row(
            *(Text(cells[head], style=_style(head, row)) for head in widths), style="reverse" if chosen else ""
        )
    return table


def _cells(row: Row, *, bars: bool) -> dict[str, str]:
    """All that may be shown of a row, by column."""
    line = row.line
    cells = dict(zip(top_text.HEADS, row.part or top_text.cells(line.sample, line.rates), strict=True))
    if row.part:
        return cells | {"NAME": f"  {cells['NAME']}"} | dict.fromkeys(_TITLES, "")
    past = line.past[-_WIDTHS["CPU"] :]
    disk, network = ([sum(one or ()) for one in ways] for ways in ([r.disk for r in past], [r.network for r in past]))
    return cells | {
        "CPU": top_text.spark((one.cpu_percent or 0 for one in past), 100 * (line.sample.status.cpus or 1), bars=bars),
        "DISK": top_text.spark(disk, max([_LITTLE, *disk]), bars=bars),
        "NET": top_text.spark(network, max([_LITTLE, *network]), bars=bars),
    }


def _widths(body: Sequence[dict[str, str]], width: int) -> dict[str, int]:
    """The columns that fit, with their widths: a long name is cut before more than little bars have to go."""
    names, states = (max([least, *(len(cells[head]) for cells in body)]) for head, least in (("NAME", 4), ("STATE", 7)))
    widths = {"NAME": min(names, _NAME), "STATE": states, **_WIDTHS}
    for columns in _DISPENSABLE:
        if _total(widths) <= width:
            break
        for column in columns:
            widths.pop(column)
    widths["NAME"] = min(names, widths["NAME"] + max(0, width - _total(widths)))
    return widths


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + len(widths) - 1


def _style(head: str, row: Row) -> str:
    if head == "STATE":
        return STATES.get(row.line.sample.status.state, "red")
    return "dim" if row.part else "green" if head in _TITLES else ""


def _unicode() -> bool:
    return sys.stdout.encoding.lower().startswith("utf")
