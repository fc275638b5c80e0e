"""What a command says while it works: one line a fact, details on request, a spinner while a person waits."""

import sys
import time

from kvmrun.light.abc import Callable, Iterator
from kvmrun.light.contextlib import contextmanager
from kvmrun.model.text import printable

_SHOWN_AFTER = 1.0


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

    def warn(self, line: str) -> None:
        """Something works, but probably not as the user expects."""
        if not self._quiet:
            sys.stderr.write(f"kvmrun: warning: {printable(line)}\n")

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

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show on a terminal how many of `total` bytes (0: not known) are through, once it takes a while."""
        if self._quiet or not sys.stderr.isatty():
            yield lambda _: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        bar = Bar(*columns, console=Console(stderr=True, highlight=False), transient=True)
        task = bar.add_task(printable(what, 40), total=total or None)
        begun = time.monotonic()

        def moved(done: int) -> None:
            if time.monotonic() > begun + _SHOWN_AFTER:
                bar.start()
            bar.update(task, completed=done)

        try:
            yield moved
        finally:
            bar.stop()
