"""The manual: true to the code, valid for man(1), shown by help and man, installed and removed again."""

import importlib.util
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import guests
from support.cli import Cli
from support.screen import COMMAND, screen

import kvmrun
from kvmrun import errors
from kvmrun.cli import commands, main
from kvmrun.cli.arguments import CommandParser
from kvmrun.cli.command_examples import TASKS, examples
from kvmrun.cli.manual_pages import page_output, topics
from kvmrun.model.guest.guest_state import STATES
from kvmrun.ui.page import manual_text, roff
from kvmrun.ui.page.markdown import blocks

ROOT = Path(__file__).parents[2]
PAGES = topics.pages()
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """scripts/manual.py as a module."""
    spec = importlib.util.spec_from_file_location("manual_generator", ROOT / "scripts" / "manual.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@each_page
def test_the_generated_parts_are_as_the_code_is(page: topics.Page, generator: ModuleType) -> None:
    text = page.markdown()
    assert generator.page(text) == text, "run scripts/manual"
    assert generator.undescribed(text) == []


def test_what_is_generated_follows_the_code(generator: ModuleType) -> None:
    text = (
        "<!-- generated: keys drive -->\n\n- `cache` - old\n\n  Kept.\n\n- `gone` - x\n\n  Dropped.\n\n<!-- end -->\n"
    )
    new = generator.page(text)
    assert (
        '- `cache` - `"writeback"`, `"none"`, `"writethrough"`, `"directsync"` or `"unsafe"`; default `"writeback"`'
        in new
    )
    assert "  Kept.\n" in new
    assert "Dropped" not in new
    assert "image" in generator.undescribed(new)
    assert "cache" not in generator.undescribed(new)


def test_every_public_name_is_in_one_list_of_the_manual(generator: ModuleType) -> None:
    text = topics.find("api", "help").markdown()
    lists = [block[2] for block in generator._BLOCK.finditer(text) if block[1].startswith("names ")]
    terms = [entry[1].partition("(")[0] for one in lists for entry in generator._ENTRY.finditer(one)]
    assert sorted(terms) == sorted(kvmrun.__all__)


@pytest.mark.usefixtures("netns", "tun")
def test_the_example_of_the_api_works_in_a_thread(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exactly the text of the page, with an emulated guest that has nothing to boot."""
    text = api_example()
    guests(lab, "vm1")
    (lab / "networks.toml").write_text("[network.lan]\ndhcp = false\ndns = false\n")
    monkeypatch.chdir(lab.parent)
    namespace: dict[str, Any] = {"__name__": "example"}
    masks: list[object] = []

    def run() -> None:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        exec(compile(text, "kvmrun-api(7)", "exec"), namespace)
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    before = of_the_process()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(120)
    try:
        assert not thread.is_alive()
        assert of_the_process() == before
        assert len(masks) == 2
        assert masks[0] == masks[1]
        [started] = namespace["results"].values()
        assert (started.state, started.accel) == ("running", "tcg")
        assert (namespace["guest"].name, namespace["guest"].state) == ("vm1", "running")
        assert (namespace["result"].guest, namespace["result"].state) == ("vm1", "stopped")
        shown = capsys.readouterr().out
        assert f"vm1: running, pid {started.pid}\nvm1 running " in shown
        assert f"\n{namespace['result']}\n" in shown
    finally:
        opened = kvmrun.open_lab(f"{lab}")
        kvmrun.kill(opened, None, kvmrun.KillOptions(force=True))
        kvmrun.network_down(opened, force=True)


def api_example() -> str:
    """The code below the heading Example of kvmrun-api(7)."""
    found = iter(blocks(topics.find("api", "help").markdown()))
    next(block for block in found if (block.kind, block.text()) == ("section", "Example"))
    return next(block.text() for block in found if block.kind == "code")


def of_the_process() -> dict[str, Any]:
    """What a program may rely on: its directory, umask, environment, limits and signal handlers."""
    mask = os.umask(0)
    os.umask(mask)
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name[:7] == "RLIMIT_"}
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    return {
        "directory": os.getcwd(),
        "umask": mask,
        "environment": {**os.environ},
        "limits": limits,
        "handlers": handlers,
    }


def test_every_exit_code_and_state_has_a_meaning() -> None:
    codes = {one.code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.KvmrunError)}
    assert errors.EXIT_CODES.keys() == codes | {0, 70, 129, 130, 141, 143}
    files = [path.read_text() for path in Path(kvmrun.__file__).parent.rglob("*.py")]
    text = "".join(
        text
        for text in files
        if re.search(r"^from kvmrun\.model\.guest\.guest_status import .*Status", text, re.MULTILINE)
    )
    named = set(re.findall(r'\bstate="([a-z-]+)"', text))
    assert {"stale", "invalid", "stopped", "unknown"} <= named <= set(STATES)


def test_every_command_is_in_one_task() -> None:
    named = [name for members in TASKS.values() for name in members]
    assert sorted(named) == commands.names()


@pytest.mark.parametrize("name", commands.names())
def test_every_command_has_two_examples_that_parse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = examples(name)
    assert len(found) == 2
    for line, _ in found:
        assert parsed(line) == name
    with pytest.raises(SystemExit):
        main.run([name, "--help"])
    shown = capsys.readouterr().out
    assert all(f"\n  {line}\n      {meaning}\n" in shown for line, meaning in found)


@each_page
def test_every_command_line_in_the_manual_parses(page: topics.Page) -> None:
    for line in command_lines(page.markdown()):
        parsed(line)


def test_the_readme_is_short_and_true() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 200
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / link).is_file(), link
    for line in command_lines(text):
        parsed(line)
    for script in re.findall(r"^    (scripts/\w+)", text, re.MULTILINE):
        assert os.access(ROOT / script, os.X_OK), script
    assert {f"{page.name}.{page.section}.md" for page in PAGES} <= set(re.findall(r"kvmrun/manual/([\w.-]+)", text))


def parsed(line: str) -> str:
    """The command that a line calls; its arguments must be right."""
    program, *words = shlex.split(line, comments=True)
    assert program == "kvmrun", line
    name, rest = main._command(words)
    if name in {"", "--version"}:
        return name
    module = commands.load(name)
    assert module is not None
    CommandParser(name, module).parse(rest)
    return name


def command_lines(text: str) -> Iterator[str]:
    """What a reader could paste: the calls of kvmrun in blocks of code, less pipes, variables and placeholders."""
    for block in blocks(text):
        for line in block.text().split("\n") if block.kind == "code" else ():
            call = re.split(r" \| | && |; echo", re.sub(r"^(\$ |sudo )", "", line.strip()))[0]
            if call.startswith("kvmrun ") and not re.search(r"\[|\.\.\.|  \w", call):
                yield call


@each_page
def test_a_page_refers_to_pages_that_are_there(page: topics.Page) -> None:
    known = {f"{one.name}({one.section})" for one in PAGES}
    assert set(re.findall(r"kvmrun-[a-z]+\(\d\)", page.markdown())) <= known


@each_page
@pytest.mark.parametrize("words", [("mandoc", "-Tlint"), ("man", "--warnings", "-l")])
def test_those_who_read_manuals_find_nothing_wrong(page: topics.Page, words: tuple[str, ...], tmp_path: Path) -> None:
    if not shutil.which(words[0]):
        pytest.skip(f"needs {words[0]}")
    path = tmp_path / f"{page.name}.{page.section}"
    path.write_text(page_output._roff(page))
    done = subprocess.run([*words, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert words[0] == "man" or not done.stdout


@each_page
def test_a_page_fits_a_terminal_of_80_columns(page: topics.Page) -> None:
    text = manual_text.rendered(blocks(page.markdown()), color=False)
    assert [line for line in text.split("\n") if len(line) > 80 or line != line.rstrip()] == []
    assert text.isascii()
    assert "\x1b" not in text
    assert "\x1b[1m" in manual_text.rendered(blocks(page.markdown()), color=True)


def test_a_renderer_refuses_what_the_other_could_not_show() -> None:
    for text in ("1. one\n", "> quoted\n", "![image](x)\n", "# a\n\n---\n"):
        with pytest.raises(ValueError, match="does not use"):
            list(blocks(text))


def test_lists_become_entries_and_bullets() -> None:
    text = "- `a` - x\n\n  Said.\n\n      code\n\n- plain\n- **b**\n\n  - `c`\n\n    Inner.\n"
    found = [(one.kind, one.depth, one.text()) for one in blocks(text)]
    assert found == [
        *(("term", 0, "a - x"), ("paragraph", 1, "Said."), ("code", 1, "code"), ("bullet", 0, "plain")),
        *(("term", 0, "b"), ("term", 1, "c"), ("paragraph", 2, "Inner.")),
    ]
    assert manual_text.rendered(blocks(text), color=False).split("\n") == [
        *("    a - x", "        Said.", "", "            code", "", "    * plain", ""),
        *("    b", "        c", "            Inner.", ""),
    ]


@given(st.text(alphabet=".'\\-^~ \nabc`", min_size=1), st.booleans())
def test_no_text_is_a_request(text: str, code: bool) -> None:
    assert not [line for line in roff.escaped(text, code=code).split("\n") if line[:1] in {".", "'"}]
    assert not re.search(r"\\[^e\-(&]", roff.escaped(text, code=code))


@pytest.mark.parametrize("topic", ["lab", "kvmrun-lab", "kvmrun-lab.5", "kvmrun-lab(5)"])
def test_help_shows_a_page_by_any_of_its_names(topic: str, kvmrun: Cli) -> None:
    out = kvmrun.ok("help", topic).out
    assert out.startswith("kvmrun-lab(5)\n\nNAME\n    kvmrun-lab - ")
    assert "\n[[drive]]\n" in out
    assert "\nKEYS OF A GUEST\n" in out


def test_help_alone_lists_the_topics(kvmrun: Cli) -> None:
    out = kvmrun.ok("help").out
    assert all(f"  {page.topic:<11} {page.summary()}\n" in out for page in PAGES)
    assert max(map(len, out.split("\n"))) <= 80


def test_help_shows_commands_too(kvmrun: Cli) -> None:
    assert kvmrun.ok("help", "ls").out == kvmrun.ok("list", "--help").out


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("help", "netwroks"), "kvmrun help networks"),
        (("help", "sotp"), "kvmrun help stop"),
        (("man", "kvmrun-secruity"), "kvmrun man security"),
        (("help", "Shorewall"), "kvmrun help firewalls"),
        (("help", "docker"), "kvmrun help firewalls"),
        (("help", "uplink"), "kvmrun help networks"),
        (("man", "drive"), "kvmrun man lab"),
        (("help", "on_crash"), "kvmrun help lab"),
        (("help", "x.*"), ""),
        (("help", "\x1b[31mx"), ""),
    ],
)
def test_a_topic_that_is_not_there_gets_a_suggestion(
    words: tuple[str, ...], near: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["kvmrun"])  # a fix names the program as it was called
    assert main.run([*words]) == 2
    said = capsys.readouterr().err
    assert (f" {near}?" if near else "kvmrun help ") in said
    assert "\x1b" not in said


def test_a_long_page_goes_through_the_pager_of_a_terminal(tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text('#!/bin/sh\necho "PAGED $1"; exec cat\n')
    pager.chmod(0o755)
    with screen(COMMAND, "help", "lab", PAGER=f"{pager} 'a b'") as one:
        one.wait_for("PAGED a b")
        one.wait_for("KEYS OF A GUEST")
        assert one.end() == 0


def test_without_a_pager_the_page_is_printed() -> None:
    for pager in ("/nonexistent/pager", "false"):
        with screen(COMMAND, "help", "security", PAGER=pager) as one:
            one.wait_for("WHAT IS NOT PROMISED")
            assert one.end() == 0


@pytest.mark.skipif(not shutil.which("man"), reason="needs man")
def test_man_shows_a_page_at_a_terminal() -> None:
    with screen(COMMAND, "man", "lab", MANPAGER="cat") as one:
        shown = one.wait_for("the directory that describes guests")
        assert one.end() == 0
    assert "\u2010" not in shown + one.text, "a name is hyphenated"


def test_pages_are_installed_where_man_finds_them_and_removed_again(tmp_path: Path, kvmrun: Cli) -> None:
    (tmp_path / "man7").mkdir()
    foreign = tmp_path / "man7" / "kvmrun-security.7"
    foreign.write_text("somebody's own\n")
    for _ in range(2):
        said = kvmrun.ok("man", "--install", str(tmp_path), MANPATH=str(tmp_path)).out
        assert (str(foreign) in said, "MANPATH" in said) == (True, False)
    written = {f"man{page.section}/{page.name}.{page.section}" for page in PAGES}
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.?")} == written
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("kvmrun*") if path != foreign} == {0o644}
    if shutil.which("man"):
        found = subprocess.run(
            ["man", "kvmrun-networks"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "MANPATH": str(tmp_path), "MANPAGER": "cat"},
        )
        assert "networks.toml" in found.stdout
        elsewhere = kvmrun.ok("man", "--install", str(tmp_path), MANPATH="/nonexistent").out
        assert f"export MANPATH={tmp_path}:" in elsewhere
    kvmrun.ok("man", "--remove", str(tmp_path))
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "man7",
        "man7/kvmrun-security.7",
    ]
    for empty in (tmp_path, tmp_path / "none"):
        assert str(empty) in kvmrun.ok("man", "--remove", str(empty)).out
    assert foreign.exists()


def test_pages_cannot_be_written_everywhere(tmp_path: Path, kvmrun: Cli) -> None:
    (tmp_path / "file").write_text("")
    assert kvmrun("man", "--install", str(tmp_path / "file")).code == 1
    assert kvmrun("man", "--install", "--remove").code == 2
