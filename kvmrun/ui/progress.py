"""What a command says while it works: one line a fact, details on request, a spinner while a person waits."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from kvmrun.model.text import printable


class Progress:
    """Lines on standard output for what was done, on standard error for how it goes."""

    def __init__(self, *, quiet: bool, verbose: int) -> None:
        self._quiet = quiet
        self._verbose = verbose

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def tell(self, line: str) -> None:
        """Something was done."""
        if not self._quiet:
            sys.stdout.write(printable(line) + "\n")

    def detail(self, line: str) -> None:
        """How it goes, for those who ask with -v."""
        if self._verbose:
            sys.stderr.write(f"  {printable(line)}\n")

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show on a terminal that something is being waited for."""
        if self._quiet or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.text import Text

        with Console(stderr=True, highlight=False).status(Text(f"waiting: {printable(what)}")):
            yield
