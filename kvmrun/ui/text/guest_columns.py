"""The list as columns of text: what a terminal's table and a pipe's plain lines have in common."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from kvmrun.model.guest.guest_status import Confinement, Status
from kvmrun.model.printable import printable
from kvmrun.model.value import Value

HEADS = ("NAME", "STATE", "ACCEL", "PID", "UPTIME", "CPU%", "MEMORY", "TAP", "MAC", "ADDRESS", "DISPLAY", "PROBLEM")
HELD = ("NAME", "STATE", "UID", "SECCOMP", "CAPS", "NEWPRIVS", "GUARD", "KVM", "ARGS", "ADDRESS", "PROBLEM")
_RARE = frozenset({"DISPLAY", "PROBLEM"})
_DASH = "-"


class View(Value):
    """What is shown of every guest: the columns, and what stands in them.

    `spare` are those that may go on a narrow terminal, the first to go first.
    """

    heads: tuple[str, ...]
    cells: Callable[[Status], tuple[str, ...]]
    spare: tuple[str, ...]


def guest_cells(status: Status) -> tuple[str, ...]:
    """One row, a cell a head; several NICs take several lines of a cell."""
    used = f"{mib(status.rss_bytes)}/" if status.rss_bytes is not None else ""
    return (
        printable(status.name, 60),
        _state(status),
        printable(status.accel or _DASH, 20) + (" +args" if status.raw_args else ""),
        str(status.pid or _DASH),
        _DASH if status.uptime_s is None else duration(status.uptime_s),
        _DASH if status.cpu_percent is None else f"{status.cpu_percent:.0f}",
        used + (mib(status.memory_bytes) if status.memory_bytes else _DASH),
        "\n".join(printable(nic.tap, 20) for nic in status.nics) or _DASH,
        "\n".join(printable(nic.mac, 20) for nic in status.nics) or _DASH,
        "\n".join(printable(nic.address or _DASH, 40) for nic in status.nics) or _DASH,
        printable(status.display or _DASH, 120),
        printable(status.problem or "", 400),
    )


def confinement_cells(status: Status) -> tuple[str, ...]:
    """One row of how guests are held, and the addresses they tell: what is less than it should be is in capitals."""
    now = status.confinement or Confinement()
    return (
        printable(status.name, 60),
        _state(status),
        _DASH if now.uid is None else f"{now.uid}" if now.uid else "ROOT",
        _word(now.seccomp, "on", "OFF"),
        _DASH if now.capabilities is None else f"{now.capabilities:X}" if now.capabilities else "none",
        _word(now.no_new_privs, "no", "YES"),
        {"gone": "GONE", "none": "NONE"}.get(now.guard or _DASH, now.guard or _DASH),
        _word(now.kvm, "on", "off"),
        "raw" if status.raw_args else "none",
        "\n".join(printable(one, 80) for one in _addresses(status)) or _DASH,
        printable(status.problem or "", 400),
    )


def _addresses(status: Status) -> Iterator[str]:
    """Each address of a guest once, with how it is known."""
    known = [nic.address for nic in status.nics if nic.address]
    yield from (f"{nic.address} ({nic.address_source})" for nic in status.nics if nic.address)
    told = (one for nic in status.agent or () for one in nic.addresses)
    yield from (f"{one} (agent)" for one in told if one.partition("/")[0] not in known)


LIVE = View(heads=HEADS, cells=guest_cells, spare=("DISPLAY", "ACCEL", "PID", "TAP", "CPU%", "UPTIME", "MAC", "MEMORY"))
CONFINEMENT = View(heads=HELD, cells=confinement_cells, spare=("ARGS", "KVM", "NEWPRIVS"))


def with_lab(view: View) -> View:
    """The view with the lab of each guest behind its name."""
    name, *others = view.heads

    def cells(status: Status) -> tuple[str, ...]:
        first, *rest = view.cells(status)
        return first, printable(status.lab or _DASH, 120), *rest

    return View(heads=(name, "LAB", *others), cells=cells, spare=view.spare)


def plain(found: list[Status], view: View = LIVE) -> str:
    """Lines for a pipe: one a guest, columns aligned, nothing cut, the problem last."""
    body = [view.cells(one) for one in found]
    shown = [number for number, head in enumerate(view.heads) if is_column_needed(head, (row[number] for row in body))]
    return align([[row[number].replace("\n", ",") for number in shown] for row in (view.heads, *body)])


def is_column_needed(head: str, column: Iterable[str]) -> bool:
    """Whether a column is shown: those that are mostly empty are where there is something in them."""
    return head not in _RARE or any(cell not in {"", _DASH} for cell in column)


def align(table: Sequence[Sequence[str]]) -> str:
    """Lines of columns, each as wide as its widest cell."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in table
    )


def _state(status: Status) -> str:
    return printable(status.state, 40) + (" +throwaway" if status.throwaway else "")


def _word(value: bool | None, yes: str, no: str) -> str:
    return _DASH if value is None else yes if value else no


def mib(size: int | None) -> str:
    if size is None:
        return _DASH
    return f"{size / (1 << 30):.1f}G" if size >= 10 << 30 else f"{size >> 20}M"


def duration(seconds: int) -> str:
    """The two largest units: 3d4h, 5h12m, 7m3s, 9s."""
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{seconds % 60}s" if minutes else f"{seconds}s"
