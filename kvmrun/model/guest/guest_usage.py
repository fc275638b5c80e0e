"""What a guest has used up to one moment, and from two such moments the rates between them."""

from collections.abc import Iterable, Iterator
from typing import Self, TypeVar

from kvmrun.model.guest.guest_status import Status
from kvmrun.model.value import Value


class DriveRate(Value):
    """Bytes and requests a second."""

    name: str
    read_bytes: float
    written_bytes: float
    reads: float
    writes: float


class NicRate(Value):
    """Bytes and packets a second, as the guest sees it."""

    name: str
    received_bytes: float
    sent_bytes: float
    received_packets: float
    sent_packets: float


class DriveCount(Value):
    """What went through one drive since its guest began. Times are nanoseconds, summed over the requests."""

    name: str
    read_bytes: int
    written_bytes: int
    reads: int
    writes: int
    flushes: int
    read_ns: int
    write_ns: int

    def rate(self, before: Self, seconds: float) -> DriveRate:
        """The mean since `before`."""
        return DriveRate(
            name=self.name,
            read_bytes=(self.read_bytes - before.read_bytes) / seconds,
            written_bytes=(self.written_bytes - before.written_bytes) / seconds,
            reads=(self.reads - before.reads) / seconds,
            writes=(self.writes - before.writes) / seconds,
        )


class NicCount(Value):
    """What went through one NIC since its guest began, as the guest sees it: received is what the host sent."""

    name: str
    received_bytes: int
    sent_bytes: int
    received_packets: int
    sent_packets: int
    received_dropped: int
    sent_dropped: int

    def rate(self, before: Self, seconds: float) -> NicRate:
        """The mean since `before`."""
        return NicRate(
            name=self.name,
            received_bytes=(self.received_bytes - before.received_bytes) / seconds,
            sent_bytes=(self.sent_bytes - before.sent_bytes) / seconds,
            received_packets=(self.received_packets - before.received_packets) / seconds,
            sent_packets=(self.sent_packets - before.sent_packets) / seconds,
        )


_Count = TypeVar("_Count", DriveCount, NicCount)


class GuestUsage(Value):
    """One guest at one moment: `at` in seconds on a clock that never jumps, `cpu_s` as counted by the kernel.

    None, or no drives, where it could not be asked. `balloon_bytes` is what its balloon leaves it, None without one.
    """

    at: float
    status: Status
    cpu_s: float | None = None
    balloon_bytes: int | None = None
    drives: tuple[DriveCount, ...] = ()
    nics: tuple[NicCount, ...] = ()


class HostUsage(Value):
    """The host itself: seconds its cores were busy, and all they had, since it began; memory in bytes."""

    cpus: int
    busy_s: float
    total_s: float
    memory_bytes: int
    used_bytes: int

    def cpu_percent(self, before: Self) -> float | None:
        """How busy it was since `before`, all cores together being 100; None in no time."""
        seconds = self.total_s - before.total_s
        return round(max(0.0, self.busy_s - before.busy_s) / seconds * 100, 1) if seconds > 0 else None


class UsageRates(Value):
    """What a guest uses a second; 100 is one core. None, or nothing, where two moments are still to come."""

    cpu_percent: float | None = None
    drives: tuple[DriveRate, ...] = ()
    nics: tuple[NicRate, ...] = ()

    @property
    def disk(self) -> tuple[float, float] | None:
        """Bytes read and written, of all drives."""
        return _sums((one.read_bytes, one.written_bytes) for one in self.drives)

    @property
    def network(self) -> tuple[float, float] | None:
        """Bytes received and sent, of all NICs."""
        return _sums((one.received_bytes, one.sent_bytes) for one in self.nics)

    @classmethod
    def between(cls, before: GuestUsage | None, now: GuestUsage) -> Self:
        """The rates of one guest. A QEMU that was started anew meanwhile has none yet, nor has a drive that is new."""
        if before is None or before.status.pid != now.status.pid or (seconds := now.at - before.at) <= 0:
            return cls()
        cpu = None
        if before.cpu_s is not None and now.cpu_s is not None:
            cpu = round(max(0.0, now.cpu_s - before.cpu_s) / seconds * 100, 1)
        return cls(
            cpu_percent=cpu,
            drives=tuple(drive.rate(old, seconds) for old, drive in _pairs(before.drives, now.drives)),
            nics=tuple(nic.rate(old, seconds) for old, nic in _pairs(before.nics, now.nics)),
        )


class UsageSnapshot(Value):
    """The host and every guest of the lab at one moment."""

    load: HostUsage
    guests: tuple[GuestUsage, ...]

    def rates(self, before: "UsageSnapshot | None") -> dict[str, UsageRates]:
        """What each guest has used a second since `before`, by its name."""
        old = {one.status.name: one for one in before.guests} if before else {}
        return {one.status.name: UsageRates.between(old.get(one.status.name), one) for one in self.guests}


def _pairs(before: Iterable[_Count], now: Iterable[_Count]) -> Iterator[tuple[_Count, _Count]]:
    """Each counter with what it was before; one that has gone back was begun anew, and has no earlier."""
    old = {one.name: one for one in before}
    for one in now:
        was = old.get(one.name)
        if was is not None and all(was.__dict__[key] <= one.__dict__[key] for key in one.FIELDS if key != "name"):
            yield was, one


def _sums(pairs: Iterable[tuple[float, float]]) -> tuple[float, float] | None:
    found = list(pairs)
    return (sum(one for one, _ in found), sum(other for _, other in found)) if found else None
