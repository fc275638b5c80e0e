"""Which guests the words on the command line mean: what is not meant is never started, what can be done is done."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.cli import Cli, Result, guests

from kvmrun import cli, commands
from kvmrun.commands import _foreign
from kvmrun.commands._words import QuickParser

ALONE = 'accel = "tcg"\nmemory = "16M"\nnic = []\nconsole = false\nagent = false\n'
FOREIGN = sorted({*_foreign._COMMANDS, *_foreign._NOTES})
WIDE = ("--all", "--autostart")
OVER_MANY = ("stop", "kill", "restart", "pause", "resume", "reset", "freeze", "thaw")


@pytest.fixture(autouse=True)
def abc(lab: Path) -> None:
    guests(lab, "a", "b", text=ALONE + "autostart = true\n")


@pytest.fixture(autouse=True)
def own_umask() -> Iterator[None]:
    """cli.run narrows the umask of its process, which here is the tests'."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def refused(lab: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """How `kvmrun WORDS` ends in this process. A start that is not refused fails for want of QEMU."""
    code = cli.run(["-C", str(lab), *words])
    return code, capsys.readouterr().err


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(*_: object) -> dict[str, object]:
        raise AssertionError("something was to be started")

    monkeypatch.setattr("kvmrun.commands._begin.begin", begin)


@pytest.mark.usefixtures("no_start")
def test_a_word_of_another_tool_starts_nothing_and_gets_a_suggestion(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, word in enumerate(FOREIGN):
        forms = [word], [word, "a"], ["a", word], ["a", "b", word], [word, "@x"]
        for words, wanted in ((forms[number % 5], 4), ([word, (*WIDE, "-a")[number % 3]], 2)):
            code, said = refused(lab, capsys, *words)
            assert (code, "  fix: " in said) == (wanted, True), words


@pytest.mark.usefixtures("no_start")
@pytest.mark.parametrize("name", commands.names())
def test_a_guest_followed_by_a_command_starts_nothing(lab: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = refused(lab, capsys, "a", name)
    assert code == 4
    assert f"did you mean kvmrun {name}" in said


def slips(word: str) -> set[str]:
    """What comes of one typing error after the first letter."""
    ends = [(word[:n], word[n:]) for n in range(1, len(word) + 1)]
    dropped = {head + tail[1:] for head, tail in ends if tail}
    swapped = {head + tail[1] + tail[0] + tail[2:] for head, tail in ends if len(tail) > 1}
    return {one for one in dropped | swapped if len(one) > 2} - {word}


@pytest.mark.usefixtures("no_start")
@pytest.mark.parametrize("word", ["stop", "kill", "reset", "restart", "pause", "shutdown", "destroy", "delete"])
def test_a_slip_of_a_command_starts_nothing(lab: Path, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in slips(word) - {*commands.names(), *FOREIGN}:
        for words in ([wrong, "--all"], ["a", wrong]):
            code, said = refused(lab, capsys, *words)
            assert code in {2, 4}, words
            assert "did you mean" in said or "kvmrun does not" in said, words


@pytest.mark.usefixtures("no_start")
def test_an_unknown_first_word_starts_nothing(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("nosuch", "@nosuch", "../a", "A", "a.toml", "", "-", "é"):
        for more in ([], ["a"], ["a", "b"], ["--all"], ["--autostart"], ["-n", "a"]):
            assert refused(lab, capsys, *(["--color=never", word, *more]))[0] in {2, 4}, (word, more)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("shutdown", "stop a"), ("poweroff", "stop a"), ("halt", "stop a"), ("reboot", "restart a"),
        ("destroy", "kill a"), ("delete", "rm a"), ("remove", "rm a"), ("undefine", "rm a"), ("create", "new NEW"),
        ("launch", "up a"), ("start", "up a"), ("define", "new NEW"), ("status", "list"), ("info", "show a"),
        ("inspect", "show a"), ("ps", "list"), ("shell", "ssh a"), ("connect", "console a"), ("attach", "console a"),
        ("enter", "ssh a"), ("suspend", "pause a"), ("clone", "new NEW --copy a"), ("copy", "cp SRC DST"),
        ("move", "rename a NEW"), ("set", "edit a"), ("config", "edit a"), ("network", "net status"),
        ("domifaddr", "list a"), ("dumpxml", "show a"), ("vncdisplay", "show a"), ("qmp", "monitor a"),
        ("unfreeze", "thaw a"), ("unpause", "resume a"), ("shutdwon", "stop a"), ("destory", "kill a"),
    ],
)  # fmt: skip
def test_a_suggestion_is_by_meaning(word: str, meant: str) -> None:
    assert _foreign.suggestion(word, ["a"]) == f"did you mean kvmrun {meant}?"


@pytest.mark.parametrize(
    "word", ["snapshot", "checkpoint", "migrate", "save", "restore", "mount", "autostart", "resize", "hotplug"]
)
def test_what_kvmrun_has_not_it_says(word: str) -> None:
    assert "did you mean" not in _foreign.suggestion(word, ["a"])
    assert _foreign.suggestion(word)


@pytest.mark.parametrize(
    "word", ["resize", "unfreeze", "restore", "unreset", "refresh", "bill", "still", "skill", "arm", "form", "top5"]
)
def test_a_suggestion_is_no_harmful_neighbour(word: str) -> None:
    found = _foreign.suggestion(word, ["a"]).split()
    assert not found[3:4] or found[3] not in _foreign._HARMFUL


def test_every_suggestion_is_a_command_that_takes_what_it_shows() -> None:
    for template in set(_foreign._COMMANDS.values()):
        name = template.split()[0]
        assert name.startswith("--") or commands.is_command(name), template
        if name in _foreign.ALL or "{}" in template:
            parser = QuickParser()
            module = commands.load(name)
            assert module is not None
            module.configure(parser)
            assert ("--all" in parser._flags) == (name in _foreign.ALL), name


def test_a_word_of_another_tool_is_no_command_here() -> None:
    assert not [word for word in FOREIGN if commands.is_command(word)]


@pytest.mark.usefixtures("no_start")
@pytest.mark.parametrize("command", [*OVER_MANY, "up"])
def test_an_option_that_widens_is_refused_beside_names(
    lab: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--all", "-a", *(("--autostart",) if command == "up" else ()))
    for flag, names in itertools.product(flags, (["a"], ["@x"], ["a", "b"], ["nosuch"])):
        code, said = refused(lab, capsys, command, *names, flag)
        assert (code, "cannot be combined" in said) == (2, True), (flag, names)
    assert refused(lab, capsys, "a", flags[-1])[0] == 2


def names_of(result: Result) -> list[str]:
    """The guests of whom an error was told, in its order."""
    return [line.split("guest ")[1] for line in result.err.splitlines() if "there is no guest" in line]


def test_what_can_be_done_is_done_and_the_rest_is_told(kvmrun: Cli) -> None:
    started = kvmrun("up", "a", "nosuch", "b")
    assert (started.code, names_of(started)) == (4, ["nosuch"])
    assert kvmrun.rows()["a"]["pid"]
    assert kvmrun.rows()["b"]["pid"]
    for command, state in (("pause", "paused"), ("resume", "running"), ("reset", "running")):
        done = kvmrun(command, "a", "nosuch", "@none", "b")
        assert (done.code, names_of(done)) == (4, ["nosuch"])
        assert "there is no group none" in done.err
        assert [kvmrun.rows()[name]["state"] for name in ("a", "b")] == [state] * 2, command
    waited = kvmrun("wait", "a", "nosuch", "b", "--for", "running")
    assert (waited.code, names_of(waited)) == (4, ["nosuch"])
    again = kvmrun("restart", "-f", "a", "nosuch", "b")
    assert (again.code, again.out.count("is running (tcg")) == (4, 2)
    stopped = kvmrun("stop", "-f", "nosuch", "a", "neither", "b")
    assert (stopped.code, names_of(stopped)) == (4, ["nosuch", "neither"])
    assert [row["state"] for row in kvmrun.rows().values()] == ["stopped"] * 2
    killed = kvmrun("kill", "a", "nosuch")
    assert (killed.code, killed.out) == (4, "a is not running\n")
    removed = kvmrun("rm", "-y", "a", "nosuch", "b")
    assert (removed.code, names_of(removed), kvmrun.rows()) == (4, ["nosuch"], {})


def test_the_first_error_gives_the_exit_code(kvmrun: Cli) -> None:
    kvmrun.ok("up", "b")
    assert kvmrun("pause", "a", "nosuch", "b").code == 3
    assert kvmrun("resume", "nosuch", "a", "b").code == 4
    assert kvmrun.rows()["b"]["state"] == "running"


def test_a_usage_error_names_only_what_is_required(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, wanted in ((["net"], "required: verb"), (["rename"], "required: NAME, NEW")):
        with pytest.raises(SystemExit):
            cli.run(words)
        assert capsys.readouterr().err.strip().endswith(wanted)
