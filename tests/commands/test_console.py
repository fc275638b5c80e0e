"""The console in a real terminal: typed and read, left, taken over, and given back as it was whatever happens."""

import os
import re
import signal
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.cli import Cli
from support.screen import COMMAND, Screen, command, screen
from support.sector import sector
from support.world import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="QEMU as another user needs root")

HOSTILE = (
    b"\x1b]0;title\x07\x1b]52;c;aGFjaw==\x07\x1b[6n\x1b[c\x1b[>c\x1b[5n\x1b[21t\x1bPx\x1b\\\x1bZ\x05\x9b6n\x1b[?1049h"
    b"\x1b[31mred\x1b[?25l\x1b[?1003h"
)
HARMFUL = re.compile(rb"\x1b[]P_^XZ]|\x1b\[[0-9;?>=]*[cntx]|[\x80-\x9f]|\x05")


def console(lab: Path, *words: str) -> AbstractContextManager[Screen]:
    """`kvmrun console vm1` on a terminal; it is as it was once the command has ended."""
    return command(lab, "console", "vm1", *words)


def lost(lab: Path) -> AbstractContextManager[Screen]:
    """The same, on a terminal that is not looked at afterwards."""
    return screen(COMMAND, "-C", str(lab), "console", "vm1")


def answered(one: Screen, typed: str) -> None:
    one.type(typed)
    one.wait_for(typed)


class TestAtTheKeyboard:
    def test_a_session(self, lab: Path, echo: Cli) -> None:
        with console(lab) as one:
            one.wait_for("Ctrl-] leaves")
            answered(one, "typed")
            until(lambda: "-icanon" in one.attributes())
            one.type("\x03")  # the guest's, not ours
            one.type("\x1d")
            one.wait_for("left vm1, which goes on")
            assert one.end() == 0
        assert echo.rows()["vm1"]["state"] == "running"
        with console(lab) as one:
            one.wait_for("leaves")
            answered(one, "again")
            one.type("\x1d")
            assert one.end() == 0

    @pytest.mark.parametrize(("key", "byte", "said"), [("^a", "\x01", "Ctrl-A"), ("~", "~", "~")])
    def test_another_key_leaves(self, lab: Path, echo: Cli, key: str, byte: str, said: str) -> None:
        with console(lab, "--escape", key) as one:
            one.wait_for(f"{said} leaves")
            one.type("a\x1db")
            one.wait_for("ab")
            one.type(f"x{byte}y")
            one.wait_for("left vm1")
            assert one.end() == 0

    @pytest.mark.parametrize("key", ["", "ab", "^1", "é"])
    def test_no_key(self, echo: Cli, key: str) -> None:
        assert echo("console", "vm1", "--escape", key).code == 2

    def test_the_death_of_the_guest(self, lab: Path, echo: Cli) -> None:
        with console(lab) as one:
            one.wait_for("leaves")
            answered(one, "x")
            os.kill(echo.pid("vm1"), signal.SIGKILL)
            one.wait_for("vm1 has ended")
            assert one.end() == 0

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
    def test_a_signal(self, lab: Path, echo: Cli, number: int) -> None:
        with console(lab) as one:
            one.wait_for("leaves")
            answered(one, "x")
            one.child.send_signal(number)
            assert one.end() == 128 + number
        assert echo.rows()["vm1"]["state"] == "running"

    def test_a_terminal_that_goes_away(self, lab: Path, echo: Cli) -> None:
        with lost(lab) as one:
            one.wait_for("leaves")
            answered(one, "x")
            one.hang_up()
            one.child.wait(20)
        assert echo.typed("console", "vm1", text="y").out == "y"

    def test_a_terminal_that_shows_no_more_can_be_left(self, lab: Path, kvmrun: Cli) -> None:
        sector(lab, "vm1", b"all work and no play\r\n" * 10, flood=True)
        kvmrun.ok("vm1")
        with console(lab) as one:
            one.wait_for("no play")
            time.sleep(0.5)  # nobody reads: the line is full
            one.child.send_signal(signal.SIGTERM)
            assert one.child.wait(20) == 128 + signal.SIGTERM


class TestTheSeat:
    def test_a_second_person_is_told_who_was_first(self, lab: Path, echo: Cli) -> None:
        with console(lab) as one:
            one.wait_for("leaves")
            refused = echo("console", "vm1")
            assert refused.code == 75
            assert f"root (pid {one.child.pid}) is connected" in refused.err
            assert "--steal" in refused.err
            answered(one, "still mine")
            one.type("\x1d")
            assert one.end() == 0

    def test_it_can_be_taken_over(self, lab: Path, echo: Cli) -> None:
        with console(lab) as first:
            first.wait_for("leaves")
            answered(first, "x")
            with console(lab, "--steal") as second:
                second.wait_for("leaves")
                first.wait_for(f"by root (pid {second.child.pid})")
                assert first.end() == 75
                answered(second, "y")
                second.type("\x1d")
                assert second.end() == 0

    def test_one_that_was_killed_leaves_it_free(self, lab: Path, echo: Cli) -> None:
        with lost(lab) as one:
            one.wait_for("leaves")
            one.child.kill()
            one.child.wait()
        assert echo.typed("console", "vm1", text="z").out == "z"

    def test_one_that_does_not_let_go_is_named(self, lab: Path, echo: Cli) -> None:
        with lost(lab) as one:
            one.wait_for("leaves")
            one.child.send_signal(signal.SIGSTOP)
            refused = echo("console", "vm1", "--steal")
            assert (refused.code, f"pid {one.child.pid}" in refused.err) == (75, True)

    def test_it_is_gone_with_the_guest(self, echo: Cli, own_directories: Path) -> None:
        echo.typed("console", "vm1", text="z")
        echo.ok("kill", "vm1")
        assert not (own_directories / "run").exists()


class TestWithoutATerminal:
    def test_what_comes_in_goes_to_the_guest_and_its_answer_out(self, echo: Cli) -> None:
        done = echo.typed("console", "vm1", text="one\x1dtwo")
        assert (done.code, done.out, done.err) == (0, "one\x1dtwo".replace("\x1d", ""), "")

    def test_a_limit_ends_it(self, lab: Path, kvmrun: Cli) -> None:
        sector(lab, "vm1", b"all work and no play\r\n", flood=True)
        kvmrun.ok("vm1")
        began = time.monotonic()
        done = kvmrun("console", "vm1", "--timeout", "1")
        assert (done.code, "no play" in done.out) == (0, True)
        assert time.monotonic() - began >= 1

    def test_a_reader_that_has_enough(self, lab: Path, kvmrun: Cli) -> None:
        sector(lab, "vm1", b"all work and no play\r\n", flood=True)
        kvmrun.ok("vm1")
        with kvmrun.begun("console", "vm1", "--timeout", "20") as one:
            assert one.stdout
            one.stdout.read(100)
            one.stdout.close()
            assert one.wait(20) == 141  # as if by SIGPIPE

    def test_nothing_to_connect_to(self, lab: Path, kvmrun: Cli) -> None:
        sector(lab, "vm1", b"", more="console = false\n")
        assert kvmrun("console", "vm1").code == 3
        assert kvmrun("console", "vm2").code == 4
        kvmrun.ok("vm1")
        assert kvmrun("console", "vm1").code == 6


class TestHostileOutput:
    def test_nothing_harmful_reaches_the_terminal(self, lab: Path, kvmrun: Cli) -> None:
        sector(lab, "vm1", HOSTILE + b"\r\n", flood=True)
        kvmrun.ok("vm1")
        with console(lab) as one:
            shown = listened(one, 200_000)
            one.type("\x1d")
            shown += rest(one)
            assert one.child.wait(20) == 0
        assert not HARMFUL.search(shown)
        assert b"\x1b[31mred" in shown
        tail = shown[shown.rindex(b"red") :]
        for undone in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1003l", b"\x1b[0m"):
            assert undone in tail

    def test_raw_passes_everything_and_still_undoes_it(self, lab: Path, kvmrun: Cli) -> None:
        sector(lab, "vm1", HOSTILE + b"\r\n", flood=True)
        kvmrun.ok("vm1")
        with console(lab, "--raw") as one:
            shown = listened(one, 50_000)
            one.type("\x1d")
            shown += rest(one)
        assert b"\x1b]52;c;aGFjaw==\x07" in shown
        assert shown.rindex(b"\x1b[?1049l") > shown.rindex(b"\x1b[?1049h")


def listened(one: Screen, size: int) -> bytes:
    shown = b""
    while len(shown) < size:
        assert one.child.poll() is None
        shown += os.read(one.terminal, 65536)
    return shown


def rest(one: Screen) -> bytes:
    shown = b""
    try:
        while data := os.read(one.terminal, 65536):
            shown += data
    except OSError:
        pass
    return shown


@pytest.mark.slow
@pytest.mark.usefixtures("netns", "tun")
def test_a_shell_on_a_real_guest(lab: Path, kvmrun: Cli, demo: str) -> None:
    (lab / "vm1.toml").write_text(
        'accel = "tcg"\nmemory = "256M"\nnic = []\n'
        f'[boot]\nkernel = "{demo}/demo-vmlinuz"\ninitrd = "{demo}/demo-initrd"\n'
        'cmdline = "console=ttyS0 quiet hostname=walter"\n'
    )
    kvmrun.ok("vm1", "--wait=console:Enter 'help'")
    with console(lab) as one:
        one.wait_for("leaves")
        one.type("\r")
        one.wait_for("walter:/# ")
        one.type("hostname\r")
        one.wait_for("hostname\r\n")
        one.wait_for("walter\r\n")
        one.wait_for("walter:/# ")
        one.resize(31, 101)
        one.type("stty raw -echo; printf '\\033[18t'; a=$(head -c 11); stty sane; echo \"<${a#?}>\"\r")
        one.wait_for("<[8;31;101t>")
        one.wait_for("walter:/# ")
        one.type("\x1d")
        one.wait_for("left vm1")
        assert one.end() == 0
    assert kvmrun.rows()["vm1"]["state"] == "running"
    with console(lab) as one:
        one.wait_for("leaves")
        one.type("poweroff\r")
        one.wait_for("vm1 has ended")
        assert one.end() == 0
    until(lambda: kvmrun.rows()["vm1"]["state"] == "stopped")
