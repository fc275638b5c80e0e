"""What is reported while a use case works: frozen events, handed to a function of the caller.

A use case may do many things side by side: the function is then called by several threads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kvmrun.model.value import Value


def _no_line() -> str:
    return ""


class Done(Value):
    """Something was done, or was found to be done already. `guest` is "" for what concerns no single guest."""

    guest: str = ""
    text: str


class Detail(Value):
    """One step of what is being done."""

    text: str


class Warned(Value):
    """Something works, but probably not as the caller expects."""

    text: str


class Noted(Value):
    """Something that the caller should know beside the result; nothing is wrong."""

    text: str


class Transferring(Value):
    """A transfer of `what` begins; `total` is its size in bytes, 0 where it is not known."""

    what: str
    total: int = 0


class Transferred(Value):
    """The number of bytes transferred so far."""

    bytes: int


class TransferEnded(Value):
    """The transfer that began last has ended, with or without success."""


class Waiting(Value):
    """A wait begins; `limit` is in seconds, None where each part has its own. `last` reads the last console line."""

    what: str
    limit: float | None = None
    last: Callable[[], str] = _no_line


class WaitEnded(Value):
    """The wait that began last has ended, with or without success."""


Event = Done | Detail | Warned | Noted | Waiting | WaitEnded | Transferring | Transferred | TransferEnded
Report = Callable[[Event], None]
"""What a use case calls with every event. An exception of it ends the use case as any other does."""


def discard(event: Event) -> None:
    """The report of a caller that wants only results."""
    del event


def details(report: Report) -> Callable[[str], None]:
    """The same report for those that say one step after the other as text."""
    return lambda text: report(Detail(text=text))


@contextmanager
def waiting(
    report: Report, what: str, *, limit: float | None = None, last: Callable[[], str] = _no_line
) -> Iterator[None]:
    """Report a wait, and its end however the body ends."""
    report(Waiting(what=what, limit=limit, last=last))
    try:
        yield
    finally:
        report(WaitEnded())


@contextmanager
def transferring(report: Report, what: str, total: int = 0) -> Iterator[Callable[[int], None]]:
    """Report a transfer, its progress by the function that is the value, and its end however the body ends."""
    report(Transferring(what=what, total=total))
    try:
        yield lambda done: report(Transferred(bytes=done))
    finally:
        report(TransferEnded())
