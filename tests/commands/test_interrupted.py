"""A start that fails, is interrupted or is killed at any of its steps: nothing is left, or the next one mends it."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.cli import TCG, Cli, guests
from fakes.world import link, world, world_after

pytestmark = pytest.mark.usefixtures("netns", "tun")

HARMED = """
import errno, os, signal, sys
from kvmrun import cli
from kvmrun.commands import _confirm
from kvmrun.host import apply

how, when, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

def harm():
    if how == "fail":
        raise OSError(errno.ENOSPC, "no room")
    signal.raise_signal(getattr(signal, how))

def around(do):
    def step(*words, **more):
        global count
        count -= 1
        mine = count == -1
        if mine and when == "before":
            harm()
        result = do(*words, **more)
        if mine and when == "after":
            harm()
        return result
    return step

def hand(do, step):
    return do_one(around(do), step)

do_one = apply._done
apply._done = hand
_confirm.handshake.check = around(_confirm.handshake.check)
_confirm.rundir.write_record = around(_confirm.rundir.write_record)
_confirm.handshake.resume = around(_confirm.handshake.resume)
code = cli.run(sys.argv[4:])
sys.stdout.flush()
os._exit(code)
"""


@pytest.fixture(autouse=True)
def images(lab: Path) -> None:
    """A guest with an image that its first start makes."""
    guests(lab, "vm1", text=TCG + '[[drive]]\nimage = "new.qcow2"\nsize = "1M"\n')


def each_step(kvmrun: Cli, how: str, when: str, code: int) -> Iterator[int]:
    """Starts vm1 again and again, harmed at one step after the other, until there is none left to harm."""
    for step in range(100):
        result = Cli([sys.executable, "-c", HARMED, how, when, str(step), *kvmrun.words[3:]])("vm1")
        if result.code == 0 and step > 15:
            return
        assert result.code == code, f"step {step}: exit {result.code}\n{result.out}{result.err}"
        yield step


def test_a_failure_at_any_step_is_undone(kvmrun: Cli, own_directories: Path) -> None:
    before = world()
    for step in each_step(kvmrun, "fail", "before", 1):
        assert world_after(before) == before, step
        assert not list(own_directories.glob("state/images/*")), step


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupt_at_any_step_is_undone(kvmrun: Cli, own_directories: Path, name: str, code: int) -> None:
    before = world()
    for step in each_step(kvmrun, name, "after", code):
        assert world_after(before) == before, step
        assert not list(own_directories.glob("state/images/*")), step


def test_a_kill_at_any_step_is_mended_by_the_next_start(kvmrun: Cli) -> None:
    before = world()
    for step in each_step(kvmrun, "SIGKILL", "after", -signal.SIGKILL):
        kvmrun.ok("list")
        kvmrun.ok("vm1")
        row = kvmrun.rows()["vm1"]
        assert (row["state"], row["problem"]) == ("running", None), step
        kvmrun.ok("kill", "vm1")
        kvmrun.ok("net", "down")
        assert world_after(before) == before, step


HALF_MADE = """
import os, signal, sys
from contextlib import contextmanager
from kvmrun import cli
from kvmrun.host import netlink

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
    assert half.code == -signal.SIGKILL
    kvmrun.ok("net", "up")
    found = link("br0")
    assert found
    assert found["ifalias"] == "kvmrun:net:lan"
    kvmrun.ok("net", "down")
    assert world_after(before) == before
