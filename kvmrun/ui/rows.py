"""The list as columns of text: what a terminal's table and a pipe's plain lines have in common."""

from kvmrun.model.status import Status
from kvmrun.model.text import printable

HEADS = ("NAME", "STATE", "ACCEL", "PID", "UPTIME", "CPU%", "MEMORY", "TAP", "MAC", "ADDRESS", "PROBLEM")
_DASH = "-"


def cells(status: Status) -> tuple[str, ...]:
    """One row, a cell a head; several NICs take several lines of a cell."""
    used = f"{_mib(status.rss_bytes)}/" if status.rss_bytes is not None else ""
    return (
        printable(status.name, 60),
        printable(status.state, 40),
        printable(status.accel or _DASH, 20) + (" +args" if status.raw_args else ""),
        str(status.pid or _DASH),
        _DASH if status.uptime_s is None else _duration(status.uptime_s),
        _DASH if status.cpu_percent is None else f"{status.cpu_percent:.0f}",
        used + (_mib(status.memory_bytes) if status.memory_bytes else _DASH),
        "\n".join(printable(nic.tap, 20) for nic in status.nics) or _DASH,
        "\n".join(printable(nic.mac, 20) for nic in status.nics) or _DASH,
        "\n".join(printable(nic.address or _DASH, 40) for nic in status.nics) or _DASH,
        printable(status.problem or "", 200),
    )


def plain(found: list[Status]) -> str:
    """Lines for a pipe: one a guest, columns aligned, nothing cut, the problem last and only where there is one."""
    table = [HEADS, *(cells(one) for one in found)]
    if not any(row[-1] for row in table[1:]):
        table = [row[:-1] for row in table]
    flat = [[cell.replace("\n", ",") for cell in row] for row in table]
    widths = [max(len(row[column]) for row in flat) for column in range(len(flat[0]))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in flat
    )


def _mib(size: int | None) -> str:
    if size is None:
        return _DASH
    return f"{size / (1 << 30):.1f}G" if size >= 10 << 30 else f"{size >> 20}M"


def _duration(seconds: int) -> str:
    """The two largest units: 3d4h, 5h12m, 7m3s, 9s."""
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{seconds % 60}s" if minutes else f"{seconds}s"
