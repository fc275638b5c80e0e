"""What every exported file has in common: a first line that says whose it is, a comment above each entry, and a last
line by which it is known whether somebody has changed it since.
"""

from collections.abc import Iterable
from typing import Literal

from kvmrun.model import derive
from kvmrun.model.value import Value

MARK = "# kvmrun export"
"""How the first line of a file of ours begins: one without it is somebody else's."""

_SEAL = "# the text above as it was written: "


class Entry(Value):
    """One line of a table: what it is for, and its columns."""

    reason: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"# {self.reason}"] if self.reason else []
        return "".join(f"{line}\n" for line in [*lines, *filter(None, ["\t".join(self.columns)])])


def entry(reason: str, *columns: str) -> Entry:
    return Entry(reason=reason, columns=columns)


def file_text(kind: str, name: str, about: str, entries: Iterable[Entry]) -> str:
    """A whole file; `kind` is the word it was exported by."""
    return f"{MARK} {kind}: {name}\n# {about}\n\n" + "\n".join(map(str, entries))


def with_digest(text: str) -> str:
    """The text with a last line that tells whether it is still what was written."""
    return f"{text.rstrip()}\n\n{_SEAL}{derive.digest(text.rstrip())}\n"


def digest_state(present: str, wanted: str) -> Literal["ours", "kept", "changed"]:
    """What to do with a file that is to become `wanted`, which is not sealed yet.

    "ours" when it is as it was written, "kept" when somebody has changed it and nothing else is to be written now than
    then, "changed" when both have changed. One without a last line of ours counts as changed unless it is `wanted`.
    """
    text, seal = _parts(present)
    if not seal:
        return "ours" if text.strip() == wanted.strip() else "changed"
    if derive.digest(text.rstrip()) == seal:
        return "ours"
    return "kept" if seal == derive.digest(wanted.rstrip()) else "changed"


def without_digest(text: str) -> str:
    """The text without the line that tells what it was, to be compared."""
    return _parts(text)[0]


def _parts(text: str) -> tuple[str, str]:
    """The text, with what was written below our last line as well, and the digest there; "" where there is none."""
    lines = text.splitlines()
    place = next((place for place, line in enumerate(lines) if line.startswith(_SEAL)), None)
    if place is None:
        return text, ""
    return "\n".join([*lines[:place], *lines[place + 1 :]]), lines[place].removeprefix(_SEAL).strip()
