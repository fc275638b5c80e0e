"""What a wait shows on a terminal, and that lines fit it without breaking a value."""

import os
import re
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.screen import command, screen

from kvmrun.ui.text.line_folding import fold_to_terminal, proposed

WAIT = """
import time
from kvmrun.ui.text.progress import Progress
with Progress(quiet=False, verbose=0) as progress:
    with progress.waiting("vm1: port 22 of 192.168.0.9 to open", limit=60, last=lambda: "[ 3.0] booting"):
        time.sleep(1.5)
        progress.tell("vm1 is ready after 1.5 s")
"""


def test_a_wait_shows_its_seconds_its_limit_and_the_last_line_of_the_console() -> None:
    with screen(WAIT) as one:
        assert one.end() == 0
        assert re.search(r"waiting \d of 60 s: vm1: port 22", one.text)
        for told in ("console: [ 3.0] booting", "ready after"):
            assert told in one.text


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
def test_no_value_is_broken(columns: int) -> None:
    values = ["52:54:0a:b2:c9:c1", "192.168.0.1", "/srv/images/debian.qcow2", "tap-ursa-vm1"]
    terminal, side = os.openpty()
    with os.fdopen(terminal, "w"), os.fdopen(side, "w") as stream:
        __import__("termios").tcsetwinsize(terminal, (24, columns))
        text = fold_to_terminal(
            f"ursa-vm1 is running (tcg, pid 3924): {', '.join(values)}, {' '.join(values)}", stream, indent=2
        )
    assert max(map(len, text.split("\n"))) <= columns
    for value in values:
        assert text.count(value) == 2
    assert re.sub(r"\s+", " ", text).count("ursa-vm1 is running (tcg, pid 3924): ") == 1


@pytest.mark.parametrize("columns", [40, 80])
def test_a_command_of_a_fix_is_on_one_line(columns: int) -> None:
    commands = ["kvmrun -C /srv/a/long/way/to/a/lab stop web", "kvmrun restart web --force --accel tcg"]
    terminal, side = os.openpty()
    with os.fdopen(terminal, "w"), os.fdopen(side, "w") as stream:
        __import__("termios").tcsetwinsize(terminal, (24, columns))
        text = proposed(f"  fix: {commands[0]}; or {commands[1]}; {'word ' * 20}; nft 'add a; add b'", stream, indent=7)
    lines = text.split("\n")
    assert lines[:2] == [f"  fix: {commands[0]};", f"       or {commands[1]};"]
    assert lines[-1] == "       nft 'add a; add b'"
    assert max(map(len, lines[2:])) <= columns
    assert len(lines) > 3


def test_where_there_is_no_terminal_nothing_is_folded(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as stream:
        assert fold_to_terminal("word " * 100, stream, indent=2) == "word " * 100


@pytest.mark.skipif(os.geteuid() != 0, reason="QEMU as another user needs root")
@pytest.mark.usefixtures("netns", "tun", "kvmrun")
def test_a_start_at_eighty_columns(lab: Path) -> None:
    guests(lab, "a-guest-with-a-long-name", text=TCG)
    with command(lab, "a-guest-with-a-long-name", "--wait=address", "--timeout", "4") as one:
        one.resize(24, 80)
        assert one.end() == 7
        lines = one.text.replace("\r", "\n").split("\n")
    told = [line for line in lines if "waiting" not in line and "fix:" not in line]
    assert any(re.search(r"52:54(:[0-9a-f]{2}){4}", line) for line in told)
    assert max(map(len, told)) <= 80, told
