"""A start that fails, is interrupted or is killed at any of its steps: nothing is left, or the next one mends it."""

import sys
from pathlib import Path
from signal import SIGKILL, Signals

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.world import difference, link, world, world_after

pytestmark = pytest.mark.usefixtures("netns", "tun")

PARTS = ("apply ", "check", "write_record", "resume")
"""What of a start can fail by itself; the rest is tidying."""


@pytest.fixture(autouse=True)
def images(lab: Path) -> None:
    """A guest with an image that its first start makes."""
    guests(lab, "vm1", text=TCG + '[[drive]]\nimage = "new.qcow2"\nsize = "1M"\n')


@pytest.fixture
def steps(kvmrun: Cli, own_directories: Path) -> dict[int, str]:
    """The steps of a start until the guest is let run, by number."""
    path = own_directories / "steps"
    kvmrun.ok("vm1")  # the first start writes down the version of the machine
    kvmrun.ok("kill", "vm1")
    kvmrun.ok("net", "down")
    (own_directories / "state/images/new.qcow2").unlink()
    assert kvmrun.call("vm1", harm=("steps", str(path), "-1")).code == 0
    kvmrun.ok("kill", "vm1")
    kvmrun.ok("net", "down")
    (own_directories / "state/images/new.qcow2").unlink()
    names = path.read_text().splitlines()
    return {n: name for n, name in enumerate(names) if n <= names.index("resume") and name.startswith(PARTS)}


def every_second(steps: dict[int, str], first: int = 0) -> list[tuple[int, str]]:
    """Half of the steps; tests/faults has the rest in its full tier."""
    return [*steps.items()][first::2]


def test_a_failure_at_any_step_is_undone(kvmrun: Cli, steps: dict[int, str], own_directories: Path) -> None:
    before = world()
    for number, name in steps.items():
        result = kvmrun.call("vm1", harm=("ENOSPC", "before", str(number)))
        assert result.code == 1, f"{name}: {result.err}"
        assert not difference(before, world_after(before)), name
        assert not list(own_directories.glob("state/images/*")), name


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM"])
def test_an_interrupt_at_any_step_is_undone(
    kvmrun: Cli, steps: dict[int, str], own_directories: Path, signal: str
) -> None:
    before = world()
    for number, name in every_second(steps, first=signal == "SIGTERM"):
        result = kvmrun.call("vm1", harm=(signal, "after", str(number)))
        assert result.code == 128 + Signals[signal], f"{name}: {result.err}"
        assert not difference(before, world_after(before)), name
        assert not list(own_directories.glob("state/images/*")), name


def test_a_kill_at_any_step_is_mended_by_the_next_start(kvmrun: Cli, steps: dict[int, str]) -> None:
    before = world()
    for number, name in every_second(steps):
        assert kvmrun.call("vm1", harm=("KILL:launcher", "after", str(number))).code == -SIGKILL, name
        kvmrun.ok("list")
        kvmrun.ok("vm1")
        row = kvmrun.rows()["vm1"]
        assert (row["state"], row["problem"]) == ("running", None), name
        kvmrun.ok("kill", "vm1")
        kvmrun.ok("net", "down")
        assert not difference(before, world_after(before)), name


HALF_MADE = """
import os, signal, sys
from contextlib import contextmanager
from kvmrun.cli import main as cli
from kvmrun.host.links import pyroute2_links as netlink

count = int(sys.argv[1])
kernel = netlink.kernel

class Harmed:
    def __init__(self, route):
        self._route = route

    def __getattr__(self, name):
        do = getattr(self._route, name)
        def call(*words, **more):
            global count
            found = do(*words, **more)
            if words and words[0] != "get":
                count -= 1
                if count == -1:
                    os.kill(os.getpid(), signal.SIGKILL)
            return found
        return call

@contextmanager
def harmed(doing):
    with kernel(doing) as route:
        yield Harmed(route)

netlink.kernel = harmed
sys.exit(cli.run(sys.argv[2:]))
"""


@pytest.mark.parametrize("write", range(8))
def test_a_bridge_half_made_is_no_foreign_bridge(lab: Path, kvmrun: Cli, write: int) -> None:
    """Made, marked, named; MAC, spanning tree, delay; address; up."""
    guests(lab, "vm1")
    before = world()
    half = Cli([sys.executable, "-c", HALF_MADE, str(write), *kvmrun.words[3:]])("net", "up")
    assert half.code == -SIGKILL
    kvmrun.ok("net", "up")
    found = link("br0")
    assert found
    assert found["ifalias"] == f"kvmrun:net:lan:{lab}"
    kvmrun.ok("net", "down")
    assert world_after(before) == before
