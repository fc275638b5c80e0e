"""A command with the world around it, to be harmed: where it begins, what shows that it is done, the way back."""

import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support.builders import TCG
from support.cli import Cli, Result
from support.tally import Row
from support.world import difference, disks, world

IMAGE = TCG + '[[drive]]\nimage = "new.qcow2"\nsize = "1M"\n'
"""A guest with an image that its first start makes."""
CONVERGED = 30.0
"""How long the same command may take after a mishap, in seconds."""


class Scene:
    """One command and the world around it: led to where the command begins, and back to rest."""

    name = ""
    ready: tuple[tuple[str, ...], ...] = ()
    words: tuple[str, ...] = ()
    undoes = True

    def __init__(self, kvmrun: Cli, root: Path) -> None:
        self.kvmrun = kvmrun
        self.images = root / "state/images"
        self.rest = self.look()

    def begin(self) -> None:
        for words in self.ready:
            self.kvmrun.ok(*words)

    @contextmanager
    def cell(self, row: Row, name: object) -> Iterator[None]:
        """A case of `row` that starts where the command begins. One that fails does not spoil the next."""
        failures = len(row.failures)
        self.begin()
        with row.case(f"{self.name} {name}"):
            yield
        if len(row.failures) > failures:
            with suppress(AssertionError):
                self.end()

    def done(self) -> bool:
        """Whether the command has done its work."""
        return True

    def end(self) -> None:
        """What takes everything back; twice, the second time to no effect."""
        raise NotImplementedError

    def look(self) -> dict[str, Any]:
        return {**world(), "disks": disks(self.images)}

    def but_locks(self, found: dict[str, Any]) -> dict[str, Any]:
        """Without lock files, which are empty, and the directories they are in."""
        files = [one for one in found["files"] if not stat.S_ISDIR(one[1]) and not one[0].endswith(("/op", "/life"))]
        return {**found, "files": files}

    def back(self) -> None:
        """End it, and fail unless the world is as it was."""
        self.end()
        self.is_at_rest()

    def is_at_rest(self, *, locks: bool = True) -> None:
        """Fails unless the world is as it was before, or soon will be: a logger takes a moment to end."""
        deadline = time.monotonic() + 60
        only = (lambda found: found) if locks else self.but_locks
        while found := difference(only(self.rest), only(self.look())):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def running(self) -> bool:
        row = self.kvmrun.rows()["vm1"]
        return (row["state"], row["problem"]) == ("running", None)


class Start(Scene):
    """On a network that is up, with an image to be made."""

    name = "start"
    words = ("vm1",)

    def __init__(self, kvmrun: Cli, root: Path) -> None:
        self.kvmrun, self.images = kvmrun, root / "state/images"
        kvmrun.ok("net", "up")
        kvmrun.ok("vm1")  # a bridge that has had a port is not quite as one that never had
        self.end()
        super().__init__(kvmrun, root)

    def done(self) -> bool:
        return self.running()

    def end(self) -> None:
        self.kvmrun.ok("stop", "--force", "vm1")
        for image in self.images.glob("*"):
            image.unlink()


class Stop(Start):
    """Of a guest that waits for its first instruction: it is told to quit, and has not to be asked first."""

    name = "stop"
    ready = (("vm1", "--paused"),)
    words = ("stop", "vm1")
    undoes = False

    def done(self) -> bool:
        return self.kvmrun.rows()["vm1"]["state"] == "stopped"


class NetUp(Scene):
    name = "net-up"
    words = ("net", "up")

    def done(self) -> bool:
        return self.kvmrun.network()["state"] == "up" and self.kvmrun("repair", "-n").code == 0

    def end(self) -> None:
        self.kvmrun.ok("net", "down")


class NetDown(NetUp):
    name = "net-down"
    ready = (("net", "up"),)
    words = ("net", "down")
    undoes = False

    def done(self) -> bool:
        return self.kvmrun.network()["state"] == "down" and self.kvmrun("repair", "-n").code == 0


class Whole(Scene):
    """From nothing: the network too."""

    name = "start-on-nothing"
    words = ("vm1",)

    def done(self) -> bool:
        return self.running()

    def end(self) -> None:
        self.kvmrun.ok("stop", "--force", "vm1")
        self.kvmrun.ok("net", "down")
        for image in self.images.glob("*"):
            image.unlink()


class Joined(Whole):
    name = "start-on-network"
    ready = (("net", "up"),)


class Stopped(Whole):
    """Of a guest that is asked, does not hear, and is told to quit."""

    name = "stop-running"
    ready = (("vm1",),)
    words = ("stop", "vm1", "--timeout", "0.2")
    undoes = False

    def done(self) -> bool:
        return self.kvmrun.rows()["vm1"]["state"] == "stopped"


class Killed(Stopped):
    name = "kill"
    words = ("kill", "vm1")


def converges(scene: Scene) -> None:
    """The list answers; the same command does its work; what takes it back leaves nothing."""
    tries = iter(range(5))
    while (took := listed(scene.kvmrun)) >= 2:  # is the machine busy, or the list slow?
        assert next(tries, None) is not None, f"the list took {took:.1f} s"
    again(scene)
    scene.end()
    scene.is_at_rest()


def again(scene: Scene) -> None:
    """The same command does its work, and what takes it back leaves nothing.

    A QEMU that was killed runs for a moment yet, and the command says so: then it is given again.
    """
    began = time.monotonic()
    scene.kvmrun.ok(*scene.words)
    while not scene.done():
        assert time.monotonic() - began < CONVERGED, f"not done {CONVERGED} s after it"
        scene.kvmrun.ok(*scene.words)
    assert time.monotonic() - began < CONVERGED, f"done only after {CONVERGED} s"
    scene.back()


def listed(kvmrun: Cli) -> float:
    """How long the list takes."""
    began = time.monotonic()
    assert "Traceback" not in kvmrun.ok("list").err
    return time.monotonic() - began


def honest(scene: Scene, result: Result) -> None:
    """Done and said so, or not done: then in a clear line. Never a bug."""
    assert "Traceback" not in result.err, result.err
    assert result.code != 70, result.err
    if result.code == 0:
        assert scene.done(), "it says that it is done"
    elif result.code > 0:
        lines = [line for line in result.err.splitlines() if line.startswith("kvmrun: ")]
        assert len(lines) == 1, f"exit {result.code}: {result.err}"
