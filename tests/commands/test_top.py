"""The live view and the list that keeps up, on a real terminal with real guests; and the rates in a pipe."""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.screen import COMMAND, Screen, command, screen
from support.sector import sector
from support.world import until, world

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="QEMU as another user needs root")
LEFT = b"\x1b[?25h\x1b[?1049l"
"""The cursor is back, and the screen that was there before."""


@contextmanager
def top(lab: Path, *words: str) -> Iterator[Screen]:
    with command(lab, "top", "-d", "0.5", *words) as one:
        one.wait_for("kvmrun top")
        yield one


def pressed(one: Screen, keys: str, wanted: str) -> str:
    """Types `keys`; what was shown up to `wanted`."""
    one.type(keys)
    return one.wait_for(wanted)


def test_a_session(lab: Path, kvmrun: Cli) -> None:
    sector(lab, "vm1", b"hello\r\n")
    guests(lab, "vm2", "vm3", text=TCG + "nic = []\n")
    kvmrun.ok("vm1", "vm2")
    with top(lab) as one:
        one.wait_for("2 of 3 guests")
        one.wait_for("s sort: cpu")
        pressed(one, "a", "3 of 3 guests")
        pressed(one, "a", "2 of 3 guests")
        pressed(one, "A", "s sort: name")
        pressed(one, "\x1b[B", "vm2: tcg")
        pressed(one, "p", "pause vm2? (y/n)")
        pressed(one, "y", "vm2 is paused")
        one.wait_for("paused")
        assert kvmrun.rows()["vm2"]["state"] == "paused"
        pressed(one, "p", "let vm2 go on? (y/n)")
        pressed(one, "y", "vm2 is running")
        pressed(one, "\x1b[A", "vm1: tcg")
        pressed(one, "\r", "connected to vm1; Ctrl-] leaves")
        pressed(one, "typed", "typed")
        pressed(one, "\x1d", "left vm1, which goes on")
        one.wait_for("2 of 3 guests")
        pressed(one, "?", "any key goes back")
        pressed(one, "x", "s sort: name")
        kvmrun.ok("vm3")
        one.wait_for("3 of 3 guests")
        os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
        one.wait_for("vm1 has ended")
        one.wait_for("2 of 3 guests")
        one.type("q")
        assert one.end() == 0
        assert one.raw.endswith(LEFT)
    assert kvmrun.rows()["vm3"]["state"] == "running"


def test_the_guest_dies_under_its_console(lab: Path, kvmrun: Cli) -> None:
    sector(lab, "vm1", b"hello\r\n")
    kvmrun.ok("vm1")
    with top(lab) as one:
        one.wait_for("vm1: tcg")
        pressed(one, "c", "connected to vm1")
        pressed(one, "x", "x")
        os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
        one.wait_for("vm1 has ended")
        one.wait_for("0 of 1 guests")
        one.type("c")
        one.type("q")
        assert one.end() == 0


def test_a_silent_guest_keeps_no_key_waiting(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2", text=TCG + "nic = []\n")
    kvmrun.ok("vm1", "vm2")
    os.kill(kvmrun.pid("vm2"), signal.SIGSTOP)
    with top(lab) as one:
        one.wait_for("unresponsive")
        began = time.monotonic()
        for wanted in ("memory", "disk", "network", "name", "cpu") * 4:
            pressed(one, "s", f"s sort: {wanted}")
        assert time.monotonic() - began < 30  # each would wait for it a second or two
        pressed(one, "\x1b[F", "vm2: its monitor did not answer in 2 s")
        pressed(one, "p", "vm2 is unresponsive")
        one.type("q")
        assert one.end() == 0


class TestTheTerminal:
    @pytest.mark.parametrize("words", [("top",), ("list", "-w")], ids=["top", "list"])
    @pytest.mark.parametrize(
        ("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)]
    )
    def test_a_signal(self, lab: Path, words: tuple[str, ...], number: int, code: int) -> None:
        with command(lab, *words) as one:
            one.wait_for("guests")
            one.child.send_signal(number)
            assert one.end() == code
            assert one.raw.endswith(LEFT)

    def test_the_list_is_left_by_its_keys(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text=TCG + "nic = []\n")
        kvmrun.ok("vm1")
        with command(lab, "list", "-w", "0.3") as one:
            one.wait_for("running")
            os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
            one.wait_for("stopped")
            one.type("q")
            assert one.end() == 0
            assert one.raw.endswith(LEFT)

    def test_it_can_be_put_to_sleep(self, lab: Path) -> None:
        with top(lab) as one:
            one.wait_for("q quit")
            one.type("\x1a")
            until(lambda: one.read() and LEFT in one.raw)
            until(lambda: Path(f"/proc/{one.child.pid}/stat").read_text().split()[2] == "T")
            assert "-icanon" not in one.attributes()
            one.child.send_signal(signal.SIGCONT)
            one.wait_for("kvmrun top")
            one.type("q")
            assert one.end() == 0

    def test_it_follows_the_size_of_the_terminal(self, lab: Path) -> None:
        with top(lab) as one:
            one.wait_for("? help")
            one.resize(8, 40)
            one.wait_for("…")
            one.type("q")
            assert one.end() == 0

    def test_one_that_takes_no_more_can_be_left(self, lab: Path) -> None:
        with command(lab, "top", "-d", "0.2") as one:
            one.wait_for("kvmrun top")
            one.resize(400, 400)
            for _ in range(100):  # nobody reads: the line is full
                one.type(" ")
                time.sleep(0.01)
            one.child.send_signal(signal.SIGTERM)
            assert one.child.wait(20) == 143

    def test_one_that_goes_away_is_left(self, lab: Path) -> None:
        with screen(COMMAND, "-C", str(lab), "top") as one:
            one.wait_for("kvmrun top")
            one.hang_up()
            assert one.child.wait(20) == 129

    def test_no_colours_when_told_so(self, lab: Path) -> None:
        with top(lab, "--color", "never") as one:
            one.type("q")
            one.end()
            assert not re.search(rb"\x1b\[[0-9;]*3[0-7]", one.raw)


@pytest.mark.usefixtures("netns", "tun")
def test_rates_in_a_pipe(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text=TCG + '[[drive]]\nimage = "vm1.qcow2"\nsize = "1M"\n')
    guests(lab, "vm2")
    kvmrun.ok("vm1", "--paused")
    before = world()["files"]
    found = kvmrun.ok("top", "-o", "json", "-d", "0.2").json()
    assert world()["files"] == before
    vm1, vm2 = found["guests"]
    assert (found["schema"], vm1["name"], vm1["state"], vm2["state"]) == (1, "vm1", "paused", "stopped")
    assert vm1["cpu_percent"] >= 0
    [nic] = vm1["nics"]  # a bridge sends some of its own
    assert {**nic, "received_bytes_per_s": 0, "received_packets_per_s": 0} == (
        {"name": "eth0", "received_bytes_per_s": 0, "sent_bytes_per_s": 0}
        | {"received_packets_per_s": 0, "sent_packets_per_s": 0}
    )
    assert nic["received_bytes_per_s"] >= nic["received_packets_per_s"] >= 0
    assert vm1["drives"] == [
        {"name": "drive0", "read_bytes_per_s": 0, "written_bytes_per_s": 0, "reads_per_s": 0, "writes_per_s": 0}
    ]
    assert (vm2["cpu_percent"], vm2["drives"], vm2["pid"]) == (None, [], None)
    out = kvmrun.ok("top", "-n", "2", "-d", "0.2", "-v").out.splitlines()
    assert [line.split()[0] for line in out] == ["NAME", "vm1", "drive0", "eth0"] * 2
    assert kvmrun("top", "-n", "0").code == 2
    assert kvmrun("top", "-n", "1", "-d", "nan").code == 2
    assert kvmrun("list", "-w", "inf").code == 2
