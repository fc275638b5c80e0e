"""Many at once: one guest started by a hundred, fifty guests side by side, and everything at random for a long time."""

from pathlib import Path

import pytest
from fakes import herd
from fakes.cli import Cli, guests
from fakes.tally import Row, Tally
from fakes.world import processes, touchable, world, world_after

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(3600)]


def one_round(row: Row, lab: Path, kvmrun: Cli, most: int) -> float:
    """A hundred start it; how long the slowest took."""
    ended = herd.together(lab, [("vm1",)] * most)
    for one in ended:
        with row.case("one of many"):
            assert (one.code, "vm1 is running" in one.text) == (0, True), f"exit {one.code}: {one.text}"
    with row.case("the winner"):
        winners = [one.text for one in ended if "is running (" in one.text]
        assert len(winners) == 1, winners
        assert processes().count("/usr/bin/qemu-system-x86_64") == 1
        found = kvmrun.rows()["vm1"]
        assert (found["state"], found["problem"]) == ("running", None)
        assert f"pid {found['pid']})" in winners[0]
    return max(one.seconds for one in ended)


def test_one_guest_is_started_by_a_hundred(tally: Tally, lab: Path, kvmrun: Cli) -> None:
    row = tally.row("C-04", "processes that start one guest at the same instant: one winner", 5000)
    most, rounds = (100, 50) if row.full else (12, 1)
    guests(lab, "vm1")
    empty = world()
    slowest = []
    for number in range(rounds):
        slowest.append(one_round(row, lab, kvmrun, most))
        if number == 0:
            with row.case("losers touch nothing"):
                before = touchable()
                assert all("already" in one.text for one in herd.together(lab, [("vm1",)] * 8))
                assert touchable() == before
        kvmrun.ok("kill", "vm1")
        kvmrun.ok("net", "down")
        with row.case("nothing left"):
            assert world_after(empty) == empty
    print(
        f"\nC-04: the slowest of {most} took {max(slowest):.2f} s, in the middle {sorted(slowest)[rounds // 2]:.2f} s"
    )
