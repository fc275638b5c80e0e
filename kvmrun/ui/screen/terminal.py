"""The terminal of a person who is connected to something else: lent out, and given back as it was."""

import os
import select
import signal
import stat
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PATIENCE = 0.5


def is_screen() -> bool:
    """Whether a person sits here, at a terminal that can have a picture drawn on it."""
    return os.isatty(0) and os.isatty(1) and os.environ.get("TERM", "dumb") != "dumb"


def size() -> tuple[int, int]:
    """Lines and columns, now; a terminal that does not know them has the usual ones."""
    try:
        columns, lines = os.get_terminal_size(1)
    except OSError:
        return 24, 80
    return lines or 24, columns or 80


@contextmanager
def raw(fd: int, *, keys: bool = False) -> Iterator[None]:
    """Every key goes through as it is typed; afterwards the terminal is as it was, whatever happened.

    With `keys` those that are signals (Ctrl-C, Ctrl-Z) stay signals.
    """
    before = termios.tcgetattr(fd)
    try:
        # what was typed ahead is kept
        tty.setcbreak(fd, termios.TCSANOW) if keys else tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        with suppress(termios.error):  # a terminal that has gone needs nothing back
            termios.tcsetattr(fd, termios.TCSANOW, before)  # never waits for output that may be stopped


class SignalCatcher:
    """Signals that have come: `fd` becomes readable with the first, `number` tells which it was, 0 for none."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @property
    def number(self) -> int:
        """The first that has not been asked for yet."""
        try:
            return next(iter(os.read(self.fd, 1)), 0)
        except BlockingIOError:
            return 0


@contextmanager
def catch_signals(signals: tuple[int, ...]) -> Iterator[SignalCatcher]:
    """Within, `signals` end nothing by themselves: what goes on is to look for them and end in order."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {one: signal.signal(one, lambda *_: None) for one in signals}
    try:
        yield SignalCatcher(reader)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        signal.set_wakeup_fd(woken)
        os.close(reader)
        os.close(writer)


@contextmanager
def nonblocking_dup(fd: int) -> Iterator[int]:
    """The same terminal or pipe as `fd`, on which a write does not block, without changing that for others."""
    own = -1
    if os.isatty(fd) or stat.S_ISFIFO(os.fstat(fd).st_mode):
        with suppress(OSError):  # the terminal of another user, after su: then writes may block
            own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    own = os.dup(fd) if own < 0 else own
    try:
        yield own
    finally:
        os.close(own)


def write_soon(fd: int, data: bytes) -> None:
    """Write `data` to a terminal if it takes it soon: one that is stopped or gone is left alone."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    deadline = time.monotonic() + _PATIENCE
    while data and (left := deadline - time.monotonic()) > 0:
        if not any(events & select.POLLOUT for _, events in poll.poll(left * 1000)):
            return
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            continue
        except OSError:
            return
