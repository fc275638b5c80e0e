"""Rates between two moments, and none where they would be made up."""

from typing import Any

from kvmrun.model.guest.guest_status import Status
from kvmrun.model.guest.guest_usage import DriveCount, GuestUsage, HostUsage, NicCount, UsageRates


def drive(name: str = "drive0", **counts: int) -> DriveCount:
    zero = dict.fromkeys(DriveCount.FIELDS, 0)
    return DriveCount(**{**zero, "name": name, **counts})


def nic(name: str = "eth0", **counts: int) -> NicCount:
    return NicCount(**{**dict.fromkeys(NicCount.FIELDS, 0), "name": name, **counts})


def sample(at: float, *, pid: int | None = 7, **more: Any) -> GuestUsage:
    return GuestUsage(at=at, status=Status(name="vm1", state="running", pid=pid), **more)


def test_rates_are_what_came_between_a_second() -> None:
    before = sample(10.0, cpu_s=1.0, drives=(drive(read_bytes=100),), nics=(nic(sent_bytes=5, sent_packets=1),))
    now = sample(
        12.0,
        cpu_s=4.0,
        drives=(drive(read_bytes=300, reads=4),),
        nics=(nic(sent_bytes=25, sent_packets=3, received_bytes=8),),
    )
    found = UsageRates.between(before, now)
    assert found.cpu_percent == 150.0
    assert (found.drives[0].read_bytes, found.drives[0].reads) == (100, 2)
    assert (found.disk, found.network) == ((100, 0), (4, 10))


def test_the_sums_are_those_of_all_drives_and_cards() -> None:
    before = sample(0.0, drives=(drive(), drive("drive1")), nics=(nic(), nic("eth1")))
    now = sample(
        1.0,
        drives=(drive(written_bytes=1), drive("drive1", written_bytes=2)),
        nics=(nic(received_bytes=4), nic("eth1", received_bytes=8)),
    )
    found = UsageRates.between(before, now)
    assert (found.disk, found.network) == ((0, 3), (12, 0))


def test_nothing_is_made_up() -> None:
    one = sample(1.0, cpu_s=9.0, drives=(drive(reads=9),))
    assert UsageRates.between(None, one) == UsageRates()
    assert UsageRates.between(one, one) == UsageRates()
    assert UsageRates.between(one.replace(at=0.0, status=one.status.replace(pid=8)), one) == UsageRates()
    assert UsageRates.between(sample(0.0), one).drives == ()
    assert UsageRates.between(one, sample(2.0, drives=(drive(reads=3),))) == UsageRates(cpu_percent=None)
    assert (UsageRates().disk, UsageRates().network) == (None, None)


def test_the_host_is_busy_in_parts_of_all_its_cores() -> None:
    before = HostUsage(cpus=2, busy_s=10.0, total_s=100.0, memory_bytes=8, used_bytes=4)
    assert before.replace(busy_s=11.0, total_s=104.0).cpu_percent(before) == 25.0
    assert before.cpu_percent(before) is None
