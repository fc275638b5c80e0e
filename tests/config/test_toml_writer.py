"""Whatever is written as TOML is read back as it was, and nothing in it acts upon a terminal."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from kvmrun.config.toml_writer import format_array_table, format_document, format_entry, format_value
from kvmrun.model.printable import printable
from kvmrun.model.scalars import Size

VALUES = st.recursive(st.text() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1), st.lists, max_leaves=8)


@given(VALUES)
def test_every_value_is_read_back_and_printable(value: object) -> None:
    text = format_value(value)
    assert tomllib.loads(f"key = {text}")["key"] == value
    assert printable(text, limit=len(text)) == text


@given(st.text(min_size=1))
def test_a_document_has_its_tables_behind_its_values(word: str) -> None:
    table = {"nic": ({"mac": word}, {"mac": "b"}), "limits": {"tasks": 3, "io": None}, "text": word, "absent": None}
    found = tomllib.loads(format_document(table))
    assert found == {"nic": [{"mac": word}, {"mac": "b"}], "limits": {"tasks": 3}, "text": word}


def test_a_size_is_written_as_people_write_it() -> None:
    assert format_value(Size(512 << 20)) == '"512M"'
    assert format_value((True, 3, "x")) == '[true, 3, "x"]'


def test_comments_stand_in_one_column() -> None:
    assert format_entry(("cpus", 2, "processors")) == f"{'cpus = 2':<31} # processors\n"
    assert format_array_table("drive", [("image", "a.raw", "")]) == '[[drive]]\nimage = "a.raw"\n'
