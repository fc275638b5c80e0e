"""Changes by which something is lost: of each guest by itself, and after a question."""

import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from kvmrun.api.report import Report
from kvmrun.cli.arguments import Args
from kvmrun.cli.report import exit_code, reporting
from kvmrun.errors import KvmrunError, UsageError
from kvmrun.model.printable import printable
from kvmrun.ui.text.prompt import confirm

T = TypeVar("T")


def change_each(
    args: Args, names: Iterable[str], change: Callable[[str], T | None], tell: Callable[[Report, T], None]
) -> int:
    """Change each guest by itself: one that cannot be changed does not stop the others.

    `change` returns None where the answer was no; the exit code is 1 then. Raises Several.
    """
    results: dict[str, T | KvmrunError | None] = {}
    with reporting(args) as report:
        for name in names:
            try:
                results[name] = done = change(name)
                if done is not None:
                    tell(report, done)
            except KvmrunError as error:
                results[name] = error
    return exit_code(results) or (1 if None in results.values() else 0)


def ask(lines: Iterable[str], question: str, *, undone: str, fix: str) -> bool:
    """Say in `lines` what would be lost, and ask. Raises UsageError without a terminal, saying what is `undone`."""
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
    answer = confirm(question, usual=False)
    if answer is None:
        raise UsageError(undone, fix, reason="there is no terminal to ask at")
    return answer
