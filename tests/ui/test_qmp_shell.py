import json
import os
import stat
import time

import pytest
from support.screen import Screen, screen

from kvmrun.errors import KvmrunError
from kvmrun.ui.shell.qmp_history import History
from kvmrun.ui.text.output import (
    PrintedValue,
    print_answer,
    print_error,
    print_json,
    print_line,
    shell_event_line,
    use_colour,
)

# A conversation with nobody: what the shell does, without a guest behind it.
SCRIPT = """
import asyncio, sys
from kvmrun.errors import KvmrunError, NotRunning, UsageError
from kvmrun.ui.shell import qmp_shell
from kvmrun.ui.text.output import PrintedValue

async def main():
    news = asyncio.Queue()
    async def answer(line):
        match line.split():
            case ["leave"]: return None
            case ["die"]: raise NotRunning("vm2 is gone")
            case ["wrong"]: raise UsageError("wrong word", "try another")
            case ["wait"]: print("waiting", flush=True); await asyncio.sleep(1000)
            case ["later", what]:
                asyncio.get_running_loop().call_later(0.2, news.put_nowait, what)
                return ()
            case ["json"]: return PrintedValue(json={"a": [1, True], "b\\x1b": "x\\u202e"})
            case words: return ("heard " + " ".join(words),)
    async def event():
        what = await news.get()
        if what == "END": raise NotRunning("vm2 is gone")
        if what == "BAD": raise KvmrunError("garbage came")
        return "event " + what
    def complete(before):
        known = {"query-status": "what it does", "query-name": "its name"}
        return [(text, len(before), meta) for text, meta in known.items() if text.startswith(before)]
    await qmp_shell.run_shell(qmp_shell.ShellBackend(
        guest="vm2", prompt="vm2> ", welcome="welcome to vm2", answer=answer, complete=complete, event=event,
        question=lambda line: "really?" if line == "quit" else "", history=sys.argv[1], color=sys.argv[2] == "color"))
    print("left")
asyncio.run(main())
"""


@pytest.fixture
def history(tmp_path) -> str:
    return f"{tmp_path}/state/kvmrun/history"


def ready(one: Screen) -> Screen:
    one.wait_for("welcome to vm2")
    one.wait_for("vm2> ")
    return one


def test_lines_are_answered_and_errors_end_nothing(history: str) -> None:
    with screen(SCRIPT, history, "plain") as one:
        ready(one).type("hello\r")
        one.wait_for("heard hello")
        one.type("wrong\r")
        one.wait_for("wrong word")
        one.wait_for("try another")
        one.type("json\r")
        shown = one.wait_for("}")
        assert '"b\\u001b": "x\\u202e"' in shown
        one.type("leave\r")
        one.wait_for("left")
        assert one.end() == 0


def test_control_d_leaves(history: str) -> None:
    with screen(SCRIPT, history, "plain") as one:
        ready(one).type("\x04")
        one.wait_for("left")
        assert one.end() == 0


def test_tab_completes_and_shows_what_each_is(history: str) -> None:
    with screen(SCRIPT, history, "plain") as one:
        ready(one).type("qu\t")
        one.wait_for("query-")
        one.type("\t")
        one.wait_for("what it does")
    with screen(SCRIPT, history, "plain") as one:
        ready(one).type("query-s\t")
        one.wait_for("query-status")
        one.type("\r")
        one.wait_for("heard query-status")


def test_an_event_does_not_break_the_line_being_typed(history: str) -> None:
    with screen(SCRIPT, history, "plain") as one:
        ready(one).type("later STOP\r")
        one.wait_for("vm2> ")
        one.type("half a li")
        one.wait_for("event STOP\r\n")
        assert "half a li" in one.wait_for("half a li").splitlines()[-1]
        one.type("ne\r")
        one.wait_for("heard half a line")


def test_control_c_clears_the_line(history: str) -> None:
    with screen(SCRIPT, history, "plain") as one:
        ready(one).type("never sent\x03")
        one.wait_for("vm2> ")
        one.type("hello\r")
        assert "heard never" not in one.wait_for("heard hello")


def test_control_c_again_and_again_does_not_leave(history: str) -> None:
    with screen(SCRIPT, history, "plain") as one:
        ready(one)
        for _ in range(40):
            one.type("\x03")
            time.sleep(0.01)  # some of them between two prompts
        one.type("\rhello\r")
        one.wait_for("heard hello")


def test_control_c_stops_waiting_for_a_command(history: str) -> None:
    with screen(SCRIPT, history, "plain") as one:
        ready(one)
        for _ in range(2):
            one.type("wait\r")
            one.wait_for("waiting")
            one.type("\x03")
            one.wait_for("No longer waiting")
            one.wait_for("vm2> ")
        one.type("hello\r")
        one.wait_for("heard hello")


def test_what_ends_the_guest_is_asked_first(history: str) -> None:
    with screen(SCRIPT, history, "plain") as one:
        for reply in ("\r", "n\r", "\x03", "\x04"):
            one.wait_for("vm2> ")
            one.type("quit\r")
            one.wait_for("really? [y/N] ")
            one.type(reply)
        one.wait_for("vm2> ")
        one.type("quit\r")
        one.wait_for("really? [y/N] ")
        one.type("y\r")
        one.wait_for("heard quit")


@pytest.mark.parametrize("line", ["later END", "die"])
def test_the_end_of_the_guest_is_said_and_is_no_error(line: str, history: str) -> None:
    with screen(SCRIPT, history, "plain") as one:
        ready(one).type(f"{line}\r")
        one.wait_for("vm2 has ended")
        one.wait_for("left")
        assert one.end() == 0


def test_garbage_ends_it_with_the_error(history: str) -> None:
    with screen(SCRIPT, history, "plain") as one:
        ready(one).type("later BAD\r")
        one.wait_for("KvmrunError: garbage came")
        assert one.end() == 1


def test_colours_only_where_wanted(history: str) -> None:
    for color, wanted in (("plain", False), ("color", True)):
        with screen(SCRIPT, history, color) as one:
            ready(one).type("json\r")
            while b"true" not in one.raw:
                assert one.read()
            assert (b"\x1b[33mtrue" in one.raw) is wanted


def test_history_is_kept_private_and_without_secrets(history: str) -> None:
    with screen(SCRIPT, history, "plain") as one:
        ready(one).type("hello there\r")
        one.wait_for("heard hello")
        one.type("set password=abc\r")
        one.wait_for("heard set")
        one.type("leave\r")
        one.wait_for("left")
        one.end()
    assert stat.S_IMODE(os.stat(history).st_mode) == 0o600
    assert list(History(history).load_history_strings()) == ["leave", "hello there"]
    with screen(SCRIPT, history, "plain") as one:
        ready(one).type("\x1b[A\x1b[A\r")
        one.wait_for("heard hello there")


def test_a_history_that_cannot_be_written_does_not_matter(tmp_path) -> None:
    os.mkdir(f"{tmp_path}/dir")
    os.symlink(f"{tmp_path}/target", f"{tmp_path}/link")
    for path in (f"{tmp_path}/dir", "/proc/nowhere/history", f"{tmp_path}/link"):
        history = History(path)
        history.store_string("line")
        assert list(history.load_history_strings()) == []
    assert not os.path.exists(f"{tmp_path}/target")


def test_a_history_that_has_grown_large_starts_anew(tmp_path) -> None:
    path = f"{tmp_path}/history"
    with open(path, "w") as file:
        file.write("\n+old\n" * 300_000)
    History(path).store_string("new")
    assert list(History(path).load_history_strings()) == ["new"]


HOSTILE = "\x1b[31m\x9b\x7f\u202e\u200b[/x]\r"


def test_nothing_hostile_is_written(capsys) -> None:
    print_answer(PrintedValue(json={HOSTILE: [HOSTILE]}), color=False)
    print_answer((HOSTILE,), color=True)
    print_line(HOSTILE, color=False)
    print_line(shell_event_line({"event": HOSTILE, "data": {"x": HOSTILE}}), color=False)
    print_error(KvmrunError(HOSTILE, HOSTILE, reason=HOSTILE, lines=(HOSTILE,)), color=False)
    print_json({HOSTILE: "\ud800"})
    written = capsys.readouterr().out
    assert all(line.isprintable() for line in written.splitlines())


def test_dump_is_one_line_of_json(capsys) -> None:
    print_json({"b": "\x7f\n", "a": 1})
    line = capsys.readouterr().out
    assert line.isascii()
    assert line == '{"a": 1, "b": "\\u007f\\n"}\n'
    assert json.loads(line) == {"a": 1, "b": "\x7f\n"}


@pytest.mark.parametrize("depth", [101, 900, 20_000, 100_000])
def test_what_is_too_deep_to_show_is_an_error_on_every_python(depth: int) -> None:
    deep = nested(depth)
    with pytest.raises(KvmrunError, match="too deeply"):
        print_answer(PrintedValue(json=deep), color=False)
    with pytest.raises(KvmrunError, match="too deeply"):
        print_json(deep)


def test_what_is_just_not_too_deep_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(nested(100))
    assert json.loads(capsys.readouterr().out) == nested(100)
    print_answer(PrintedValue(json=[nested(99), {}, (), "[" * 500]), color=False)
    assert json.loads(capsys.readouterr().out) == [nested(99), {}, [], "[" * 500]


def nested(depth: int) -> object:
    value: object = 1
    for level in range(depth):
        value = {"a": value} if level % 2 else [2, value]
    return value


def test_when_to_use_colours(monkeypatch) -> None:
    assert use_colour("always")
    assert not use_colour("never")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert use_colour("auto")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not use_colour("auto")
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not use_colour("auto")
