"""The limits of a drive: requests and bytes in a second, which QEMU holds back by a throttle group of its own."""

from collections.abc import Iterator, Mapping

from kvmrun.model.guest.qemu_option import Option
from kvmrun.model.scalars import Size

MOST = 10**15
"""What QEMU takes at most, of bytes as of requests."""
_NAMES = {
    "bps": "bps-total",
    "read_bps": "bps-read",
    "write_bps": "bps-write",
    "iops": "iops-total",
    "read_iops": "iops-read",
    "write_iops": "iops-write",
}
"""QEMU's name of each key."""
KEYS = tuple(_NAMES)
"""The keys of a drive."""


def problems(given: Mapping[str, int | None]) -> Iterator[tuple[str, str, str]]:
    """What is wrong with the limits of a drive, by their keys, as (key, found, wanted)."""
    for key, limit in given.items():
        if limit is not None and not 1 <= limit <= MOST:
            most = Size(MOST >> 40 << 40) if isinstance(limit, Size) else MOST
            yield key, f"{limit}", f"1 to {most}"
    for total in ("bps", "iops"):
        if given[total] and (given[f"read_{total}"] or given[f"write_{total}"]):
            yield total, f"{given[total]}", f"no value beside read_{total} and write_{total}, or those left out"


def limits(given: Mapping[str, int | None]) -> dict[str, int]:
    """The limits in QEMU's names; none for a drive without."""
    return {_NAMES[key]: int(limit) for key, limit in given.items() if limit}


def group_option(name: str, given: Mapping[str, int]) -> Option:
    return Option(flag="object", props={"qom-type": "throttle-group", "id": name, "limits": given})
