"""Events of guests that start, stop and end, followed as they happen; and of peers that send too many."""

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.builders import ALONE, guests
from support.cli import Cli
from support.qmp import GREETING, Peer, serve
from support.screen import command

from kvmrun.api.conversation.events import follow
from kvmrun.host.rundir import lock

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="QEMU as another user needs root")


@contextmanager
def following(kvmrun: Cli, *words: str) -> Iterator[subprocess.Popen[str]]:
    with kvmrun.begun("events", "-o", "json", *words) as child:
        yield child


def heard(child: subprocess.Popen[str], guest: str, event: str) -> dict[str, Any]:
    """The next event of that name; those before it are passed over."""
    assert child.stdout
    for line in child.stdout:
        found = json.loads(line)
        assert found.keys() == {"schema", "time", "guest", "event", "data"}
        if (found["guest"], found["event"]) == (guest, event):
            return dict(found)
    raise AssertionError(f"no {event} of {guest}")


def test_guests_are_followed_from_their_start_to_their_end(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2", text=ALONE)
    kvmrun.ok("vm1")
    with following(kvmrun) as child:
        assert heard(child, "vm1", "following")["data"] == {"state": "running"}
        kvmrun.ok("pause", "vm1")
        assert abs(heard(child, "vm1", "STOP")["time"] - time.time()) < 60
        kvmrun.ok("vm2")
        heard(child, "vm2", "following")
        kvmrun.ok("stop", "vm2", "--force")
        assert heard(child, "vm2", "SHUTDOWN")["data"] == {"guest": False, "reason": "host-qmp-quit"}
        heard(child, "vm2", "ended")
        os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
        heard(child, "vm1", "ended")
        kvmrun.ok("vm1")
        heard(child, "vm1", "following")
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 130


def test_nothing_is_left_behind_when_it_ends(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    guests(lab, "vm1", text=ALONE)
    kvmrun.ok("vm1")
    directory = f"{own_directories}/run/vm/vm1"

    async def followed() -> list[str]:
        async with aclosing(follow(lambda: {"vm1": directory}, lambda *_: None)) as news:
            assert (await anext(news)).name == "following"
        return [task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}]

    assert asyncio.run(followed()) == []


def test_only_those_that_are_named(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2", text=ALONE)
    assert kvmrun("events", "vm3").code == 4
    kvmrun.ok("vm1", "vm2")
    out = kvmrun.ok("events", "vm2", "--timeout", "2").out
    assert out.split()[1:] == ["vm2", "following", '{"state":', '"running"}']
    with following(kvmrun, "vm2") as first:
        heard(first, "vm2", "following")
        with kvmrun.begun("events", "vm2") as second:
            assert second.stdout
            assert second.stdout.readline().startswith("kvmrun: vm2 ")


def test_at_a_terminal(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text=ALONE)
    kvmrun.ok("vm1")
    with command(lab, "events") as one:
        one.wait_for("vm1  following")
        os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
        one.wait_for("vm1  ended")
        one.type("\x03")
        assert one.end() == 130


@contextmanager
def misbehaving(run: Path, name: str, way: Any) -> Iterator[None]:
    """A guest that runs, as far as its lock tells, and whose monitor for events goes `way`."""
    place = run / "vm" / name
    place.mkdir(parents=True)
    for path in (run, run / "vm", place):
        path.chmod(0o700)
    life = lock.open_lock(f"{place}/life")
    assert lock.take_lock(life)
    try:
        with serve(str(place / "e"), way):
            yield
    finally:
        os.close(life)


def test_a_flood_nobody_reads_is_cut_off(own_directories: Path, kvmrun: Cli) -> None:
    cut = threading.Event()

    def flood(peer: Peer) -> None:
        """An honest start, then events as fast as they are taken."""
        peer.say({"return": {"status": "running"}, "id": peer.greet().get("id")})
        block = b'{"event": "FLOOD\\u001b[31m", "data": {"x": "%s"}}\n' % (b"y" * 100) * 1000
        try:
            while not peer.done.is_set():
                peer.send(block)
        finally:
            cut.set()

    with misbehaving(own_directories / "run", "vm1", flood), kvmrun.begun("events") as child:
        assert child.stdout
        assert "vm1  following" in child.stdout.readline()
        assert cut.wait(60)
        status = Path(f"/proc/{child.pid}/status").read_text()
        assert int(status.split("VmHWM:")[1].split()[0]) < 150 << 10
        text = child.stdout.read(50_000)
        assert "FLOOD\\x1b[31m" in text
        assert "\x1b" not in text
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 143


def test_nonsense_is_told_and_tried_again(own_directories: Path, kvmrun: Cli) -> None:
    def nonsense(peer: Peer) -> None:
        peer.say(GREETING)
        peer.send(b"\xff\xfe{{{\n")
        peer.wait()

    with misbehaving(own_directories / "run", "vm1", nonsense), kvmrun.begun("events", "vm1") as child:
        assert child.stdout
        said = child.stdout.readline()
        assert ("vm1" in said, "QMP" in said, child.poll()) == (True, True, None)
