"""What every exported file has in common: a first line that says whose it is, and a comment above each entry."""

from kvmrun.light.abc import Iterable
from kvmrun.model.frozen import Frozen

MARK = "# kvmrun export"
"""How the first line of a file of ours begins: one without it is somebody else's."""


class Entry(Frozen):
    """One line of a table: what it is for, and its columns."""

    why: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"# {self.why}"] if self.why else []
        return "".join(f"{line}\n" for line in [*lines, *filter(None, ["\t".join(self.columns)])])


def entry(why: str, *columns: str) -> Entry:
    return Entry(why=why, columns=columns)


def page(kind: str, name: str, about: str, entries: Iterable[Entry]) -> str:
    """A whole file; `kind` is the word it was exported by."""
    return f"{MARK} {kind}: {name}\n# {about}\n\n" + "\n".join(map(str, entries))
