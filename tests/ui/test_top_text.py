"""Rates in words and bars."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmrun.model.guest.guest_status import NicStatus, Status
from kvmrun.model.guest.guest_usage import (
    DriveRate,
    GuestUsage,
    HostUsage,
    NicCount,
    NicRate,
    UsageRates,
    UsageSnapshot,
)
from kvmrun.ui.screen import top_text

LOAD = HostUsage(cpus=2, busy_s=1.0, total_s=10.0, memory_bytes=8 << 30, used_bytes=4 << 30)
ETH0 = NicStatus(name="eth0", network="lan", tap="tap-vm1", mac="m", address=None)
VM1 = Status(name="vm1", state="running", pid=7, cpus=1, memory_bytes=512 << 20, rss_bytes=100 << 20, nics=(ETH0,))
RATES = UsageRates(
    cpu_percent=41.4,
    drives=(DriveRate(name="drive0", read_bytes=1e6, written_bytes=0.0, reads=1.0, writes=0.0),),
    nics=(NicRate(name="eth0", received_bytes=2048.0, sent_bytes=0.0, received_packets=1.0, sent_packets=0.0),),
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (999, "999"),
        (999.6, "1.0K"),
        (1536, "1.5K"),
        (307200, "300K"),
        (5e7, "48M"),
        (3e12, "2794G"),
    ],
)
def test_a_rate_is_short(value: float | None, text: str) -> None:
    assert top_text.rate(value) == text


@given(st.floats(min_value=0, max_value=1e13))
def test_a_rate_fits_its_column(value: float) -> None:
    assert len(top_text.rate(value)) <= 5


def test_bars_grow_with_their_values() -> None:
    assert top_text.spark([0, 0.1, 50, 100, 900], 100, bars=True) == " ▁▅██"
    assert top_text.spark([0, 0.1, 100], 100, bars=False) == " .@"


def test_a_guest_is_a_row_and_its_parts_are_rows() -> None:
    sample = GuestUsage(at=1.0, status=VM1)
    assert top_text.cells(sample, RATES) == ("vm1", "running", "41", "100M/512M", "977K", "0", "2.0K", "0")
    assert top_text.cells(sample.replace(balloon_bytes=256 << 20), UsageRates())[2:] == (
        "-",
        "100M/256M",
        "-",
        "-",
        "-",
        "-",
    )
    assert list(top_text.parts(RATES)) == [
        ("drive0", "", "", "", "977K", "0", "", ""),
        ("eth0", "", "", "", "", "", "2.0K", "0"),
    ]


def test_plain_lines() -> None:
    nic = NicCount(**{**dict.fromkeys(NicCount.FIELDS, 0), "name": "eth0"})
    resting = GuestUsage(at=1.0, status=Status(name="vm2", state="stopped", memory_bytes=32 << 20))
    before = UsageSnapshot(load=LOAD, guests=(GuestUsage(at=1.0, status=VM1, cpu_s=1.0, nics=(nic,)), resting))
    now = before.replace(
        guests=(GuestUsage(at=2.0, status=VM1, cpu_s=1.5, nics=(nic.replace(sent_bytes=5000),)), resting)
    )
    head, vm1, eth0 = top_text.plain(now, before, everybody=False, details=True).splitlines()
    assert head.split() == list(top_text.HEADS)
    assert vm1.split() == ["vm1", "running", "50", "100M/512M", "-", "-", "0", "4.9K"]
    assert eth0.split() == ["eth0", "0", "4.9K"]
    assert top_text.plain(now, before, everybody=True, details=False).splitlines()[-1].split()[:2] == ["vm2", "stopped"]
