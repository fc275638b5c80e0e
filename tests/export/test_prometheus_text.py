"""Metrics as Prometheus reads them, whatever the names are."""

import re

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from kvmrun.export import prometheus_text
from kvmrun.model.guest.guest_status import NicStatus, Status
from kvmrun.model.guest.guest_usage import DriveCount, GuestUsage, NicCount

GUEST = Status(
    name="vm1",
    state="running",
    accel="kvm",
    pid=7,
    uptime_s=60,
    cpus=2,
    memory_bytes=1 << 30,
    rss_bytes=1 << 29,
    uuid="u",
    nics=(NicStatus(name="eth0", network="lan", tap="tap-vm1", mac="m", address=None),),
)
NIC = NicCount(**{**dict.fromkeys(NicCount.FIELDS, 0), "name": "eth0", "received_bytes": 11, "sent_dropped": 3})
DRIVE = DriveCount(**{**dict.fromkeys(DriveCount.FIELDS, 0), "name": "drive0", "read_ns": 1_500_000_000, "writes": 4})
SAMPLE = GuestUsage(at=1.0, status=GUEST, cpu_s=2.5, balloon_bytes=1 << 28, drives=(DRIVE,), nics=(NIC,))


def read(*samples: GuestUsage) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every value by its name and labels, as the reference parser understands the text."""
    text = prometheus_text.metrics_text(samples, "1.2.3")
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation.endswith(".")
        assert family.type in {"gauge", "counter"}
        for one in family.samples:
            key = one.name, frozenset(one.labels.items())
            assert key not in found, "a series twice"
            found[key] = one.value
    return found


def value(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return found[f"kvmrun_{name}", frozenset(labels.items())]


def test_every_value_is_read_back() -> None:
    found = read(SAMPLE)
    eth0 = {"guest": "vm1", "nic": "eth0", "tap": "tap-vm1", "network": "lan"}
    assert value(found, "build_info", version="1.2.3") == 1
    assert value(found, "guest_info", guest="vm1", uuid="u", accel="kvm") == 1
    assert value(found, "guest_state", guest="vm1", state="running") == 1
    assert value(found, "guest_state", guest="vm1", state="unresponsive") == 0
    assert value(found, "guest_cpu_seconds_total", guest="vm1") == 2.5
    assert value(found, "guest_resident_memory_bytes", guest="vm1") == 1 << 29
    assert value(found, "guest_balloon_bytes", guest="vm1") == 1 << 28
    assert value(found, "guest_drive_read_seconds_total", guest="vm1", drive="drive0") == 1.5
    assert value(found, "guest_drive_writes_total", guest="vm1", drive="drive0") == 4
    assert value(found, "guest_nic_receive_bytes_total", **eth0) == 11
    assert value(found, "guest_nic_transmit_drop_total", **eth0) == 3


def test_what_is_not_known_is_not_there() -> None:
    found = read(GuestUsage(at=1.0, status=Status(name="bad", state="invalid", problem="what")))
    names = {name for name, _ in found}
    assert names == {f"kvmrun_{one}" for one in ("build_info", "guest_info", "guest_state", "guest_problem")}
    assert value(found, "guest_problem", guest="bad") == 1


def test_a_state_of_qemus_own_is_one_more() -> None:
    found = read(SAMPLE.replace(status=GUEST.replace(state="guest-panicked")))
    assert value(found, "guest_state", guest="vm1", state="guest-panicked") == 1
    assert sum(number for (name, _), number in found.items() if name == "kvmrun_guest_state") == 1


def test_names_follow_the_rules_of_prometheus() -> None:
    for name, kind in re.findall(r"# TYPE (\S+) (\S+)", prometheus_text.metrics_text([SAMPLE], "1")):
        assert re.fullmatch(r"kvmrun_[a-z0-9_]*[a-z]", name)
        assert (kind == "counter") == name.endswith("_total")
        assert not re.search(r"_(ms|ns|mib|kb|percent)(_|$)", name), "base units only"


@given(st.text(min_size=1))
def test_any_text_is_a_label(text: str) -> None:
    odd = text.encode("utf-8", "replace").decode()
    found = read(SAMPLE.replace(drives=(DRIVE.replace(name=odd),)))
    assert value(found, "guest_drive_writes_total", guest="vm1", drive=odd) == 4
