"""--timeout limits the whole command, whoever it waits for: peers that trickle, or that answer and promise."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

import pytest
from support.agent import GREETINGS, agent, late
from support.builders import TCG, guests
from support.cli import Cli
from support.pretender import Pretender
from support.tally import Tally

AGENTS = {"late": late(2.0), "trickles": GREETINGS["one-byte-per-second"], "silent": GREETINGS["silent"]}
MONITORS = ("one-byte-per-second", "silent", "greeting-then-silence", "accepts-then-silent", "event-flood")
ENDS = 25.0
"""Each of these goes on for minutes where nobody looks at the clock."""
OF_AGENT = {
    "exec": ("exec", "vm1", "true"),
    "cp-in": ("cp", "{big}", "vm1:/x"),
    "cp-out": ("cp", "vm1:/x", "{out}"),
    "freeze": ("freeze", "vm1"),
    "thaw": ("thaw", "vm1"),
    "ssh": ("ssh", "vm1", "true"),
    "wait": ("wait", "vm1", "--for", "agent"),
    "list": ("list", "-v"),
    "show": ("show", "vm1"),
}
OF_MONITOR = {
    "pause": ("pause", "vm1"),
    "resume": ("resume", "vm1"),
    "reset": ("reset", "vm1"),
    "monitor": ("monitor", "vm1", "-c", "query-status", "-c", "query-status"),
    "hmp": ("monitor", "vm1", "--hmp", "info", "status"),
    "screenshot": ("screenshot", "vm1", "{out}"),
    "list": ("list",),
    "top": ("top", "-n", "1"),
    "metrics": ("metrics",),
    "exec": ("exec", "vm1", "true"),
    "events": ("events", "vm1"),
    "log": ("log", "-f", "vm1"),
}


@pytest.fixture
def quick(lab: Path, kvmrun: Cli, own_directories: Path, netns: None) -> Pretender:
    """A pretender that runs as vm1; no command may take longer than ENDS."""
    pretender = Pretender(own_directories / "pretender")
    guests(lab, "vm1", text=TCG + "nic = []\n")
    kvmrun.ok("vm1", KVMRUN_QEMU=str(pretender.program))
    kvmrun.limit = ENDS
    (own_directories / "big").write_bytes(b"x" * (16 << 20))
    return pretender


def words(root: Path, command: tuple[str, ...]) -> list[str]:
    return ["--timeout", "0.5", *(word.format(big=root / "big", out=root / "out") for word in command)]


@pytest.mark.timeout(900)
def test_an_agent_that_never_comes_to_an_end(
    kvmrun: Cli, quick: Pretender, own_directories: Path, tally: Tally
) -> None:
    row = tally.row("T-01", "--timeout while a peer goes on for ever", 27)
    place = own_directories / "run/vm/vm1"
    for number, (name, command) in enumerate(OF_AGENT.items()):
        for way in AGENTS if row.full or name in {"cp-in", "exec"} else [list(AGENTS)[number % 3]]:
            with suppress(FileNotFoundError):
                os.unlink(place / "a")
            with row.case(f"{name} {way}"), agent(place, AGENTS[way]):
                done = kvmrun(*words(own_directories, command))
                allowed = {0} if name in {"list", "show"} else {6, 7} if name == "ssh" else {0, 1, 7}
                assert done.code in allowed, f"exit {done.code}: {done.err}"
                assert "bug" not in done.err


@pytest.mark.timeout(900)
def test_a_monitor_that_never_comes_to_an_end(
    kvmrun: Cli, quick: Pretender, own_directories: Path, tally: Tally
) -> None:
    row = tally.row("T-02", "--timeout while a monitor goes on for ever", 60)
    for number, (name, command) in enumerate(OF_MONITOR.items()):
        for way in MONITORS if row.full else [MONITORS[number % len(MONITORS)]]:
            quick.be("vm1", way)
            with row.case(f"{name} {way}"):
                done = kvmrun(*words(own_directories, command))
                assert done.code in {0, 3, 6, 7, 1}, f"exit {done.code}: {done.err}"
                assert "bug" not in done.err
    with row.case("stop"):  # which ends it by force then
        assert kvmrun("stop", "vm1", "--timeout", "1").code == 0


def test_a_stop_asks_a_slow_agent_only_as_long_as_it_may(kvmrun: Cli, quick: Pretender, own_directories: Path) -> None:
    place = own_directories / "run/vm/vm1"
    with suppress(FileNotFoundError):
        os.unlink(place / "a")
    (place / "frozen").touch()
    with agent(place, late(2.0)):
        assert kvmrun("stop", "vm1", "--timeout", "1").code == 0


@pytest.mark.parametrize("name", ["pause", "stop", "kill", "up", "restart"])
def test_a_lock_that_others_hold_is_waited_for_no_longer(
    kvmrun: Cli, quick: Pretender, own_directories: Path, name: str
) -> None:
    with (own_directories / "run/vm/vm1/op").open("r+b") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        done = kvmrun(name, "vm1", "--timeout", "0.5")
        assert (done.code, "vm1 is busy" in done.err) == (75, True), done.err


@pytest.mark.parametrize("text", ["-1", "nan", "1e300"])
def test_what_is_no_time_is_refused(kvmrun: Cli, text: str) -> None:
    assert kvmrun("list", f"--timeout={text}").code == 2
