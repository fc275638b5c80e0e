"""Many at once: one guest started by a hundred, fifty guests side by side, and everything at random for a long time."""

import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from support import herd
from support.builders import TCG, guests
from support.cli import Cli
from support.tally import Row, Tally
from support.world import touchable, world, world_after

from kvmrun.host.rundir import rundir

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(3600), pytest.mark.alone]


def one_round(row: Row, lab: Path, kvmrun: Cli, most: int) -> float:
    """A hundred start it; how long the slowest took."""
    ended = herd.together(lab, [("vm1",)] * most)
    for one in ended:
        with row.case("one of many"):
            assert (one.code, "vm1 is running" in one.text) == (0, True), f"exit {one.code}: {one.text}"
    with row.case("the winner"):
        winners = [one.text for one in ended if "is running (" in one.text]
        assert len(winners) == 1, winners
        assert sum("qemu-system" in one for one in map(str, world()["processes"])) == 1
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


def alike(kvmrun: Cli, names: list[str]) -> list[str]:
    """What is the same for two of the guests and must not be."""
    rows = [row for name, row in kvmrun.rows().items() if name in names]
    assert [row["state"] for row in rows] == ["running"] * len(names), rows
    told = {key: [row["nics"][0][key] for row in rows] for key in ("mac", "address", "tap")}
    told |= {"uid": [os.stat(f"/proc/{row['pid']}").st_uid for row in rows], "uuid": [row["uuid"] for row in rows]}
    return [key for key, values in told.items() if len(set(values)) != len(names)]


def test_fifty_guests_side_by_side(tally: Tally, lab: Path, kvmrun: Cli) -> None:
    row = tally.row("C-05", "guests started side by side, by one command and by as many, and stopped", 1000)
    most, rounds = (50, 20) if row.full else (6, 2)
    names = [f"vm{number}" for number in range(most)]
    guests(lab, *names, text=TCG.replace("32M", "16M"))
    empty = world()
    slowest = []
    for number in range(rounds):
        single = [[name] for name in names]
        began = herd.together(lab, single if number % 2 else [names])
        for one in began:
            with row.case(f"round {number}: {' '.join(one.words)}"):
                assert one.code == 0, one.text
        for _ in range(0 if number % 2 else most - 1):
            with row.case("one of the same command"):
                pass
        slowest.append(max(one.seconds for one in began))
        with row.case(f"round {number}: nothing twice"):
            assert alike(kvmrun, names) == []
            assert [one["ifname"] for one in world()["links"] if "br" in one["ifname"]] == ["br0"]
        ends = [["stop", name, "--force"] for name in names] if number % 2 else [["stop", "--force", *names]]
        for one in herd.together(lab, ends):
            with row.case(f"round {number}: {' '.join(one.words)}"):
                assert one.code == 0, one.text
        with row.case(f"round {number}: nothing left"):
            kvmrun.ok("net", "down")
            assert world_after(empty) == empty
    print(f"\nC-05: {most} side by side took {max(slowest):.2f} s at most")


OPERATIONS = (
    [("{}",)] * 6
    + [("{}", "--paused"), ("stop", "{}", "--force"), ("kill", "{}"), ("kill", "{}"), ("list",), ("list", "-v")]
    + [("monitor", "{}", "-c", "query-status"), ("pause", "{}"), ("resume", "{}"), ("reset", "{}")]
    + [("net", "up"), ("net", "status"), ("repair",), ("show", "{}"), ("restart", "{}", "--force"), ("repair", "-n")]
    + [("stop", "--all", "--force"), ("up", "--all"), ("kill", "--all"), ("net", "down"), ("crash",)]
)
FITTING = {0, 3, 6, 7, 75}
"""What an operation may end with when others are at work on the same guest."""


def at_random(lab: Path, names: list[str], seed: int, most: int) -> list[str]:
    """A worker: `most` random operations; what went wrong."""
    dice = random.Random(seed)
    wrong = []
    for number in range(most):
        name = dice.choice(names)
        words = tuple(word.format(name) for word in dice.choice(OPERATIONS))
        if words == ("crash",):
            crash(lab, name)
            continue
        ended = herd.run(lab, *words)
        killed = ended.code == 1 and (
            "SIGKILL" in ended.text or words[0] == "repair"
        )  # a start by a kill; left as found
        if not (killed or ended.code in FITTING) or "bug" in ended.text:
            wrong.append(f"{seed}/{number} {' '.join(words)}: exit {ended.code}: {ended.text[:600]}")
    return wrong


def crash(lab: Path, name: str) -> None:
    """QEMU is killed by somebody else."""
    directory = f"{os.environ['KVMRUN_RUN_DIR']}/vm/{name}"
    with rundir.qemu_pidfd(directory) as pidfd:
        if pidfd is not None:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def test_everything_at_random(tally: Tally, lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    row = tally.row(
        "C-06", "random operations by sixteen workers on six guests: nothing fails, nothing is left", 10_000
    )
    workers, each = (16, 625) if row.full else (8, 12)
    names = [f"vm{number}" for number in range(6)]
    guests(lab, *names)
    empty = world()
    pids = {}
    for seed in range(workers):
        told = own_directories / f"told{seed}"
        if not (pid := os.fork()):
            status = 1
            with suppress(BaseException):
                told.write_text("\n".join(at_random(lab, names, seed, each)))
                status = 0
            os._exit(status)
        pids[pid] = told
    for pid, told in pids.items():
        status = os.waitpid(pid, 0)[1]
        wrong = told.read_text().splitlines() if status == 0 else ["a worker ended"]
        row.cases += each
        row.failures += wrong
        told.unlink(missing_ok=True)
    with row.case("nothing left"):
        kvmrun.ok("kill", "--all")
        kvmrun.ok("net", "down")
        kvmrun.ok("repair", "-n")
        assert world_after(empty) == empty
