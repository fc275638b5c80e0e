"""Commands in a guest: what users of other tools type, how many at once, and what the exit code says."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.agent import Runner, agent
from support.builders import TCG, guests
from support.cli import Cli
from support.pretender import Pretender

from kvmrun.api.conversation import agent_exec
from kvmrun.cli.arguments import CommandParser
from kvmrun.cli.commands import ssh


@pytest.fixture
def runner(lab: Path, kvmrun: Cli, own_directories: Path, netns: None) -> Iterator[Runner]:
    """A running guest vm1 whose agent runs commands."""
    pretender = Pretender(own_directories / "pretender")
    guests(lab, "vm1", text=TCG + "nic = []\n")
    kvmrun.ok("vm1", KVMRUN_QEMU=str(pretender.program))
    place, found = own_directories / "run/vm/vm1", Runner()
    (place / "a").unlink()
    with agent(place, found):
        yield found


def test_the_words_after_the_name_are_the_command(kvmrun: Cli, runner: Runner) -> None:
    for words, ran in (
        (("vm1", "ls", "-l", "/tmp"), "ls -l /tmp"),
        (("vm1", "--", "ls", "-l"), "ls -l"),
        (("--timeout", "9", "vm1", "ls", "--timeout", "5"), "ls --timeout 5"),
        (("vm1", "--timeout", "9", "--", "ls"), "ls"),
        (("vm1", "printf", "a", "--", "-q"), "printf a -- -q"),
        (("-e", "A=1", "--env=B=x y", "vm1", "env"), "env A=1 B=x y env"),
        (("-u", "bob", "vm1", "id"), "runuser -u bob -- id"),
        (("-w", "/tmp", "vm1", "pwd"), f"sh -c {agent_exec._IN_DIRECTORY} sh /tmp pwd"),
    ):
        assert kvmrun.ok("exec", *words).out == ran
    for words in (("vm1",), ("vm1", "-x"), ("vm1", "--help", "x"), ("-e", "A", "vm1", "x"), ("-e", "=1", "vm1", "x")):
        done = kvmrun("exec", *words)
        assert (done.code, done.out, "kvmrun" in done.err) == (2, "", True), words
    assert len(runner.ran) == 8


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("Failed to execute child process “x” (No such file or directory)", 127),
        ("Failed to execute child process “x” (Permission denied)", 126),
        ("Failed to execute child process “x” (Exec format error)", 126),
        ("out of memory", 1),
    ],
)
def test_a_command_that_cannot_be_run_ends_as_in_a_shell(kvmrun: Cli, runner: Runner, reason: str, code: int) -> None:
    runner.errors["x"] = reason
    done = kvmrun("exec", "vm1", "x")
    assert (done.code, done.out, "Traceback" in done.err) == (code, "", False)


def test_many_at_once_take_turns_and_none_is_run_twice(kvmrun: Cli, runner: Runner) -> None:
    runner._polls = 12  # which takes longer than one waits for an answer: they meet on the line
    with ExitStack() as stack:
        begun = [stack.enter_context(kvmrun.begun("exec", "vm1", "job", f"{n}")) for n in range(4)]
        assert [one.wait(90) for one in begun] == [0] * 4
    assert sorted(words[1] for words in runner.ran) == ["0", "1", "2", "3"]


def test_one_that_is_begun_waits_for_the_agent_and_tells_what_goes_on(
    kvmrun: Cli, runner: Runner, own_directories: Path
) -> None:
    import fcntl  # as another of our commands holds the agent

    runner._polls = 1_000_000
    with kvmrun.begun("exec", "--timeout", "6", "vm1", "job") as child:
        while not runner.ran:
            assert child.poll() is None
        with (own_directories / "run/vm/vm1/life").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert child.wait(60) == 7
        assert child.stdout
        assert "pid 1" in child.stdout.read()
    with (own_directories / "run/vm/vm1/life").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert kvmrun("exec", "--timeout", "0.5", "vm1", "job").code == 75
    assert len(runner.ran) == 1


@pytest.mark.parametrize("name", ["exec", "ssh"])
def test_usage_shows_the_command(kvmrun: Cli, name: str) -> None:
    assert "[--] COMMAND [ARGUMENT ...]" in kvmrun.ok(name, "--help").out


@pytest.mark.parametrize(
    ("words", "own", "raw"),
    [
        ("vm1", "vm1", ""), ("vm1 uptime", "vm1", "uptime"), ("vm1 -- -v", "vm1", "-v"),
        ("vm1 -l root", "vm1 -l root", ""),
        ("-l root vm1 ls -l", "-l root vm1", "ls -l"), ("vm1 -l root -- ls", "vm1 -l root", "ls"),
        ("--login=root vm1 -- ls --", "--login=root vm1", "ls --"), ("-- x", "", "x"),
        ("-q vm1 a -q", "-q vm1", "a -q"),
    ],
)  # fmt: skip
def test_words_are_parted_at_the_name(words: str, own: str, raw: str) -> None:
    assert CommandParser("ssh", ssh).split(words.split()) == (own.split(), raw.split())
