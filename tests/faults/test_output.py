"""What guests, files, names and QEMU say, through every output: nothing acts on a terminal, nothing ends in a bug."""

import io
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest
from rich.console import Console
from support import hostile
from support.builders import TCG, guests
from support.cli import Cli, Result
from support.pretender import Pretender
from support.tally import Tally

from kvmrun.cli import commands, main
from kvmrun.errors import KvmrunError
from kvmrun.model.guest.guest_status import NicStatus, Status
from kvmrun.model.printable import printable
from kvmrun.monitor.console.terminal_filter import TerminalFilter
from kvmrun.ui.text import guest_columns, guest_table, output


def plain(text: str) -> str:
    """Without the colours that Rich and we put in: nothing but SGR sequences of digits."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def fit(text: str) -> None:
    """No control character but newline and tab, no bidi, nothing that is half a character."""
    assert not hostile.harm(text), f"{hostile.harm(text)} in {text[:200]!r}"


@contextmanager
def caught() -> Iterator[list[str]]:
    """What is printed in the block, as a terminal in UTF-8 would get it: what cannot be encoded raises."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    said: list[str] = []
    with redirect_stdout(out), redirect_stderr(err):
        yield said
    for one in (out, err):
        one.flush()
        said.append(one.buffer.getvalue().decode())  # type: ignore[attr-defined]


@pytest.fixture
def calm() -> Iterator[None]:
    """The signals and the umask as before, whatever commands that ran in this process made of them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    umask = os.umask(0o022)
    yield
    os.umask(umask)
    for number, handler in before.items():
        signal.signal(number, handler)


def printed(do: Callable[[], object]) -> str:
    """What `do` prints, on either output."""
    with caught() as said:
        do()
    return "".join(said)


def _talk(word: str) -> None:
    for value in (word, {word: [word]}, [word]):
        output.print_answer(output.PrintedValue(json=value), color=False)
    output.print_answer((word, word), color=False)
    output.print_line(output.shell_event_line({"event": word, "data": {word: word}}), color=False)
    output.print_error(KvmrunError(word, word, reason=word, lines=(word,)), color=False)


def test_every_output_of_our_own_takes_any_text(tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    row = tally.row("E-01", "hostile strings through every output: table, lines, errors, monitor, JSON", 200 * 6)
    wide = {"markup": False, "emoji": False, "highlight": False, "force_terminal": True, "width": 400}
    monkeypatch.setattr(guest_table, "_console", lambda color: Console(**wide))
    for word in hostile.strings():
        nic = NicStatus(name=word, network=word, tap=word, mac=word, address=word)
        status = Status(name=word, state=word, accel=word, problem=word, uuid=word, nics=(nic,))
        with row.case(f"lines {word!r:.40}"):
            text = guest_columns.plain([status, status.replace(name="vm2")])
            fit(text)
            assert text.count("\n") == 3
        with row.case(f"table {word!r:.40}"):
            fit(plain(printed(lambda one=status: guest_table.draw_table([one], guest_columns.LIVE, color="always"))))
        with row.case(f"error {word!r:.40}"):
            error = KvmrunError(word, word, reason=word, lines=(word, word))
            fit(printed(lambda one=error: main.complain(one)))
        with row.case(f"monitor {word!r:.40}"):
            fit(printed(lambda one=word: _talk(one)))
        with row.case(f"JSON {word!r:.40}"):
            text = printed(lambda one=word: output.print_json({one: [one]}))
            fit(text)
            json.loads(text)
        with row.case(f"one line {word!r:.40}"):
            assert "\n" not in printable(word)
            fit(printable(word))
            assert len(printable(word, 10)) <= 10


def test_a_console_shows_text_and_nothing_that_acts(tally: Tally) -> None:
    row = tally.row("E-03", "hostile strings through the console's filter, cut at every byte", 200)
    for word in hostile.strings():
        data = word.encode(errors="surrogatepass")
        for cut in range(min(len(data), 12) + 1):
            with row.case(f"{word!r:.40} cut at {cut}"):
                one = TerminalFilter()
                shown = one.feed(data[:cut]) + one.feed(data[cut:]) + one.leave()
                for forbidden in (
                    b"\x1b]52",
                    b"\x1b]0;",
                    b"\x1bP",
                    b"\x1b_",
                    b"\x1b[6n",
                    b"\x1b[5n",
                    b"\x1b[c",
                    b"\x05",
                ):
                    assert forbidden not in shown, shown
                assert b"\x1b[21t" not in shown


NAMED = ("monitor", "console", "log", "show", "stop", "kill", "pause", "resume", "reset", "restart", "wait", "up")


def test_words_on_the_command_line_come_back_harmless(
    lab: Path, calm: None, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = tally.row("E-01", "hostile strings through every output: table, lines, errors, monitor, JSON", 200)
    (lab / "vm1.toml").write_text(TCG)
    monkeypatch.chdir(lab.parent)
    known = [name for name in NAMED if commands.load(name)]
    words = hostile.strings()
    for number, word in enumerate(words if tally.full else words[::5]):
        for name in known if tally.full else [known[number % len(known)], "list"]:
            with row.case(f"{name} {word!r:.40}"):
                code, said = _run("-C", str(lab), name, word)
                fit(said)
                assert code in {0, 2, 3, 4, 5, 6}, (code, said)
    for words_ in (["-C", "\x1b[31m", "check"], ["--color", "\x1b[31m", "list"], ["\x1b[31m"], ["--\x1b[31m"]):
        with row.case(words_):
            code, said = _run(*words_)
            fit(said)


def _run(*words: str) -> tuple[int, str]:
    """One command in this process."""
    code = 0
    with caught() as said:
        try:
            code = main.run(list(words))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return code, "".join(said)


def test_a_lab_that_is_full_of_it(lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally) -> None:
    """Names of directories, keys, values, leases and logs, through the commands themselves."""
    row = tally.row("E-01", "hostile strings through every output: table, lines, errors, monitor, JSON", 20)
    odd = lab.parent / "vms [x] '1',\"2.d"
    odd.mkdir()
    for number, word in enumerate(hostile.strings()):
        clean = "".join(c for c in word if not 0xD800 <= ord(c) < 0xE000)
        text = json.dumps(clean).replace("\x7f", "\\u007f")
        kind = number % 5
        line = (f"description = {text}", f"{text} = 1", f"[[nic]]\nnetwork = {text}", f"args = [{text}]", "")[kind]
        drive = f"[[drive]]\nimage = {text}\nformat = 'raw'\n" if kind == 4 and text.isascii() else ""
        if len(text) < 5000:
            (odd / f"vm{number}.toml").write_text(f"{line}\n{drive}")
    (odd / "fine.toml").write_text(
        f'{TCG}description = "[/x] [bold] :smile: {{0}} %s"\nargs = ["-name x,process=sshd"]\n'
    )
    places = {"KVMRUN_STATE_DIR": "list", "KVMRUN_RUN_DIR": "list", "KVMRUN_VMS": "list", "KVMRUN_QEMU": "fine"}
    (lab / "fine.toml").write_text(TCG)
    for key, command in places.items():
        with row.case(f"an odd {key}"):
            words = kvmrun.words[:3] if key == "KVMRUN_VMS" else kvmrun.words
            refused = Cli(words)(command, **{key: str(own_directories / "x\x1b[31m\u202e")})
            assert refused.code == 6
            fit(refused.out + refused.err)
    here = Cli([*kvmrun.words[:3], "-C", str(odd)])
    for words in (
        ["check"], ["check", "-o", "json"], ["list"], ["list", "-o", "json"], ["list", "--color", "always"],
        ["show", "fine"], ["show", "fine", "-o", "json"], ["fine", "-n"], ["up", "--all", "-n"], ["net", "status"],
        ["net", "status", "-o", "json"], ["doctor"], ["export", "shorewall"], ["export", "systemd"], ["log", "fine"],
        ["monitor", "fine"], ["stop", "fine"], ["wait", "fine", "--for", "console:\x1b[31m"], ["--help"],
        ["list", "-v"], ["metrics"],
    ):  # fmt: skip
        with row.case(words):
            result = here(*words)
            _documented(result)
            fit(plain(result.out) if "always" in words else result.out)
            fit(result.err)
            if "json" in words and result.out:
                json.loads(result.out)


def _documented(result: Result) -> None:
    assert result.code in {0, 1, 2, 3, 4, 5, 6, 7, 69, 75, 77}, f"exit {result.code}: {result.err}"


def test_logs_and_leases_come_back_as_text(lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally) -> None:
    row = tally.row("E-05", "hostile strings in logs, leases and names of links", 200)
    guests(lab, "vm1", text=TCG)
    log = own_directories / "state/log/vm1"
    log.mkdir(parents=True)
    words = [word.encode(errors="surrogatepass") for word in hostile.strings()]
    (log / "current").write_bytes(b"\n".join(word.replace(b"\n", b"") for word in words) + b"\n")
    said = kvmrun.ok("log", "vm1", "-n", "1000").out
    for line in said.split("\n")[:-1]:
        with row.case(line[:40]):
            fit(line)
    leases = own_directories / "state/net/lan"
    leases.mkdir(parents=True)
    lines = [b"1900000000 52:54:00:00:00:01 192.168.0.1 %s *" % word.replace(b" ", b"_") for word in words]
    for name in ("leases", "dnsmasq.leases"):
        (leases / name).write_bytes(b"\n".join(lines))
    for words_ in (["net", "status"], ["net", "status", "-o", "json"]):
        with row.case(words_):
            fit(kvmrun.ok(*words_).out)


@pytest.mark.usefixtures("netns", "tun")
def test_links_with_names_that_mean_harm(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row("E-05", "hostile strings in logs, leases and names of links", 10)
    guests(lab, "vm1", text=TCG)
    kvmrun.ok("net", "up")
    made = 0
    for word in ("\x1b[31mred", "\x7fx", "-x", "$(id)", "a\u202eb", "[/x]", "\x9bm", ";id", "é", "x\x07"):
        done = subprocess.run(
            ["ip", "link", "add", word, "master", "br0", "type", "dummy"], capture_output=True, check=False
        )
        with suppress(OSError):
            done = done if not done.returncode else _tap(word)
        made += not done.returncode
    assert made > 3
    for words in (["net", "status"], ["net", "status", "-o", "json"], ["list"], ["doctor"], ["net", "down"]) * 2:
        with row.case(words):
            result = kvmrun(*words)
            _documented(result)
            fit(result.out + result.err)


def _tap(name: str) -> subprocess.CompletedProcess[bytes]:
    """A veth of that name on the bridge: not every kernel has dummies."""
    pair = ["ip", "link", "add", name, "type", "veth", "peer", "name", f"p{abs(hash(name)) % 10**8}"]
    done = subprocess.run(pair, capture_output=True, check=False)
    join = ["ip", "link", "set", name, "master", "br0"]
    return done if done.returncode else subprocess.run(join, capture_output=True, check=False)


@pytest.mark.usefixtures("netns")
@pytest.mark.timeout(900)
def test_what_qemu_says_of_itself(lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally) -> None:
    """Each string as state, UUID, error, event and answer of a QEMU that runs."""
    row = tally.row("E-04", "hostile strings from a QEMU: list, JSON, monitor, pause, errors", 200)
    pretender = Pretender(own_directories / "pretender")
    words = hostile.strings() if tally.full else hostile.strings()[3::16]
    names = [f"w{number}" for number in range(len(words))]
    guests(lab, *names, text=TCG + "nic = []\n")
    kvmrun.ok(*names, KVMRUN_QEMU=str(pretender.program))
    for name, word in zip(names, words, strict=True):
        pretender.be(name, "says:" + json.dumps(word))
    listed = [kvmrun.ok(*some) for some in (["list"], ["list", "-o", "json"], ["list", "--color", "always"])]
    found = {one["name"]: one for one in listed[1].json()["guests"]}
    for result in listed:
        fit(plain(result.out) + result.err)
    for name, word in zip(names, words, strict=True):
        with row.case(f"{word!r:.40}"):
            assert found[name]["problem"]
            for line in (
                ["pause", name],
                ["monitor", name, "-c", "query-status"],
                ["monitor", name, "-c", "x"],
                [name],
            ):
                _said(kvmrun(*line, "--timeout", "2"))
                if not tally.full:
                    break
    assert kvmrun("kill", "--all").code == 0


def _said(result: Result) -> None:
    _documented(result)
    fit(result.out + result.err)
