"""A command that people are to read, one option a line."""

from collections.abc import Iterable

from kvmrun.model.printable import printable

QEMU = "# the QEMU command for reading: paths and names where kvmrun passes descriptors\n"


def command_text(command: Iterable[Iterable[str]], raw: Iterable[str] = ()) -> str:
    """The words of each option on a line of their own, as a shell takes them; `raw` are lines to be split first."""
    import shlex

    options = (*command, *(shlex.split(line) for line in raw))
    lines = (" ".join(shlex.quote(word) for word in option) for option in options)
    return " \\\n  ".join(printable(line, 10 * len(line) + 1) for line in lines) + "\n"
