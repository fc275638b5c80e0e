"""Terminals, locales and standard streams as a caller may have left them: the command works, or says why not."""

import json
import os
import pty
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli, Result
from support.proc import held, logger
from support.tally import Tally
from support.world import processes, until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: bridges and taps"),
    pytest.mark.usefixtures("netns", "tun"),
]
WHAT = "TERM, COLUMNS, locales, closed, full and abandoned streams under every kind of command"
COMMANDS = (
    ("list",),
    ("list", "-v"),
    ("--help",),
    ("list", "--help"),
    ("show", "vm1"),
    ("check",),
    ("vm2", "--dry-run"),
    ("monitor", "vm1", "-c", "query-status"),
    ("log", "vm1"),
    ("stop", "vm2"),
    ("wait", "vm2", "--for", "running", "--timeout", "0.1"),
    ("metrics",),
    ("net", "status"),
    ("completion", "bash"),
    ("show", "nobody"),
    ("list", "--nonsense"),
)
LONG = "x" * 120_000  # the kernel takes no longer one
ENVIRONS = {
    "TERM": ("", "dumb", "\x1b]0;evil\x07\x1b[31m", "../../etc/passwd", "%n%s{0}", LONG),
    "COLUMNS": ("0", "-1", "1", "1000000000", "abc", LONG),
    "LC_ALL": ("xx_XX", "C", "POSIX", "../../x", LONG),
    "LANG": ("tr_TR",),
    "PYTHONIOENCODING": ("ascii", "latin-1:strict"),
}
STREAMS = {
    "stdin closed": "<&-",
    "stdout closed": ">&-",
    "stderr closed": "2>&-",
    "all closed": "<&- >&- 2>&-",
    "stdout full": ">/dev/full",
    "stderr full": "2>/dev/full",
    "both full": ">/dev/full 2>&1",
    "stdout that can only be read": "1</dev/null",
}
UNWRITTEN = 1


@pytest.fixture
def reports(own_directories: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a bug would leave its traceback."""
    path = own_directories / "reports"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


@pytest.fixture
def two(lab: Path, kvmrun: Cli, reports: Path) -> Cli:
    """A guest that waits, one that does not run; letters in their definitions that not every encoding has."""
    guests(lab, "vm1", "vm2", text='description = "caf\u00e9 \u203a \u65e5"\nnic = []\n' + TCG)
    kvmrun.ok("--paused", "vm1")
    return kvmrun


def by_shell(cli: Cli, words: tuple[str, ...], streams: str) -> Result:
    """The command with its streams as a shell makes them; what is said to those that are left is caught."""
    line = ["/bin/sh", "-c", f'exec "$@" {streams}', "sh", *cli.words, *words]
    done = subprocess.run(
        line, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


def unread(cli: Cli, words: tuple[str, ...]) -> Result:
    """The command with its output in a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    line = [*cli.words, *words]
    done = subprocess.run(line, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    return Result(done.returncode, "", done.stderr)


def on_terminal(cli: Cli, words: tuple[str, ...], **environ: str) -> Result:
    """The command with a terminal as its output, and what that was shown."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    child = subprocess.Popen(
        [*cli.words, *words], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env={**os.environ, **environ}
    )
    os.close(theirs)
    shown = b""
    with child, suppress(OSError):  # EIO is its end
        while more := os.read(ours, 65536):
            shown += more
    os.close(ours)
    return Result(child.returncode, shown.decode(errors="replace"), "")


def is_clean(result: Result, reports: Path) -> None:
    """No bug, and at most one error."""
    text = result.out + result.err
    assert "Traceback" not in text
    assert "Exception" not in text
    assert text.count("kvmrun: ") <= 1, text
    bugs = [path.read_text() for path in reports.iterdir()]
    for path in reports.iterdir():
        path.unlink()
    assert not bugs, bugs[0][-600:]


def cases(cli: Cli) -> Iterator[tuple[str, tuple[str, ...], Callable[[], Result]]]:
    """(what, command, how it is called) of each."""
    for words in COMMANDS:
        for what, streams in STREAMS.items():
            yield what, words, lambda words=words, streams=streams: by_shell(cli, words, streams)  # type: ignore[misc]
        yield "nobody reads", words, lambda words=words: unread(cli, words)  # type: ignore[misc]
        for key, values in ENVIRONS.items():
            for value in values:
                what = f"{key}={value!r:.20}"
                yield what, words, lambda words=words, key=key, value=value: on_terminal(cli, words, **{key: value})  # type: ignore[misc]


def codes(what: str, usual: Result) -> set[int]:
    """How the command may end: as ever, but that what it has to say may not have been taken."""
    said = what in {"stdout full", "both full", "stdout that can only be read"} and usual.out
    return {UNWRITTEN} if said else {141} if what == "nobody reads" and usual.out else {usual.code}


def test_whatever_the_streams_are_it_works_or_says_why(two: Cli, reports: Path, tally: Tally) -> None:
    every = list(cases(two))
    row = tally.row("X-06", WHAT, len(every))
    usual = {words: two(*words) for words in COMMANDS}
    # a stride that meets every command and every kind once in a while
    for what, words, call in every if tally.full else every[::31]:
        with row.case(f"{' '.join(words)} with {what}"):
            result = call()
            is_clean(result, reports)
            assert result.code in codes(what, usual[words]), result
            if "TERM" in what or "COLUMNS" in what:
                assert "evil" not in result.out
                assert words != ("list",) or "vm2" in result.out, "nothing is shown"
            elif "full" not in what and "closed" not in what and result.code:
                assert "kvmrun" in result.out + result.err or result.code == 141
    with row.case("and the guest never noticed"):
        assert two.ok("monitor", "vm1", "-c", "query-status").json()["status"] == "prelaunch"
        assert two.rows()["vm1"]["state"] == "paused"


def _is_whole(kvmrun: Cli, root: Path, image: bytes) -> None:
    """Everything that was opened while a number from 0 to 2 was free holds what it should, and nothing we said."""
    place, state, pid = root / "run/vm/vm1", root / "state", kvmrun.pid("vm1")
    assert (state / "images/a.raw").read_bytes() == image
    for name in ("life", "op"):
        assert (place / name).read_bytes() == b""
    assert json.loads((place / "record").read_text())["name"] == "vm1"
    assert kvmrun.ok("monitor", "vm1", "-c", "query-status").json()["status"] == "prelaunch"
    mine = held(pid)
    assert mine[0] == "/dev/null"
    assert mine[1] == mine[2]
    assert mine[1].startswith("pipe:")
    beside = held(logger("vm1"))
    assert (beside[0], beside[1], beside[2]) == (mine[1], "/dev/null", "/dev/null")
    for told in (state / "log/vm1").iterdir():
        assert b"is running" not in told.read_bytes()
    (net,) = (int(one) for one in os.listdir("/proc") if one.isdigit() and _serves(int(one), root))
    for number in (0, 1, 2):
        assert held(net)[number] == "/dev/null" or held(net)[number].startswith("pipe:"), held(net)


def _serves(pid: int, root: Path) -> bool:
    """Whether that is dnsmasq itself of this test."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"dnsmasq" in words.split(b"\0")[0] and str(root).encode() in words


def test_a_start_without_streams_writes_nothing_where_it_does_not_belong(
    lab: Path, kvmrun: Cli, own_directories: Path, reports: Path, tally: Tally
) -> None:
    row = tally.row("X-06", WHAT, 20)
    image = bytes(range(256)) * 4096
    (own_directories / "state/images").mkdir(parents=True)
    (own_directories / "state/images/a.raw").write_bytes(image)
    guests(lab, "vm1", text=TCG + '[[drive]]\nimage = "a.raw"\n')
    closed = ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"]
    for streams in closed if tally.full else closed[-1:]:
        for words in (("vm1", "--paused"), ("vm1", "--paused", "-v")):
            with row.case(f"{' '.join(words)} {streams}"):
                assert by_shell(kvmrun, words, streams).code == 0
                is_clean(Result(0, "", ""), reports)
                _is_whole(kvmrun, own_directories, image)
            with row.case(f"its end, {streams}"):
                assert by_shell(kvmrun, ("kill", "vm1"), streams).code == 0
                assert by_shell(kvmrun, ("net", "down"), streams).code == 0
                until(lambda: not processes())
                assert (own_directories / "state/images/a.raw").read_bytes() == image
