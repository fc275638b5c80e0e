"""A command over several guests that a signal tells to end, at any moment: each guest is as before, or told."""

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.agent import hear, synced
from support.builders import guests
from support.cli import Cli, Result
from support.qmp import Peer, serve
from support.tally import Row, Tally
from support.world import difference, world, world_after

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(3600)]

NAMES = ("a", "b")
SMALL = 'accel = "tcg"\nmemory = "16M"\nagent = false\n'
KINDS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGINT:2", "SIGINT:ignored")
MOMENTS = 40
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str, str]] = {
    "up": ((), ("up",), "running", "{} is running ("),
    "stop": (("up", "--paused"), ("stop",), "stopped", "{} is stopped"),
    "stop-by-force": (("up",), ("stop", "-f"), "stopped", "{} is stopped"),
    "kill": (("up",), ("kill",), "stopped", "{} is stopped"),
    "pause": (("up",), ("pause",), "paused", "{} is paused"),
    "resume": (("up", "--paused"), ("resume",), "running", "{} is running"),
    "reset": (("up",), ("reset",), "running", ""),
    "wait": (("up",), ("wait",), "running", "{} is running"),
    "restart": (("up",), ("restart", "-f"), "running", ""),
}
"""What leads to where it begins; the command; the state it is for; what is said of a guest that is in it by then."""


@pytest.fixture
def many(lab: Path, kvmrun: Cli) -> Iterator[Cli]:
    (lab / "networks.toml").write_text("[network.lan]\ndhcp = false\ndns = false\n")
    guests(lab, *NAMES, text=SMALL)
    yield kvmrun
    kvmrun("kill", "--all", "--force")
    kvmrun("net", "down", "--force")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_guest_is_as_before_or_told(many: Cli, own_directories: Path, tally: Tally, name: str) -> None:
    row = tally.row("M-01", "a signal at any moment of a command over several guests", MOMENTS * len(KINDS))
    ready, words, *_ = COMMANDS[name]
    note = own_directories / "calls"
    rest = at_rest(many)
    begin(many, ready)
    done = many.call(*words, *NAMES, harm=("moment:SIGINT", str(note), "-1"))
    assert done.code == 0, done.err
    calls = int(note.read_text().split()[0])
    assert not difference(rest, back(many, rest))
    for number, kind in chosen(row):
        begin(many, ready)
        before = states(many)
        moment = calls * (2 * number + 1) // (2 * MOMENTS)
        with row.case(f"{name} {kind} at {moment} of {calls}"):
            done = many.call(*words, *NAMES, harm=(f"moment:{kind}", "", str(moment)))
            judged(many, done, before, kind, name)
        with row.case(f"{name} {kind} at {moment} of {calls}: nothing left"):
            left = difference(rest, back(many, rest))
            assert not left, left


class Inside:
    """The agent of a guest that has one file system."""

    def __init__(self, *, frozen: bool) -> None:
        self.frozen = frozen

    def __call__(self, peer: Peer) -> None:
        while True:
            question = hear(peer)
            what = str(question["execute"]).removeprefix("guest-fsfreeze-")
            if what == "guest-sync-delimited":
                peer.send(synced(question))
            elif what == "status":
                peer.say({"return": "frozen" if self.frozen else "thawed"})
            else:
                changed, self.frozen = self.frozen != (what == "freeze"), what == "freeze"
                peer.say({"return": int(changed)})


@pytest.mark.parametrize(("name", "told"), [("freeze", "{} is frozen: 1"), ("thaw", "{} is thawed: 1")])
def test_file_systems_are_as_before_or_told(
    many: Cli, own_directories: Path, tally: Tally, name: str, told: str
) -> None:
    row = tally.row("M-01", "a signal at any moment of a command over several guests", MOMENTS * len(KINDS))
    note = own_directories / "calls"
    many.ok("up", *NAMES)
    with agents(frozen=name == "thaw"):
        assert many.call(name, *NAMES, harm=("moment:SIGINT", str(note), "-1")).code == 0
    calls = int(note.read_text().split()[0])
    for number, kind in chosen(row):
        moment = calls * (2 * number + 1) // (2 * MOMENTS)
        with row.case(f"{name} {kind} at {moment} of {calls}"), agents(frozen=name == "thaw") as inside:
            done = many.call(name, *NAMES, harm=(f"moment:{kind}", "", str(moment)))
            judged_code(done, kind)
            for guest in NAMES:
                assert inside[guest].frozen == ((told.format(guest) in done.out) == (name == "freeze")), done.out
            if done.code == 0:
                assert all(told.format(guest) in done.out for guest in NAMES)


@contextmanager
def agents(*, frozen: bool) -> Iterator[dict[str, Inside]]:
    """An agent behind the socket of each guest, whose file system is frozen or not."""
    found = {name: Inside(frozen=frozen) for name in NAMES}
    with ExitStack() as stack:
        for name, inside in found.items():
            path = f"{os.environ['KVMRUN_RUN_DIR']}/vm/{name}/a"
            Path(path).unlink(missing_ok=True)
            stack.enter_context(serve(path, inside))
        yield found


def chosen(row: Row) -> list[tuple[int, str]]:
    """All moments and kinds in the full tier; else one moment each of some kinds."""
    cells = list(itertools.product(range(MOMENTS), KINDS))
    return cells if row.full else cells[len(row.what) % 7 :: 101]


def begin(many: Cli, ready: tuple[str, ...]) -> None:
    if ready:
        many.ok(*ready, *NAMES)


def states(many: Cli) -> dict[str, tuple[str, Any, Any]]:
    return {name: (row["state"], row["problem"], row["pid"]) for name, row in many.rows().items()}


def judged(many: Cli, done: Result, before: dict[str, Any], kind: str, name: str) -> None:
    """Fails where a guest is neither as before nor as told."""
    _, _, wanted, told = COMMANDS[name]
    judged_code(done, kind)
    now = states(many)
    for guest in NAMES:
        said = told.format(guest) if told else f"{guest} "
        changed = now[guest] != before[guest]
        assert now[guest][1] is None, now[guest]
        assert not changed or said in done.out, f"{guest} is {now[guest]} and was {before[guest]}: {done.out}"
        if told and said in done.out:
            assert now[guest][0] == wanted, f"{guest} is {now[guest]}: {done.out}"
        if done.code == 0 and told:
            assert said in done.out


def judged_code(done: Result, kind: str) -> None:
    """Fails where the command ended as nothing that was interrupted ends."""
    number = getattr(signal, kind.partition(":")[0])
    assert done.code in ({0} if kind.endswith("ignored") else {0, 128 + number}), f"exit {done.code}: {done.err}"
    if "Exception ignored in" not in done.err:  # Python drops an exception that is raised while a generator is closed
        assert "Traceback" not in done.err
    assert "bug" not in done.err


def at_rest(many: Cli) -> dict[str, Any]:
    """The world as it is after guests have been there once."""
    many.ok("up", *NAMES)
    many.ok("kill", *NAMES)
    many.ok("net", "down")
    return world()


def back(many: Cli, rest: dict[str, Any]) -> dict[str, Any]:
    """The world once everything was taken back by the commands for that."""
    many.ok("kill", *NAMES)
    many.ok("net", "down")
    return world_after(rest)
