"""The manual: whole, true to the commands, and valid for those who read manuals."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fakes.screen import screen
from hypothesis import given
from hypothesis import strategies as st

import kvmrun
from kvmrun import commands, errors
from kvmrun.commands import _keys, _manual, man
from kvmrun.commands._words import QuickParser
from kvmrun.ui import roff

SOURCES = [path.read_text() for path in Path(kvmrun.__file__).parent.rglob("*.py")]


@pytest.fixture(scope="module")
def page() -> str:
    return man.page()


def test_every_command_and_flag_is_in_it(page: str) -> None:
    plain = page.replace("\\", "")
    for name in commands.names():
        _, _, text = plain.partition(f'.SS "kvmrun {"[up]" if name == "up" else name}')
        assert text, name
        module, words = commands.load(name), QuickParser()
        assert module is not None
        module.configure(words)
        for flag in words._flags:
            assert flag in text.partition(".SS ")[0], f"{name} {flag}"


def test_every_key_of_a_definition_is_in_it(page: str) -> None:
    plain = page.replace("\\", "")
    for cls in (*_keys.GUEST.values(), *_keys.NETWORKS.values()):
        for key in cls.FIELDS.keys() - {"name", "boot", "limits", "drive", "nic", "network", "uplink"}:
            assert re.search(rf"^(# )?{key} =", plain, re.MULTILINE), key
    for head in ("[limits]", "[boot]", "[[drive]]", "[[nic]]", "[network.NAME]", "[uplink.NAME]"):
        assert f"\n{head}\n" in plain


def test_every_exit_code_is_in_it() -> None:
    codes = {one.code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.KvmrunError)}
    assert {code for code, _ in _manual.EXIT} == codes | {0, 70, 130}


def test_everything_it_heeds_is_in_it() -> None:
    heeded = {name for text in SOURCES for name in re.findall(r"""environ(?:\.get\(|\[)"(KVMRUN_\w+)""", text)}
    assert heeded == {name for name, _ in _manual.ENVIRONMENT if name.startswith("KVMRUN")}


@pytest.mark.parametrize("words", [("mandoc", "-Tlint"), ("man", "--warnings", "-l")])
def test_those_who_read_manuals_find_nothing_wrong(page: str, words: tuple[str, ...], own_directories: Path) -> None:
    if not shutil.which(words[0]):
        pytest.skip(f"needs {words[0]}")
    (own_directories / "kvmrun.1").write_text(page)
    command = [*words, f"{own_directories}/kvmrun.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert words[0] == "man" or not done.stdout


@pytest.mark.skipif(not shutil.which("man"), reason="needs man")
def test_at_a_terminal_it_is_shown() -> None:
    script = "import sys; from kvmrun.cli import run; sys.exit(run(['man']))"
    with screen(script, MANPAGER="cat") as one:
        one.wait_for("without a daemon")
        assert one.end() == 0


@given(st.text(alphabet=".'\\-^~ \nabc", min_size=1))
def test_no_text_is_a_request(text: str) -> None:
    assert not [line for line in roff.escaped(text).split("\n") if line[:1] in {".", "'"}]
    assert not re.search(r"\\[^e\-(&]", roff.escaped(text))
