"""Killed at, and failed by, every system call with which a start, a stop and `net up` change anything."""

import re
from itertools import chain
from pathlib import Path

import pytest
from support.builders import guests
from support.cli import Cli
from support.inject import Call, calls, struck
from support.scene import IMAGE, NetDown, NetUp, Scene, Start, Stop, again, converges, honest
from support.tally import Tally

pytestmark = pytest.mark.usefixtures("netns", "tun")

ERRORS = ("ENOSPC", "EIO", "EINTR", "EACCES", "EMFILE", "ENOMEM")
SCENES = {one.name: one for one in (Start, Stop, NetUp, NetDown)}
KILLS = {"start": (75, 6), "stop": (25, 3), "net-up": (90, 5), "net-down": (25, 2)}
"""For each scene how many calls there are at least, and how many of them make a sample."""
FAILURES = {"start": (225, 2), "stop": (75, 1), "net-up": (270, 2), "net-down": (75, 1)}
SHOWN = {
    "start": ("ENOSPC chmod .*qcow2.part", "EIO pidfd_open"),
    "stop": ('ENOSPC rmdir .*run/vm"', "ENOSPC openat .*vm1/life", "EACCES pidfd_open"),
    "net-up": (
        "EACCES sendto.*RTM_NEWLINK",
        "EIO fcntl.*run/sysctls",
        "ENOSPC pwrite64.*run/sysctls",
        "EMFILE pidfd_open",
        "EIO .*dnsmasq.new",
    ),
    "net-down": (),
}
"""What showed that something was to be mended is always in the sample: the first two of each, and the last call."""


@pytest.fixture(params=SCENES)
def scene(request: pytest.FixtureRequest, lab: Path, kvmrun: Cli, own_directories: Path) -> Scene:
    guests(lab, "vm1", text=IMAGE)
    (own_directories / "state/images").mkdir(parents=True)
    return SCENES[request.param](kvmrun, own_directories)


def test_a_kill_at_any_call_is_mended_by_the_same_command(scene: Scene, tally: Tally) -> None:
    planned, quick = KILLS[scene.name]
    row = tally.row("C-02", "killed at a system call that changes something", planned)
    for call in row.sample(recorded(scene), quick):
        with scene.cell(row, call):
            assert struck(scene.kvmrun, call, "signal=SIGKILL", *scene.words), "it came to no such call"
            converges(scene)


@pytest.mark.parametrize("errors", [ERRORS[:3], ERRORS[3:]], ids="-".join)
def test_a_call_that_fails_is_told_in_one_line_and_undone(scene: Scene, tally: Tally, errors: tuple[str, ...]) -> None:
    """Where the world shows that all is undone, one try again for each call is enough: it begins as the first did."""
    planned, quick = FAILURES[scene.name]
    row = tally.row("C-03", "a system call that changes something fails", planned)
    found = [(call, errors[(n + m) % 3], m) for n, call in enumerate(recorded(scene)) for m in range(3)]
    shown = [
        [cell for cell in found if re.match(one, f"{cell[1]} {cell[0].name} {cell[0].words}")][:2]
        for one in SHOWN[scene.name]
    ]
    sample = [*chain.from_iterable(shown), found[-1], *row.sample(found, quick)]
    for call, error, turn in found if row.full else sample:
        with scene.cell(row, f"{error} {call}"):
            result = struck(scene.kvmrun, call, f"error={error}", *scene.words)
            assert result, "it came to no such call"
            honest(scene, result)
            undone = scene.undoes and result.code and not call.prints
            if undone:
                scene.is_at_rest(locks=False)
            if not undone or turn == 0:
                again(scene)


def recorded(scene: Scene) -> list[Call]:
    scene.begin()
    scene.kvmrun.ok(*scene.words)  # the first time directories are made that stay
    scene.back()
    scene.begin()
    found = calls(scene.kvmrun, *scene.words)
    scene.back()
    return found
