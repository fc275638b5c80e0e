"""Whatever comes from outside, what reaches a terminal is one bounded line without controls."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmrun.model.printable import printable

anything = st.text(st.characters(codec=None, exclude_categories=[]))
REFUSED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(anything, st.integers(1, 100))
def test_nothing_that_acts_on_a_terminal_is_left(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert not {unicodedata.category(char) for char in shown} & REFUSED


@given(anything)
def test_what_is_printable_stays_printable(text: str) -> None:
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("", ""),
        ("two\nlines\tand\rmore", "two lines and more"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x7f\x9b31m", "\\x7f\\x9b31m"),
        ("a\u202eb\u200bc\ufeff", "a\\u202eb\\u200bc\\ufeff"),
        ("\u2028\U000e0041", "\\u2028\\U000e0041"),
        ("\udcff", "\\udcff"),
        ("[red]markup[/red]", "[red]markup[/red]"),
        ("Ünïcödé 漢字", "Ünïcödé 漢字"),
    ],
    ids=ascii,
)
def test_text_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(("length", "shown"), [(9, 9), (10, 10), (11, 10), (10**6, 10)])
def test_long_text_is_cut_with_a_mark(length: int, shown: int) -> None:
    text = printable("x" * length, 10)
    assert (len(text), text.endswith("…")) == (shown, length > 10)


@pytest.mark.parametrize("value", [None, 5, {"a": "\x1b"}, OSError(2, "no \x1b"), b"\xff"])
def test_what_is_not_text_is_shown_too(value: object) -> None:
    assert printable(value).isprintable()
