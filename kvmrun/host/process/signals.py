"""Signals that ask a command to end: deferred for a moment, or recorded while work on several guests goes on."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_noted: list[int] = []
_depth: list[None] = []
_owned: list[None] = []


def own() -> None:
    """Say that this process is a command, so that handlers of signals may be replaced while several guests are at work.

    Without this the handlers are those of a program that calls the API, and nothing is ever noted.
    """
    _owned[:] = [None]


@contextmanager
def defer_signals() -> Iterator[None]:
    """A signal waits until the body is over. For what takes little time and must not be left half done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def note_signals() -> Iterator[None]:
    """A signal raises nothing in the body, which asks `number` for it; one that nobody has raised is raised afterwards.

    Python runs handlers in the main thread alone. An exception of a handler there, while the main thread starts or
    awaits others, would leave those at work without anybody to wait for them. Signals that are ignored stay ignored.
    """
    if _depth or not _owned:
        yield
        return
    _noted.clear()
    _depth.append(None)
    before = _handlers()
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        _depth.clear()
    if _noted:
        raise KeyboardInterrupt(128 + _noted.pop(0))


def number() -> int:
    """The signal that came while signals are noted, 0 for none."""
    return _noted[0] if _depth and _noted else 0


def raised() -> int:
    """The same, for somebody who raises it."""
    found = number()
    _noted.clear()
    return found


def _handlers() -> dict[int, Any]:
    """Put the noting handler in the place of each that would raise; those that were there."""
    found: dict[int, Any] = {}
    try:
        for one in SIGNALS:
            if callable(handler := signal.getsignal(one)):
                signal.signal(one, lambda number, _: _noted.append(number))
                found[one] = handler
    except ValueError:
        return {}  # not the main thread, where no handler runs
    return found
