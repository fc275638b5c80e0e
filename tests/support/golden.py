"""Texts kept as files, to be read in a change. KVMRUN_GOLDEN=1 rewrites them."""

import os
from collections.abc import Mapping
from pathlib import Path

_HERE = Path(__file__).parents[1] / "golden"


def same(place: str, texts: Mapping[str, str]) -> None:
    """The files below tests/golden/PLACE have these names and texts, and there are no others."""
    directory = _HERE / place
    if os.environ.get("KVMRUN_GOLDEN"):
        directory.mkdir(parents=True, exist_ok=True)
        for path in directory.iterdir():
            path.unlink()
        for name, text in texts.items():
            (directory / name).write_text(text)
    assert dict(texts) == {path.name: path.read_text() for path in directory.iterdir()}
