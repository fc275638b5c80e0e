"""Keys, from what terminals send."""

import pytest

from kvmrun.ui.screen import keyboard


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOB\x1b[5~", ["up", "down", "page up"]),
        (b"j\rk", ["j", "enter", "k"]),
        (b"\x1b", ["escape"]),
        (b"\x1b[", ["\x1b["]),
        (b"\x1b[1;5C", ["\x1b[1;5C"]),
        ("é".encode(), ["é"]),
        (b"\xff", ["\ufffd"]),
        (b"", []),
    ],
)
def test_what_is_typed(sent: bytes, names: list[str]) -> None:
    assert keyboard.read_key(sent) == names
