"""What the kernel counts of a tap, told as the guest at its other end sees it."""

import os
from pathlib import Path

import pytest
from support.world import ip, until

from kvmrun.host.facts import host_usage
from kvmrun.host.links import tap_device


@pytest.mark.usefixtures("netns", "tun")
def test_what_the_guest_sends_and_receives() -> None:
    (tap,) = tap_device.open_tap("tap-vm1", 1)
    try:
        ip("link", "set", "tap-vm1", "up")
        before = host_usage.link_counters()["tap-vm1"].of_guest("eth0")
        frame = bytes(10) + b"\xff" * 6 + bytes.fromhex("525400000001") + b"\x88\xb5" + bytes(86)  # 10: the vnet header
        for _ in range(3):
            os.write(tap, frame)
        sent = host_usage.link_counters()["tap-vm1"].of_guest("eth0")
        assert (sent.name, sent.sent_packets - before.sent_packets) == ("eth0", 3)
        assert sent.sent_bytes - before.sent_bytes == 3 * (len(frame) - 10)
        os.set_blocking(tap, False)
        until(lambda: _received(tap))  # the kernel's own multicast, as soon as the link is up
        assert host_usage.link_counters()["tap-vm1"].of_guest("eth0").received_packets > 0
    finally:
        os.close(tap)
    assert "tap-vm1" not in host_usage.link_counters()
    assert "lo" in host_usage.link_counters()


def _received(tap: int) -> bool:
    try:
        return bool(os.read(tap, 2048))
    except BlockingIOError:
        return False


def test_the_host_is_measured() -> None:
    before = host_usage.host_load()
    assert before.cpus == os.cpu_count()
    assert 0 < before.used_bytes < before.memory_bytes
    total = int(Path("/proc/meminfo").read_text().split()[1]) << 10
    assert before.memory_bytes == total
    until(lambda: host_usage.host_load().cpu_percent(before) is not None)
    percent = host_usage.host_load().cpu_percent(before)
    assert percent is not None
    assert 0 <= percent <= 100.5
