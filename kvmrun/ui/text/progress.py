"""What a command reports while it works: a line for each fact, details on request, a live line while a user waits."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kvmrun.model.printable import printable
from kvmrun.ui.text.caller import fix
from kvmrun.ui.text.line_folding import fold_to_terminal

_SHOWN_AFTER = 1.0
_REREAD = 1.0
"""Seconds between two looks at the console of a guest that is waited for."""


class _Elapsed:
    """The live line of a wait: how long it has taken, its limit, what is waited for, and the last line of a console."""

    def __init__(self, what: str, limit: float | None, last: Callable[[], str]) -> None:
        self._what = what
        self._limit = f" of {limit:g}" if limit is not None else ""
        self._last = last
        self._begun = time.monotonic()
        self._read_at = 0.0
        self._line = ""

    def __rich__(self) -> Any:
        from rich.text import Text

        now = time.monotonic()
        if now >= self._read_at + _REREAD:
            self._read_at, self._line = now, self._last()
        shown = f"waiting {now - self._begun:.0f}{self._limit} s: {printable(self._what)}"
        shown += f"\nconsole: {self._line}" if self._line else ""
        return Text(shown, no_wrap=True, overflow="ellipsis")


class Progress:
    """Lines on standard output for what was done, on standard error for how it goes."""

    def __init__(self, *, quiet: bool, verbose: int) -> None:
        self._quiet = quiet
        self._verbose = verbose
        self._live: Any = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def tell(self, line: str) -> None:
        """Something was done. On a terminal the line is folded between words, and goes above a live line."""
        if self._quiet:
            return
        text = fold_to_terminal(printable(fix(line)), sys.stdout, indent=2)
        if self._live is not None and sys.stdout.isatty():
            self._live.out(text, highlight=False)
        else:
            sys.stdout.write(text + "\n")

    def warn(self, line: str) -> None:
        """Something works, but probably not as the user expects."""
        if not self._quiet:
            sys.stderr.write(fold_to_terminal(f"kvmrun: warning: {printable(fix(line))}", sys.stderr, indent=2) + "\n")

    def detail(self, line: str) -> None:
        """How it goes, for those who ask with -v."""
        if self._verbose:
            sys.stderr.write(f"  {printable(line)}\n")

    @contextmanager
    def waiting(self, what: str, *, limit: float | None = None, last: Callable[[], str] = lambda: "") -> Iterator[None]:
        """Show on a terminal what is waited for, how long it has taken and, by `last`, the last line of a console."""
        if self._quiet or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        with console.status(_Elapsed(what, limit, last)):
            self._live = console
            try:
                yield
            finally:
                self._live = None

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show on a terminal how many of `total` bytes (0: not known) are through, once it takes a while."""
        if self._quiet or not sys.stderr.isatty():
            yield lambda _: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as Bar

        told = TextColumn("{task.description}", markup=False)
        columns = (told, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
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
