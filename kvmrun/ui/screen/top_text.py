"""What guests use a second, in words and little bars: what the live view and the plain lines have in common."""

from collections.abc import Iterable, Iterator

from kvmrun.model.guest.guest_usage import GuestUsage, UsageRates, UsageSnapshot
from kvmrun.model.printable import printable
from kvmrun.ui.text.guest_columns import align, mib

HEADS = ("NAME", "STATE", "CPU%", "MEMORY", "READ", "WRITE", "IN", "OUT")
_BARS, _PLAIN_BARS = "▁▂▃▄▅▆▇█", ".:-=+*#@"
_DASH = "-"
_AT_REST = frozenset({"stopped", "invalid"})


def at_work(sample: GuestUsage) -> bool:
    """Whether there is something to measure, or something wrong that should be seen."""
    return sample.status.state not in _AT_REST


def cells(sample: GuestUsage, rates: UsageRates) -> tuple[str, ...]:
    """One guest: a cell a head; of its memory what it occupies and what it may have."""
    status = sample.status
    given = sample.balloon_bytes or status.memory_bytes
    used = f"{mib(status.rss_bytes)}/" if status.rss_bytes is not None else ""
    return (
        printable(status.name, 60),
        printable(status.state, 40),
        _DASH if rates.cpu_percent is None else f"{rates.cpu_percent:.0f}",
        used + (mib(given) if given else _DASH),
        *map(rate, rates.disk or (None, None)),
        *map(rate, rates.network or (None, None)),
    )


def parts(rates: UsageRates) -> Iterator[tuple[str, ...]]:
    """The drives and NICs of a guest, each as the cells of a row of its own."""
    for drive in rates.drives:
        yield printable(drive.name, 40), "", "", "", rate(drive.read_bytes), rate(drive.written_bytes), "", ""
    for nic in rates.nics:
        yield printable(nic.name, 40), "", "", "", "", "", rate(nic.received_bytes), rate(nic.sent_bytes)


def plain(now: UsageSnapshot, before: UsageSnapshot, *, everybody: bool, details: bool) -> str:
    """Lines for a pipe: one a guest, with `details` one a drive and NIC as well."""
    rates = now.rates(before)
    table: list[tuple[str, ...]] = [HEADS]
    for sample in now.guests:
        if everybody or at_work(sample):
            found = rates[sample.status.name]
            table.append(cells(sample, found))
            table += [(f"  {name}", *rest) for name, *rest in parts(found)] if details else []
    return align(table)


def rate(value: float | None) -> str:
    """Bytes a second, in at most five characters: 0, 999, 1.5K, 300K, 12M."""
    if value is None:
        return _DASH
    power = 0
    while value >= 999.5 and power < 3:
        value, power = value / 1024, power + 1
    return f"{value:.{1 if power and value < 9.95 else 0}f}{('', 'K', 'M', 'G')[power]}"


def spark(values: Iterable[float], top: float, *, bars: bool) -> str:
    """A little bar for each of `values`, `top` being a whole one; a value above nothing is never an empty bar."""
    levels = _BARS if bars else _PLAIN_BARS
    steps = len(levels)
    return "".join(
        " " if value <= 0 else levels[min(steps - 1, int(value / top * steps))] if top else levels[0]
        for value in values
    )
