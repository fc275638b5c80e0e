"""Killed, told to end and left without room before and after every step of a start and of a stop."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.builders import guests
from support.cli import Cli, Result
from support.scene import IMAGE, Joined, Killed, NetDown, Scene, Stopped, Whole, converges, honest
from support.tally import Tally

pytestmark = pytest.mark.usefixtures("netns", "tun")

LAUNCH, RESUME = "apply start /usr", "resume"
VICTIMS: dict[type[Scene], dict[str, tuple[int, int]]] = {
    Whole: {"launcher": (70, 4)},
    Joined: {"qemu": (14, 2), "dnsmasq": (44, 2)},
    Stopped: {"launcher": (16, 1), "qemu": (16, 1), "dnsmasq": (16, 1)},
    Killed: {"launcher": (12, 1), "qemu": (12, 1)},
    NetDown: {"launcher": (14, 2), "dnsmasq": (12, 1)},
}
"""Who is killed, in the midst of what: how many cells there are at least, and how many of them make a sample."""
SIGNALS = {"SIGINT": (50, 2), "SIGTERM": (50, 1), "SIGHUP": (50, 1), "unread": (50, 2)}
Begin = Callable[[type[Scene]], Scene]


@pytest.fixture
def begin(lab: Path, kvmrun: Cli, own_directories: Path) -> Begin:
    """Makes a scene, whose guest is defined by then."""

    def made(kind: type[Scene]) -> Scene:
        guests(lab, "vm1", text=IMAGE)
        (own_directories / "state/images").mkdir(parents=True)
        return kind(kvmrun, own_directories)

    return made


def harmed(scene: Scene, what: str, when: str, step: int, *more: str) -> Result:
    return scene.kvmrun.call(*more, *scene.words, harm=(what, when, str(step)))


def steps(scene: Scene) -> list[str]:
    """The names of all the steps of the scene's command, in order.

    It is carried out until two runs agree: on a busy machine one takes a lock at the second try.
    """
    path = scene.images.parent / "steps"
    found: list[list[str]] = []
    while len(found) < 2 or found[-1] != found[-2]:
        assert len(found) < 5, "no two runs have the same steps"
        scene.begin()
        assert harmed(scene, "steps", str(path), -1).code == 0
        scene.back()
        found.append(path.read_text().splitlines())
        path.unlink()
    return found[-1]


@pytest.mark.parametrize("made", VICTIMS, ids=[made.name for made in VICTIMS])
def test_a_kill_at_any_step_is_mended_by_the_same_command(begin: Begin, tally: Tally, made: type[Scene]) -> None:
    scene = begin(made)
    names = steps(scene)
    for victim, (planned, quick) in VICTIMS[made].items():
        row = tally.row("C-01", "launcher, QEMU or dnsmasq killed at a step", planned)
        for number, when in row.sample(moments(names, launched=made is Joined and victim == "qemu"), quick):
            with scene.cell(row, f"{victim} {when} {names[number]}"):
                result = harmed(scene, f"KILL:{victim}", when, number)
                if victim == "launcher":
                    assert result.code == -signal.SIGKILL
                elif result.code:  # a guest that dies a moment after it was started is no lie of the start's
                    honest(scene, result)
                converges(scene)


def moments(names: Sequence[str], *, launched: bool) -> list[tuple[int, str]]:
    """Before and after each step; with `launched` only once there is a QEMU."""
    first = next(n for n, name in enumerate(names) if name.startswith(LAUNCH)) if launched else -1
    found = [(n, when) for n in range(len(names)) for when in ("before", "after")]
    return [one for one in found if one >= (first, "")][1 if launched else 0 :]


def test_an_interrupt_at_any_step_is_undone(begin: Begin, tally: Tally) -> None:
    """Once the guest is let run, it may also stay: then it does, with all that belongs to it."""
    scene = begin(Whole)
    names = steps(scene)
    for name, (planned, quick) in SIGNALS.items():
        row = tally.row("C-07", "told to end at a step, or nobody reads what it says", planned)
        for number, when in row.sample(moments(names, launched=False), quick):
            with scene.cell(row, f"{name} {when} {names[number]}"):
                interrupted(scene, name, when, number, begun=number < names.index(RESUME))


def interrupted(scene: Scene, name: str, when: str, number: int, *, begun: bool) -> None:
    more, code = (("-v",), 128 + signal.SIGPIPE) if name == "unread" else ((), 128 + getattr(signal, name))
    result = harmed(scene, name, when, number, *more)
    assert result.code == code, f"exit {result.code}: {result.err}"
    assert "Traceback" not in result.err
    # what nobody reads is said at the beginning of a step: after the last one the start comes to its end
    if (begun and name != "unread") or not scene.kvmrun.rows()["vm1"]["pid"]:
        scene.is_at_rest(locks=False)
    else:
        assert scene.running()
        scene.back()
