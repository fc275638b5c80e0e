"""Killed, told to end and left without room before and after every step of a start and of a stop."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes.cli import Result, guests
from fakes.scene import IMAGE, Joined, Killed, NetDown, Scene, Stopped, Whole, converges, honest
from fakes.tally import Row, Tally
from fakes.warm import Warm

pytestmark = pytest.mark.usefixtures("netns", "tun")

LAUNCH, RESUME = "apply start /usr", "resume"
CELLS: dict[tuple[type[Scene], str], tuple[int, int]] = {
    (Whole, "launcher"): (70, 6),
    (Stopped, "launcher"): (16, 2),
    (Killed, "launcher"): (12, 1),
    (NetDown, "launcher"): (14, 2),
    (Joined, "qemu"): (14, 3),
    (Stopped, "qemu"): (16, 2),
    (Joined, "dnsmasq"): (44, 3),
    (Stopped, "dnsmasq"): (16, 1),
    (NetDown, "dnsmasq"): (12, 1),
}
"""What is killed, and of whom: how many cells there are at least, and how many of them make a sample."""
SIGNALS = {"SIGINT": (50, 3), "SIGTERM": (50, 2), "SIGHUP": (50, 2), "unread": (50, 3)}


@pytest.fixture
def begin(lab: Path, warm: Warm, own_directories: Path) -> Callable[[type[Scene]], Scene]:
    """Makes a scene, whose guest is defined by then."""

    def made(kind: type[Scene]) -> Scene:
        guests(lab, "vm1", text=IMAGE)
        (own_directories / "state/images").mkdir(parents=True)
        return kind(warm, own_directories)

    return made


def harmed(scene: Scene, what: str, when: str, step: int, *more: str) -> Result:
    return scene.kvmrun.call(*more, *scene.words, harm=(what, when, str(step)))


def steps(scene: Scene) -> list[str]:
    """The names of all the steps of the scene's command, in order."""
    path = scene.images.parent / "steps"
    scene.begin()
    assert harmed(scene, "steps", str(path), -1).code == 0
    scene.back()
    return path.read_text().splitlines()


def some(cells: Sequence[Any], row: Row, quick: int) -> Sequence[Any]:
    """All of them in the full tier, else a few from all over."""
    return cells if row.full else cells[:: -(-len(cells) // quick)]


@pytest.mark.parametrize(("made", "victim"), CELLS, ids=[f"{made.name}-{victim}" for made, victim in CELLS])
def test_a_kill_at_any_step_is_mended_by_the_same_command(
    begin: Callable[[type[Scene]], Scene], tally: Tally, made: type[Scene], victim: str
) -> None:
    scene = begin(made)
    planned, quick = CELLS[made, victim]
    row = tally.row("C-01", "launcher, QEMU or dnsmasq killed at a step", planned)
    names = steps(scene)
    cells = [(n, name, when) for n, name in enumerate(names) for when in ("before", "after")]
    if made is Joined and victim == "qemu":
        launch = next(n for n, name in enumerate(names) if name.startswith(LAUNCH))
        cells = [cell for cell in cells if cell[0] > launch or (cell[0] == launch and cell[2] == "after")]
    for number, name, when in some(cells, row, quick):
        with row.case(f"{made.name}, {victim} {when} {name}"):
            scene.begin()
            result = harmed(scene, f"KILL:{victim}", when, number)
            if victim == "launcher":
                assert result.code == -signal.SIGKILL
            elif result.code:  # a guest that dies a moment after it was started is no lie of the start's
                honest(scene, result)
            converges(scene)
        if row.failures:
            scene.end()


@pytest.mark.parametrize("name", SIGNALS)
def test_an_interrupt_at_any_step_is_undone(begin: Callable[[type[Scene]], Scene], tally: Tally, name: str) -> None:
    """Once the guest is let run, it may also stay: then it does, with all that belongs to it."""
    scene = begin(Whole)
    planned, quick = SIGNALS[name]
    row = tally.row("C-07", "told to end at a step, or nobody reads what it says", planned)
    names = steps(scene)
    resume = names.index(RESUME)
    cells = [(n, when) for n in range(len(names)) for when in ("before", "after")]
    more, code = (("-v",), 128 + signal.SIGPIPE) if name == "unread" else ((), 128 + getattr(signal, name))
    for number, when in some(cells, row, quick):
        with row.case(f"{name} {when} {names[number]}"):
            result = harmed(scene, name, when, number, *more)
            assert result.code == code, f"exit {result.code}: {result.err}"
            assert "Traceback" not in result.err
            if number < resume or not scene.kvmrun.rows()["vm1"]["pid"]:
                scene.is_at_rest()
            else:
                assert scene.running()
                scene.back()
        if row.failures:
            scene.end()
