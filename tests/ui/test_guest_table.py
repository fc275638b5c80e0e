"""The list in plain columns."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from kvmrun.model.guest.guest_status import NicStatus, Status
from kvmrun.ui.text import guest_table
from kvmrun.ui.text.guest_columns import CONFINEMENT, HEADS, LIVE, View, guest_cells, plain

ETH0 = NicStatus(name="eth0", network="lan", tap="tap-vm1", mac="52:54:00:00:00:01", address="192.168.0.1")
ETH1 = NicStatus(name="eth1", network="dmz", tap="tap-vm1-eth1", mac="52:54:00:00:00:02", address=None)
RUNNING = Status(
    name="vm1", state="running", accel="kvm", pid=4711, uptime_s=3723, cpus=2, cpu_percent=12.6,
    memory_bytes=512 << 20, rss_bytes=100 << 20, uuid="u", nics=(ETH0, ETH1),
)  # fmt: skip
STOPPED = Status(name="a-longer-name", state="stopped", accel="tcg", memory_bytes=16 << 30, nics=(ETH0,), raw_args=True)
INVALID = Status(name="vm3", state="invalid", problem="vm3.toml: cpus: found [x], expected [a] whole number")


def test_every_row_has_a_cell_for_each_head() -> None:
    assert guest_cells(RUNNING) == (
        "vm1", "running", "kvm", "4711", "1h2m", "13", "100M/512M", "tap-vm1\ntap-vm1-eth1",
        "52:54:00:00:00:01\n52:54:00:00:00:02", "192.168.0.1\n-", "-", "",
    )  # fmt: skip
    assert len(guest_cells(INVALID)) == len(HEADS)


def test_what_is_unknown_is_a_dash() -> None:
    assert guest_cells(Status(name="vm1", state="unknown"))[2:] == ("-",) * 9 + ("",)


def test_raw_arguments_are_marked() -> None:
    assert guest_cells(STOPPED)[2] == "tcg +args"


def test_lines_are_aligned_and_nothing_is_cut() -> None:
    shown = RUNNING.replace(display="127.0.0.1:5901")
    head, *lines = plain([shown, STOPPED, INVALID]).splitlines()
    for column in HEADS[1:-1]:
        start = head.index(column)
        assert all(line[start - 2 : start] == "  " and line[start] != " " for line in lines), column
    assert lines[0].split()[-2:] == ["192.168.0.1,-", "127.0.0.1:5901"]
    assert lines[2].endswith(str(INVALID.problem))


@pytest.mark.parametrize(("found", "there"), [([RUNNING], False), ([RUNNING, INVALID], True), ([], False)])
def test_there_is_a_problem_column_only_where_there_is_a_problem(found: list[Status], there: bool) -> None:
    assert ("PROBLEM" in plain(found).splitlines()[0]) == there
    assert len(plain(found).splitlines()) == 1 + len(found)


def test_a_display_has_a_column_only_where_there_is_one() -> None:
    assert "DISPLAY" not in plain([RUNNING])
    path = "/run/kvmrun/vm/vm1/vnc/v"
    head, one, other = plain([RUNNING.replace(display=path), RUNNING]).splitlines()
    assert (head.split()[-1], one.split()[-1], other.split()[-1]) == ("DISPLAY", path, "-")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (59, "59s"), (61, "1m1s"), (3600, "1h0m"), (86399, "23h59m"), (90000, "1d1h"), (None, "-")],
)
def test_a_time_is_shown_in_its_two_largest_units(seconds: int | None, shown: str) -> None:
    assert guest_cells(RUNNING.replace(uptime_s=seconds))[4] == shown


@pytest.mark.parametrize(
    ("rss", "memory", "shown"),
    [(None, 512 << 20, "512M"), (0, 1 << 30, "0M/1024M"), (11 << 30, 16 << 30, "11.0G/16.0G"), (5 << 20, None, "5M/-")],
)
def test_memory_is_used_of_given(rss: int | None, memory: int | None, shown: str) -> None:
    assert guest_cells(RUNNING.replace(rss_bytes=rss, memory_bytes=memory))[6] == shown


@given(st.text(), st.text())
def test_no_text_breaks_a_line(word: str, problem: str) -> None:
    nic = ETH0.replace(tap=word, mac=word, address=word)
    hostile = Status(name=word, state=word, accel=word, nics=(nic, nic), problem=problem)
    lines = plain([hostile, RUNNING]).split("\n")
    assert len(lines) == 4
    assert not set("".join(lines)) & set(map(chr, (*range(32), *range(127, 160), 0x202E, 0x200B)))


@pytest.mark.parametrize("width", [40, 50, 60, 80, 100, 140])
def test_no_value_is_broken_on_a_narrow_terminal(width: int) -> None:
    found = [
        Status(name="a-guest-with-a-name-of-32-letters", state="degraded", accel="tcg", pid=12345, uptime_s=99999,
               problem="its tap tap-vm2 is not a port of br0; see /var/lib/kvmrun/images/vm2.qcow2"),
        INVALID,
    ]  # fmt: skip
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(guest_table.table(found, LIVE, width))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, shown.splitlines())) <= width
    words = set(shown.split())
    for one in found:
        assert {one.state, *(one.problem or "").split()} <= words


@pytest.mark.parametrize("view", [LIVE, CONFINEMENT])
def test_a_lab_without_guests_is_a_table_of_heads(view: View, capsys: pytest.CaptureFixture[str]) -> None:
    guest_table.draw_table([], view, color="never")
    assert capsys.readouterr().out.startswith("NAME")
