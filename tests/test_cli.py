"""Words to a command, and how it ends."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmrun import __version__
from kvmrun.cli import commands, main
from kvmrun.cli.arguments import CommandParser
from kvmrun.cli.commands import check
from kvmrun.errors import KvmrunError, Refused, Several, UsageError


@pytest.fixture(autouse=True)
def own_umask() -> Iterator[None]:
    """cli.run narrows the umask of its process, which here is the tests'."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def _called(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the installed command is, which fixes name."""
    monkeypatch.setattr(sys, "argv", ["kvmrun"])


@pytest.mark.parametrize(
    ("words", "name", "rest"),
    [
        ("vm1", "up", "vm1"),
        ("vm1 vm2 -n", "up", "vm1 vm2 -n"),
        ("up vm1", "up", "vm1"),
        ("up list", "up", "list"),
        ("vm1 list", "up", "vm1 list"),
        ("list", "list", ""),
        ("ls -o json", "list", "-o json"),
        ("--list", "list", ""),
        ("--list -o json", "list", "-o json"),
        ("-C lab --list", "list", "-C lab"),
        ("-C lab vm1", "up", "-C lab vm1"),
        ("-C list vm1", "up", "-C list vm1"),
        ("--vms=list vm1", "up", "--vms=list vm1"),
        ("-C lab -v check", "check", "-C lab -v"),
        ("--color never --timeout 5 stop vm1", "stop", "--color never --timeout 5 vm1"),
        ("vm1 -- --list", "up", "vm1 -- --list"),
        ("../x", "up", "../x"),
        ("_lab", "up", "_lab"),
        ("__init__", "up", "__init__"),
        ("LIST", "up", "LIST"),
        ("--help", "", "--help"),
        ("-v -h", "", "-v -h"),
        ("", "", ""),
    ],
)
def test_the_first_word_that_is_no_flag_says_what_to_do(words: str, name: str, rest: str) -> None:
    assert main._command(words.split()) == (name, rest.split())


@pytest.mark.parametrize("words", ["-v", "-C", "-C lab", "-- vm1", "-x --", "--timeout 5"])
def test_flags_alone_are_no_command(words: str) -> None:
    with pytest.raises(UsageError, match="no command"):
        main._command(words.split())


def test_what_follows_two_dashes_is_for_qemu(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = (["-C", "x", "--", "-S"], str(lab))
    monkeypatch.setattr(check, "run", lambda args: (args.raw, args.vms) != wanted)
    assert not main.run(["check", "-C", str(lab), "--", "-C", "x", "--", "-S"])


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_the_version_is_told(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([word]) == 0
    assert capsys.readouterr().out == f"kvmrun {__version__}\n"


def test_help_tells_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in commands.names():
        assert commands.help_of(name)
        assert f"  {name:<10} {commands.help_of(name)}" in lines


@pytest.mark.parametrize("name", commands.names())
def test_every_command_helps(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main.run([name, "--help"])
    assert done.value.code == 0
    assert f"kvmrun {name}" in capsys.readouterr().out.replace("kvmrun [up]", "kvmrun up")


def test_no_words_are_a_usage_error_that_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == 2
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["list", "--nonsense"], ["list", "-o", "xml"], ["show"], ["check", "--timeout", "x"]]
)
def test_wrong_words_exit_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main.run(words)
    assert done.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nope"], 4, "there is no guest nope"),
        (["vm9"], 4, "did you mean vm1?"),
        (["lst"], 4, "did you mean kvmrun list?"),
        (["sotp", "vm1"], 4, "did you mean kvmrun stop vm1?"),
        (["delete", "vm1"], 4, "did you mean kvmrun rm vm1?"),
        (["commands"], 4, "did you mean kvmrun --help?"),
        (["create", "web"], 4, "did you mean kvmrun new web?"),
        (["create", "web", "--memory", "2G"], 4, "did you mean kvmrun new web?"),
        (["destroy", "--force", "vm1"], 4, "did you mean kvmrun kill vm1?"),
        (["logs", "-f", "vm1"], 4, "did you mean kvmrun log vm1?"),
        (["duplicate", "vm1", "web"], 4, "did you mean kvmrun clone vm1 web?"),
        (["mv", "vm1", "web"], 4, "did you mean kvmrun rename vm1 web?"),
        (["shutdown", "vm1", "xlist"], 4, "did you mean kvmrun stop vm1 xlist?"),
        (["attach", "vm1", "xlist"], 4, "did you mean kvmrun console vm1?"),
        (["command", "vm1", "ls", "/"], 4, "did you mean kvmrun exec vm1 ls /?"),
        (["transfer", "a b", "vm1:/"], 4, "did you mean kvmrun cp 'a b' vm1:/?"),
        (["screendump", "vm1", "x.png"], 4, "did you mean kvmrun screenshot vm1 x.png?"),
        (["network", "ls"], 4, "did you mean kvmrun net status?"),
        (["network", "start", "lan"], 4, "did you mean kvmrun net up lan?"),
        (["network", "create", "dmz"], 4, "kvmrun edit networks"),
        (["reload", "vm1"], 4, "did you mean kvmrun restart vm1?"),
        (["global-status"], 4, "did you mean kvmrun list --all-labs?"),
        (["provision", "vm1"], 4, "cloud-init"),
        (["launch"], 4, "did you mean kvmrun up NAME?"),
        (["exec", "-it", "vm1", "ls"], 2, "kvmrun ssh vm1 ls "),
        (["screenshot", "vm1", "x.JPG"], 2, "kvmrun screenshot vm1 x.png"),
        (["stop", "vm1.toml"], 4, "did you mean vm1?"),
        (["show", "vms.d/vm1.toml"], 4, "did you mean vm1?"),
        (["-l"], 2, "kvmrun --list"),
        (["xist"], 4, "did you mean kvmrun list, or the guest xlist?"),
        (["show", "nope"], 4, "there is no guest nope"),
        (["stop", "nope"], 4, "there is no guest nope"),
        (["bad"], 5, "bad.toml: cpus"),
        (["show", "bad"], 5, "bad.toml: cpus"),
        (["-v"], 2, "no command in: -v"),
        (["--lst"], 2, "kvmrun --list"),
        (["up"], 2, "no guest was named"),
    ],
)
def test_an_error_has_its_exit_code(
    lab: Path, words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (lab / "vm1.toml").touch()
    (lab / "xlist.toml").touch()
    (lab / "bad.toml").write_text("cpus = 0")
    assert main.run([*words, *(["-C", str(lab)] if words[0][0] != "-" else [])]) == code
    said = capsys.readouterr()
    assert says in said.err.replace(f"kvmrun -C {lab} ", "kvmrun ")
    assert said.out == ""


@pytest.mark.parametrize(
    "word", ["\x1b[31mred", "a\x07b", "vm\u202e1", "vm\u200b", "\udcff\udcfe", "a\r\nb", "[red]x[/red]"]
)
def test_a_hostile_word_is_printed_as_text(lab: Path, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([word, "-C", str(lab)]) == 4
    assert all(line.isprintable() for line in capsys.readouterr().err.splitlines())


def test_an_error_says_what_why_the_mend_and_last_words(capsys: pytest.CaptureFixture[str]) -> None:
    main.complain(Refused("no\x1b", "do this", reason="because", lines=("said\x07", "more")))
    assert capsys.readouterr().err.splitlines() == [
        "kvmrun: no\\x1b", "  reason: because", "  fix: do this", "  | said\\x07", "  | more",
    ]  # fmt: skip


@pytest.mark.parametrize(("words", "red"), [("", False), ("--color always", True), ("--color=never", False)])
def test_an_error_is_red_only_where_wanted(
    lab: Path, words: str, red: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["show", "nobody", "-C", str(lab), *words.split()]) == 4
    assert ("\x1b[1;31mkvmrun:\x1b[0m there" in capsys.readouterr().err) is red


@pytest.mark.parametrize("name", commands.names())
def test_options_may_stand_anywhere(name: str) -> None:
    """`kvmrun net up lan -q`, `kvmrun -q net up lan` and what is between mean the same."""
    module = commands.load(name)
    assert module is not None
    places = [action for action in CommandParser(name, module)._actions if not action.option_strings]
    words = [next(iter(action.choices or ["vm1"])) for action in places]
    if hasattr(module, "COMMAND_LINE"):
        words = words[:1]  # what follows is the guest's
    parsed = [CommandParser(name, module).parse([*words[:at], "-q", *words[at:]]) for at in range(len(words) + 1)]
    assert all(one == parsed[0] and one.quiet for one in parsed)


def end(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """How `kvmrun check` ends when `error` is raised within."""

    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(check, "run", fail)
    return main.run(["check"])


def test_of_several_errors_all_are_told_and_the_first_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end(monkeypatch, Several([Refused("one"), KvmrunError("two")])) == 6
    assert capsys.readouterr().err == "kvmrun: one\nkvmrun: two\n"


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert end(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "\n"


def test_a_bug_leaves_its_traceback_in_a_file_and_says_where(
    own_directories: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(own_directories))
    assert end(monkeypatch, RuntimeError("oops\x1b")) == 70
    said = capsys.readouterr().err
    (report,) = own_directories.glob("kvmrun-*.log")
    assert said == f"kvmrun: this is a bug: RuntimeError: oops\\x1b\n  please report it with {report}\n"
    assert "Traceback" in report.read_text()
    assert report.stat().st_mode & 0o077 == 0


def test_a_bug_without_room_for_a_file_still_ends_well(
    own_directories: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(own_directories / "missing"))
    assert end(monkeypatch, RuntimeError("oops")) == 70
    assert "could not be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["vm1", "--accell", "tcg"], "did you mean --accel?"),
        (["list", "--outptu=json"], "did you mean --output?"),
        (["list", "-z"], "error: unrecognized arguments: -z\n"),
        (["net", "start", "lan"], "did you mean kvmrun net up lan?"),
        (["net", "lan"], "did you mean kvmrun net status lan?"),
        (["net", "stats", "-o", "json", "lan"], "did you mean kvmrun net status?"),
        (["net", "create", "dmz"], "kvmrun edit networks"),
        (["log", "--tail", "5", "vm1"], "did you mean -n LINES?"),
        (["stop", "-t", "5", "vm1"], "did you mean --timeout SECONDS?"),
        (["rm", "--remove-all-storage", "vm1"], "did you mean --images?"),
        (["console", "--force", "vm1"], "did you mean --steal?"),
        (["kill", "-s", "HUP", "vm1"], "fix: leave it out: kvmrun stop"),
        (["vm1", "-d"], "a guest always runs in the background"),
        (["screenshot", "vm1"], "error: required: FILE.png\n"),
        (["rename"], "error: required: NAME, NEW\n"),
    ],
)
def test_argparse_says_what_was_meant(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.run(words)
    assert says in capsys.readouterr().err
