"""The example lab with real Linux guests, emulated: reached from the host, reaching each other, powered down."""

import re
import shutil
import urllib.request
from pathlib import Path

import pytest
from support.cli import Cli
from support.world import world, world_after

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("netns", "tun")]

EXAMPLE = Path(__file__).parents[2] / "vms.d"
NAMES = {"ursa-vm1": "192.168.0.1", "vm2": "192.168.0.2", "vm3": "192.168.0.3", "vm4": "192.168.0.4"}


@pytest.fixture
def example(lab: Path, demo: str, own_directories: Path) -> None:
    for path in EXAMPLE.iterdir():
        shutil.copyfile(path, lab / path.name)
    (own_directories / "state").mkdir()
    (own_directories / "state/images").symlink_to(demo)


def page(address: str, path: str = "/") -> str:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=20) as answer:
        return str(answer.read().decode())


@pytest.mark.usefixtures("example")
def test_four_guests_are_reached_reach_each_other_and_power_down(kvmrun: Cli) -> None:
    before = world()
    kvmrun.limit = 150
    kvmrun.ok("up", "--all", "--accel", "tcg", "--wait=console:ready", "--timeout", "120")
    kvmrun.ok("up", "--all", "--wait=address", "--timeout", "60")
    rows = kvmrun.rows()
    assert {name: (row["state"], row["nics"][0]["address"]) for name, row in rows.items()} == {
        name: ("running", address) for name, address in NAMES.items()
    }
    for name, address in NAMES.items():
        assert page(address) == f"I am {name}\n"
        for other, there in NAMES.items():
            if other != name:
                assert f"I am {other}" in page(address, f"/cgi-bin/get?{there}")
    counted = kvmrun.ok("metrics").out
    for name in NAMES:
        for way in ("receive", "transmit"):
            (found,) = re.findall(
                rf'^kvmrun_guest_nic_{way}_bytes_total{{guest="{name}",.*}} (\d+)$', counted, re.MULTILINE
            )
            assert int(found) > 1000, (name, way)
    out = kvmrun.ok("stop", "--all", "--timeout", "60").out
    assert "did not power down" not in out
    assert {row["state"] for row in kvmrun.rows().values()} == {"stopped"}
    kvmrun.ok("net", "down")
    assert world_after(before) == before


@pytest.mark.usefixtures("example")
def test_a_start_waits_for_the_address(kvmrun: Cli) -> None:
    kvmrun.limit = 150
    kvmrun.ok("vm2", "--accel", "tcg", "--wait=address", "--timeout", "120")
    assert "did not power down" not in kvmrun.ok("stop", "vm2", "--timeout", "60").out
