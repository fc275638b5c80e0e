"""A guest's serial line: listened to, or joined with a keyboard and a screen."""

import os
import select
import socket
import time
from collections.abc import Callable
from typing import Literal

from kvmrun.errors import NotRunning, Unresponsive
from kvmrun.model.value import Value
from kvmrun.monitor.guest_socket import GuestSocket, dial

Ending = Literal["left", "ended", "silent", "over", "signal", "hung up"]
_CHUNK = 16 << 10
_TYPED_LIMIT = 64 << 10
"""How much is kept for a guest that does not read; what a person types beyond that is dropped, a file waits."""
_QUIET = 1.0
"""Once there is no more input, so many seconds without output are the end."""


def connect_console(target: GuestSocket) -> socket.socket:
    """The console's socket. QEMU serves one client: whoever comes second hears nothing until the first has left.

    Raises: NotRunning, Unresponsive, WrongPeer.
    """
    try:
        return dial(target)
    except BlockingIOError:
        raise Unresponsive("the console accepts no connection", "kvmrun --list shows its state") from None
    except OSError as error:
        raise NotRunning("the guest has no console", "set console = true", reason=str(error)) from None


class Listening:
    """The console, only heard."""

    def __init__(self, target: GuestSocket) -> None:
        self._at = connect_console(target)

    def read(self, limit: float) -> bytes:
        """What was printed, waiting at most `limit` seconds for it. Raises NotRunning when the guest is gone."""
        poll = select.poll()
        poll.register(self._at, select.POLLIN)
        if not poll.poll(limit * 1000):
            return b""
        if data := self._at.recv(65536):
            return data
        raise NotRunning("the guest has ended")

    def close(self) -> None:
        self._at.close()


class ConsoleUser(Value):
    """Who is at the other end, as descriptors: `source` is typed, `sink` is seen and should not block.

    `wake` becomes readable when a signal asks for the end. `escape` is the byte that leaves, None without a keyboard.
    """

    source: int
    sink: int
    wake: int
    escape: int | None


class ConsoleRelay:
    """Carries bytes between the console and a person, keeping no more than it must.

    `show` gives what may be seen of the output, `answers` what it is to be answered.
    """

    def __init__(
        self, line: socket.socket, person: ConsoleUser, show: Callable[[bytes], bytes], answers: Callable[[], bytes]
    ) -> None:
        self._line = line
        self._source, self._sink, self._wake = person.source, person.sink, person.wake
        self._escape = person.escape
        self._show = show
        self._answers = answers
        self._typed = b""
        self._shown = b""
        self._heard = time.monotonic()

    def run(self, limit: float | None) -> Ending:
        """Until one side ends, the escape is typed, a signal comes, or `limit` seconds are over."""
        deadline = None if limit is None else time.monotonic() + limit
        while True:
            left = self._left(deadline)
            if left is not None and left <= 0:
                return "silent" if deadline is None else "over"
            ready = dict(self._poll().poll(None if left is None else left * 1000))
            for fd, turn in ((self._wake, self._woken), (self._sink, self._write), (self._line.fileno(), self._talk)):
                if fd in ready and (ending := turn(ready[fd])):
                    return ending
            if self._source in ready and (ending := self._read()):
                return ending

    def _left(self, deadline: float | None) -> float | None:
        if deadline is not None:
            return deadline - time.monotonic()
        done = self._source < 0 and not self._typed and not self._shown
        return self._heard + _QUIET - time.monotonic() if done else None

    def _poll(self) -> select.poll:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if line := (0 if self._shown else select.POLLIN) | (select.POLLOUT if self._typed else 0):
            poll.register(self._line, line)
        poll.register(self._sink, select.POLLOUT if self._shown else 0)
        if self._source >= 0 and (self._escape is not None or len(self._typed) < _TYPED_LIMIT):
            poll.register(self._source, select.POLLIN)
        return poll

    def _woken(self, _: int) -> Ending | None:
        return "signal"

    def _write(self, events: int) -> Ending | None:
        if self._shown and events & select.POLLOUT:
            try:
                self._shown = self._shown[os.write(self._sink, self._shown) :]
            except BlockingIOError:
                return None
            except BrokenPipeError:
                raise
            except OSError:
                return "hung up"
        elif events & select.POLLHUP:
            return "hung up"
        elif events & select.POLLERR:
            raise BrokenPipeError
        return None

    def _talk(self, events: int) -> Ending | None:
        try:
            if events & select.POLLOUT and self._typed:
                self._typed = self._typed[self._line.send(self._typed) :]
            if not self._shown and events & (select.POLLIN | select.POLLHUP):
                data = self._line.recv(_CHUNK)
                if not data:
                    return "ended"
                self._heard = time.monotonic()
                self._shown = self._show(data)
                if len(self._typed) < _TYPED_LIMIT:
                    self._typed += self._answers()
        except BlockingIOError:
            return None
        except OSError:
            return "ended"
        return None

    def _read(self) -> Ending | None:
        try:
            data = os.read(self._source, _CHUNK)
        except OSError:
            return "hung up"
        if not data and self._escape is not None:
            return "hung up"
        if not data:
            self._source = -1
            self._heard = time.monotonic()
        if self._escape is not None:
            data, leaving, _ = data.partition(bytes([self._escape]))
            if leaving:
                return "left"
        self._typed += data if self._escape is None else data[: _TYPED_LIMIT - len(self._typed)]
        return None
