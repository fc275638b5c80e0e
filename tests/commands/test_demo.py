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
NAMES = {"ursa-vm1": "192.168.0.1", "vm2": "192.168.0.2"}


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
def test_its_guests_are_reached_reach_each_other_and_power_down(kvmrun: Cli) -> None:
    before = world()
    kvmrun.limit = 150
    kvmrun.ok("up", *NAMES, "--accel", "tcg", "--wait=address", "--timeout", "120")
    kvmrun.ok("wait", *NAMES, "--for", "console:ready", "--timeout", "60")
    running = {name: row for name, row in kvmrun.rows().items() if row["state"] == "running"}
    assert {name: row["nics"][0]["address"] for name, row in running.items()} == NAMES
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
    assert "QEMU" not in out
    assert {row["state"] for row in kvmrun.rows().values()} == {"stopped"}
    kvmrun.ok("net", "down")
    assert world_after(before) == before
