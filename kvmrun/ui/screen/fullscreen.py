"""A screen of its own on the terminal: drawn anew in place when there is news, given back whatever happens.

A frame is written over the one before, line by line, so that nothing flickers; a terminal that takes no more (stopped,
or behind a slow line) gets the newest frame once it does, and keys and signals are heard meanwhile.
"""

import gc
import os
import select
import signal
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from contextvars import copy_context
from io import StringIO
from typing import Generic, Protocol, TypeVar

from rich.console import Console, RenderableType

from kvmrun.ui.screen import keyboard, terminal

T = TypeVar("T")
_ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_ENTER, _LEAVE = b"\x1b[?1049h\x1b[?25l\x1b[2J", b"\x1b[?25h\x1b[?1049l"
_KEPT = 60
"""How much news is kept while nobody looks at it."""


class View(Protocol):
    """What is shown: it draws itself, takes the news, and answers keys."""

    def draw(self, width: int, height: int) -> RenderableType:
        """What fits; more lines and columns are cut."""

    def take(self) -> None:
        """Take what the feed has brought. Raises what looking has raised."""

    def press(self, key: str) -> str:
        """What the screen is to be left for, "" to stay."""


class Poller(Generic[T]):
    """Looks again and again, on a thread of its own: one that has to wait for a guest keeps no key waiting."""

    def __init__(self, look: Callable[[], T], every: float, *, first: float | None = None) -> None:
        """Every so many seconds; `first` is what lies between the first and the second time."""
        self._look = look
        self._every = every
        self._pause = every if first is None else first
        self._news: deque[T | Exception] = deque(maxlen=_KEPT)
        self._wanted = threading.Event()
        self.fd, self._bell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        threading.Thread(target=copy_context().run, args=(self._run,), daemon=True).start()

    def now(self) -> None:
        """Look at once."""
        self._wanted.set()

    def news(self) -> list[T]:
        """What was seen since the last call. Raises what looking has raised."""
        with suppress(BlockingIOError):
            os.read(self.fd, 64)
        found: list[T] = []
        while self._news:
            one = self._news.popleft()
            if isinstance(one, Exception):
                raise one
            found.append(one)
        return found

    def _run(self) -> None:
        failed = False
        while not failed:
            self._wanted.clear()
            try:
                self._news.append(self._look())
            except Exception as error:  # raised where it is looked at
                self._news.append(error)
                failed = True
            with suppress(BlockingIOError):
                os.write(self._bell, b".")
            self._wanted.wait(self._pause)
            self._pause = self._every


def show(view: View, feed: int, *, color: str) -> str | int:
    """Show `view`, which takes news when the descriptor `feed` is readable; needs a terminal on both sides.

    Returns what it is to be left for, or the signal that ends it: SIGHUP also where the terminal has gone.
    """
    gc.enable()  # unlike other commands this one lives long
    while True:
        with ExitStack() as stack:
            screen = stack.enter_context(_Screen(view, color))
            caught = stack.enter_context(terminal.catch_signals((*_ENDS, signal.SIGTSTP, signal.SIGWINCH)))
            stack.enter_context(terminal.raw(0, keys=True))
            ending = screen.run(feed, caught)
        if ending != signal.SIGTSTP:
            return ending
        os.kill(os.getpid(), signal.SIGSTOP)  # and when it goes on, it is shown anew


def exit_code(left: str | int) -> int:
    """The exit code of a screen that was left for good: Ctrl-C is a way to quit like any other."""
    return 128 + left if isinstance(left, int) and left != signal.SIGINT else 0


class _Screen:
    """The terminal while a view is on it."""

    def __init__(self, view: View, color: str) -> None:
        self._view = view
        self._color = color
        self._unsent = b""
        self._stack = ExitStack()
        self._sink = -1

    def __enter__(self) -> "_Screen":
        self._sink = self._stack.enter_context(terminal.nonblocking_dup(1))
        terminal.write_soon(self._sink, _ENTER)
        return self

    def __exit__(self, *_: object) -> None:
        terminal.write_soon(self._sink, self._unsent + _LEAVE)
        self._stack.close()

    def run(self, feed: int, caught: terminal.SignalCatcher) -> str | int:
        """Until it is to be left."""
        stale = True
        while True:
            if stale and not self._unsent:
                self._unsent = self._frame()
                stale = False
            poll = select.poll()
            for fd in (0, feed, caught.fd):
                poll.register(fd, select.POLLIN)
            poll.register(self._sink, select.POLLOUT if self._unsent else 0)
            ready = dict(poll.poll())
            if feed in ready:
                self._view.take()
                stale = True
            if self._sink in ready and not self._write():
                return signal.SIGHUP
            if caught.fd in ready and (number := caught.number):
                if number != signal.SIGWINCH:
                    return number
                stale = True
            if 0 in ready:
                if not (typed := self._typed()):
                    return signal.SIGHUP
                for key in keyboard.read_key(typed):
                    if left := self._view.press(key):
                        return left
                stale = True

    def _typed(self) -> bytes:
        try:
            return os.read(0, 1024)
        except OSError:
            return b""

    def _write(self) -> bool:
        """Write on; False when there is no terminal any more."""
        try:
            self._unsent = self._unsent[os.write(self._sink, self._unsent) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _frame(self) -> bytes:
        """The view as the terminal is to have it: home, every line with its rest cleared, and all below."""
        height, width = terminal.size()
        console = Console(
            file=StringIO(),
            force_terminal=True,
            width=width,
            height=height,
            no_color=True if self._color == "never" else None,
            highlight=False,
            markup=False,
            emoji=False,
        )
        with console.capture() as drawn:
            console.print(self._view.draw(width, height), end="")
        lines = drawn.get().rstrip("\n").split("\n")[:height]
        return ("\x1b[H" + "\x1b[K\r\n".join(lines) + "\x1b[K\x1b[J").encode(errors="replace")
