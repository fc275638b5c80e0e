"""Starting guests for real: bridge, tap, QEMU under TCG, each test in a network namespace of its own."""

from pathlib import Path

import pytest

from fakes.cli import Cli
from fakes.world import world

pytestmark = pytest.mark.usefixtures("netns", "tun")

TCG = 'accel = "tcg"\nmemory = "32M"\n'


def test_a_guest_starts_is_listed_and_stops_without_a_trace(lab: Path, kvmrun: Cli) -> None:
    (lab / "vm1.toml").write_text(TCG)
    before = world()
    kvmrun.ok("vm1")
    row = kvmrun.rows()["vm1"]
    assert (row["state"], row["accel"], row["problem"]) == ("running", "tcg", None)
    kvmrun.ok("stop", "--force", "vm1")
    kvmrun.ok("net", "down")
    assert world() == before


def test_starting_a_running_guest_says_so_and_changes_nothing(lab: Path, kvmrun: Cli) -> None:
    (lab / "vm1.toml").write_text(TCG)
    kvmrun.ok("vm1")
    before = world(), kvmrun.rows()["vm1"]["pid"]
    assert "running already" in kvmrun.ok("vm1").out
    assert (world(), kvmrun.rows()["vm1"]["pid"]) == before
