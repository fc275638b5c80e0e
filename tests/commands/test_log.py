"""What a guest printed: kept after its end, followed while it lives, and its logger replaced when it died."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.proc import logger
from support.sector import sector
from support.world import opened, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="QEMU as another user needs root")


def test_it_outlives_the_guest(lab: Path, kvmrun: Cli) -> None:
    sector(lab, "vm1", b"first\r\nsecond\r\nthird\r\nno end")
    assert kvmrun("log", "vm1").code == 3
    kvmrun.ok("vm1", "--wait=console:end")
    kvmrun.ok("kill", "vm1")
    until(lambda: not logger("vm1"))
    lines = kvmrun.ok("log", "vm1").out.splitlines()
    assert lines[-3:] == ["first", "second", "third"]
    assert kvmrun.ok("log", "vm1", "-n", "2").out == "second\nthird\n"
    (lab / "vm1.toml").unlink()
    assert kvmrun.ok("log", "vm1", "-n", "1").out == "third\n"


def test_the_logs_of_several_guests_come_one_after_the_other(lab: Path, kvmrun: Cli) -> None:
    for name in ("a", "b"):
        sector(lab, name, f"of {name}\r\nend".encode(), more='groups = ["lab"]\n')
    sector(lab, "c", b"", more='groups = ["lab"]\n')
    kvmrun.ok("a", "b", "--wait=console:end")
    kvmrun.ok("kill", "a", "b")
    until(lambda: not (logger("a") or logger("b")))
    assert kvmrun.ok("log", "a", "b", "a", "-n", "1").out == "==> a <==\nof a\n\n==> b <==\nof b\n"
    group = kvmrun("log", "@lab", "-n", "1")
    assert (group.code, group.err.startswith("kvmrun: c "), "==> b <==\nof b" in group.out) == (3, True, True)
    several = kvmrun("log", "a", "vm9", "b", "-o", "json", "-n", "1")
    assert (several.code, several.out.count("\n"), "vm9" in several.err) == (4, 2, True)
    follow = kvmrun("log", "-f", "a", "b")
    assert (follow.code, "kvmrun log --follow a" in follow.err) == (2, True)
    assert kvmrun("log").code == 2


def test_one_log_goes_on_over_the_lives_of_a_guest(lab: Path, kvmrun: Cli) -> None:
    sector(lab, "vm1", b"first\r\n")
    kvmrun.ok("vm1", "--wait=console:first")
    kvmrun.ok("kill", "vm1")
    until(lambda: not logger("vm1"))
    sector(lab, "vm1", b"second\r\n")
    with kvmrun.begun("log", "vm1", "-f") as follower:  # of one that does not run: it is waited for
        assert follower.stdout
        until(lambda: "first" in follower.stdout.readline())  # type: ignore[union-attr]
        kvmrun.ok("vm1")
        parted = follower.stdout.readline()
        assert re.fullmatch(r"--- started \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \((tcg|kvm)\)\n", parted), parted
        assert "second" in follower.stdout.readline()
        kvmrun.ok("restart", "vm1", "--force", "--wait=console:second")
        assert follower.wait(10) == 0
    until(lambda: kvmrun.ok("log", "vm1").out.count("second") == 2)
    lines = kvmrun.ok("log", "vm1").out.splitlines()
    assert [line.partition("--- started")[1] or line for line in lines] == [
        *("first", "--- started", "second", "--- started", "second"),
    ]


def test_what_is_not_there(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text=TCG)
    assert kvmrun("log", "vm2").code == 4
    assert kvmrun("log", "../log").code == 4
    assert kvmrun("log", "vm1", "-n", "-1").code == 2
    assert kvmrun("log", "vm1", "--restart").code == 3


def test_the_last_words_of_qemu_are_in_it(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text=TCG + 'nic = []\nargs = ["-device nonsense"]\n')
    assert kvmrun("vm1").code == 1
    assert "'nonsense'" in kvmrun.ok("log", "vm1").out


def test_it_is_printable_unless_raw(lab: Path, kvmrun: Cli) -> None:
    sector(lab, "vm1", b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x9b6n\x7f\r\nnext\r\n")
    kvmrun.ok("vm1", "--wait=console:next")
    until(lambda: "next" in kvmrun.ok("log", "vm1").out)
    assert "red \\x1b]0;title\\x07\ufffd6n\\x7f\nnext" in kvmrun.ok("log", "vm1").out
    raw = subprocess.run([*kvmrun.words, "log", "vm1", "--raw"], check=True, capture_output=True).stdout
    assert b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x9b6n\x7f\r\nnext\r\n" in raw


class TestFollowing:
    def test_until_the_guest_ends(self, echo: Cli) -> None:
        with echo.begun("log", "vm1", "-f", "-n", "1") as follower:
            assert follower.stdout
            assert follower.stdout.readline() == "hello\n"
            echo.typed("console", "vm1", text="typed\n")
            assert follower.stdout.readline() == "typed\n"
            echo.typed("console", "vm1", text="last\n")
            echo.ok("kill", "vm1")
            assert follower.stdout.read() == "last\n"
            assert follower.wait(10) == 0

    def test_until_its_time_is_over(self, echo: Cli) -> None:
        for more in ((), ("-o", "json"), ("--raw",)):
            assert "hello" in echo.ok("log", "vm1", "-f", "--timeout", "0.3", *more).out

    def test_until_an_interrupt(self, echo: Cli) -> None:
        with echo.begun("log", "vm1", "-f") as follower:
            assert follower.stdout
            until(lambda: "hello" in follower.stdout.readline())  # type: ignore[union-attr]
            follower.send_signal(signal.SIGINT)
            assert follower.wait(10) == 130

    def test_from_before_the_start_and_over_many_files(self, lab: Path, kvmrun: Cli) -> None:
        sector(lab, "vm1", b"%s\r\n" % (b"all work and no play " * 20), flood=True)
        with kvmrun.begun("log", "vm1", "-f", "-n", "0") as follower:
            assert follower.stdout
            kvmrun.ok("vm1")
            until(lambda: len(list(log(lab).glob("@*"))) >= 2, limit=120)
            kvmrun.ok("kill", "vm1")
            lines = follower.stdout.read().splitlines()
            assert follower.wait(10) == 0
        play = [line for line in lines if "play" in line]
        assert sum(map(len, play)) > 1_000_000
        assert not [line for line in play[:-1] if not re.fullmatch("(all work and no play ){20}", line)]


def log(lab: Path) -> Path:
    return lab.parent / "state/log/vm1"


class TestADeadLogger:
    @pytest.fixture
    def dead(self, echo: Cli) -> Cli:
        os.kill(logger("vm1"), signal.SIGKILL)
        until(lambda: echo.rows()["vm1"]["problem"])  # a logger that has just begun is given some seconds
        return echo

    def test_it_is_a_problem_with_a_mend(self, dead: Cli) -> None:
        row = dead.rows()["vm1"]
        assert (row["state"], "kvmrun log vm1 --restart" in row["problem"]) == ("running", True)
        dead.ok("log", "vm1", "--restart")
        assert dead.rows()["vm1"]["problem"] is None
        new = logger("vm1")
        assert dead.typed("console", "vm1", text="typed\n").out == "typed\n"
        until(lambda: "typed" in dead.ok("log", "vm1").out)
        dead.ok("log", "vm1", "--restart")
        assert logger("vm1") == new
        dead.ok("wait", "vm1", "--for", "console:typed")
        status = Path(f"/proc/{logger('vm1')}/status").read_text()
        assert "\nUid:\t0" not in status
        assert "\nCapEff:\t0000000000000000" in status

    def test_no_descriptor_of_a_former_logger_stays_in_qemu(self, dead: Cli) -> None:
        held = []
        for _ in range(3):
            dead.ok("log", "vm1", "--restart")
            held.append(opened(dead.pid("vm1")))
            os.kill(logger("vm1"), signal.SIGKILL)
            until(lambda: not logger("vm1"))
        assert held[0] == held[1] == held[2]

    def test_the_next_up_mends_it(self, dead: Cli) -> None:
        pid = dead.pid("vm1")
        dead.ok("vm1")
        mended = logger("vm1")
        assert (dead.pid("vm1"), dead.rows()["vm1"]["problem"], bool(mended)) == (pid, None, True)
        dead.ok("vm1")
        assert (dead.pid("vm1"), logger("vm1")) == (pid, mended)
        dead.ok("kill", "vm1")
        until(lambda: not logger("vm1"))


def test_a_logger_that_has_just_been_started_is_no_problem(lab: Path, kvmrun: Cli) -> None:
    sector(lab, "vm1", b"hello\r\n")
    kvmrun.ok("vm1")
    assert kvmrun.rows()["vm1"]["problem"] is None
    first = logger("vm1")
    kvmrun.ok("log", "vm1", "--restart")
    assert logger("vm1") == first != 0
