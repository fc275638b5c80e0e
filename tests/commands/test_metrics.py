"""Metrics of a guest that runs: printed, and written to a file for whoever collects them."""

import os
import stat
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.builders import TCG
from support.cli import Cli
from support.world import until, world

pytestmark = pytest.mark.usefixtures("netns", "tun")

DEFINITION = TCG + 'args = ["-device virtio-balloon"]\n[[drive]]\nimage = "vm1.qcow2"\nsize = "1M"\n'


def read(text: str) -> dict[str, float]:
    """The values of vm1 by their names."""
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return {one.name: one.value for one in samples if one.labels.get("guest") == "vm1"}


@pytest.mark.boots
def test_what_a_guest_has_used(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    (lab / "vm1.toml").write_text(DEFINITION)
    assert read(kvmrun.ok("metrics").out)["kvmrun_guest_memory_bytes"] == 32 << 20
    kvmrun.ok("vm1")
    until(lambda: read(kvmrun.ok("metrics").out)["kvmrun_guest_drive_reads_total"] >= 1)  # the firmware has begun
    before = world()["files"]
    found = read(kvmrun.ok("metrics").out)
    assert world()["files"] == before
    assert found["kvmrun_guest_cpu_seconds_total"] > 0
    assert found["kvmrun_guest_balloon_bytes"] == 32 << 20
    assert found["kvmrun_guest_drive_reads_total"] >= 1
    assert found["kvmrun_guest_drive_read_bytes_total"] >= 512
    assert found["kvmrun_guest_nic_receive_packets_total"] >= 0

    target = own_directories / "kvmrun.prom"
    target.write_text("old")
    kvmrun.ok("metrics", str(target))
    assert read(target.read_text()).keys() == found.keys()
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert not [name for name in os.listdir(own_directories) if "part" in name]
    assert kvmrun("metrics", str(own_directories)).code == 6
    assert kvmrun("metrics", str(own_directories / "no/kvmrun.prom")).code == 1
