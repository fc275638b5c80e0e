"""Plain TOML is read as tomllib reads it, or left to it."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmrun.config.toml_fast import plain

LAB = Path(__file__).parents[2] / "vms.d"
FULL = """\
# all that a definition may hold, plainly\t
seed = ""
uplinks = ["a", 'b',]   # one line
[network.lan]
bridge = "br0"  # yes
dhcp = { pool = "192.168.0.200-192.168.0.219", options = { 19 = "0" }, lease = "24h" }
nat = true
mtu = 1500
forward = []
[[nic]]
network = 'lan'
[nic.inner]
deep = [[1, 2], [{ a = false }]]
[[nic]]
queues = 0
[[nic.more]]
[[nic.more]]
x = 1
"""
PIECES = [
    *(
        "[a]",
        "[a.b]",
        "[[a]]",
        "[[a.b]]",
        "[a.b.c]",
        "[ a ]",
        "[a]]",
        "[[a]",
        "[]",
        '["a"]',
        "[a..b]",
        "[[a]] # x",
        "[a] x",
    ),
    *(
        "a = 1",
        "b = 'x'",
        'c = "x"',
        "a.b = 1",
        "b = {}",
        "b = { a = 1 }",
        "b = { a = 1, }",
        "b = { a = 1, a = 2 }",
        "a = [1,]",
    ),
    *(
        "a = [,]",
        "a = [1 2]",
        "a = [[1], ['x', true]]",
        "a = [",
        "a",
        "= 1",
        "a =",
        "a = 01",
        "a = 1_0",
        "a = -1",
        "a = 1.5",
    ),
    *(
        "a = 1979-05-27",
        "a = true # x",
        "a = truex",
        "a = true]",
        'a = """',
        'a = "\\n"',
        "a = '''x'''",
        'a = ""',
        'a = "\t"',
    ),
    *(
        "# c",
        "",
        " \t",
        'a = "x" y',
        "a = 1 2",
        "a = 0x1",
        "a = inf",
        "a = { b = [ { c = 1 } ] }",
        "é = 1",
        'a = "é\u202e"',
    ),
    *("\ta\t=\t1\t", "a = 99999999999999999999", 'a = "#"', "a = '\"'", 'a = "x\r"', "a = 1 # \x00", "- = 1", "1 = 1"),
]
calm = settings(deadline=None, max_examples=500)


def check(text: str) -> None:
    found = plain(text)
    if found is not None:
        assert found == tomllib.loads(text)
        assert repr(found) == repr(tomllib.loads(text))  # 1 is True, but not here


@pytest.mark.parametrize("path", sorted(LAB.glob("*.toml")), ids=lambda path: path.name)
def test_the_example_is_plain(path: Path) -> None:
    assert plain(path.read_text()) == tomllib.loads(path.read_text())


def test_everything_that_is_plain() -> None:
    assert plain(FULL) == tomllib.loads(FULL)


@calm
@given(st.lists(st.sampled_from(PIECES), max_size=6).map("\n".join))
def test_lines_in_any_order_mean_what_tomllib_says(text: str) -> None:
    check(text)


@calm
@given(st.lists(st.sampled_from([*"[]{}=,.#\"'\\ \t\n\rab01", "true", "false"]), max_size=16).map("".join))
def test_characters_in_any_order_mean_what_tomllib_says(text: str) -> None:
    check(text)
    check(f"a = {text}")
    check(f"[[a]]\n{text}\n[b]")


@given(st.text())
def test_any_text_is_read_or_left(text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    "text", ["[" * 16_000, "a = " + "[" * 16_000, "[" + "a." * 8_000 + "a]", "a = " + "{a=" * 5_000]
)
def test_what_is_too_deep_is_left(text: str) -> None:
    assert plain(text) is None
