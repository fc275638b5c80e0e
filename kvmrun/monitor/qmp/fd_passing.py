"""QMP commands that carry descriptors: what QEMU may not open itself is opened for it and handed over.

One connection, one deadline, a byte budget; the same lock as the short probes, so that neither finds the seat taken.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from kvmrun.errors import KvmrunError, NotRunning, Unresponsive
from kvmrun.model.printable import printable

_BUDGET = 256 << 10
_PAUSE = 0.01


class QmpError(KvmrunError):
    """QEMU understood the command and said no."""


class QmpConnection:
    """An open connection; made by `carrier`."""

    def __init__(self, at: socket.socket, deadline: float) -> None:
        self._at = at
        self._deadline = deadline
        self._buffer = b""
        self._budget = _BUDGET

    def execute(self, command: str, arguments: Mapping[str, object] | None = None, *, fd: int | None = None) -> Any:
        """What QEMU returns; `fd` goes along. Raises Said, Unresponsive or NotRunning."""
        words = json.dumps({"execute": command, "arguments": dict(arguments or {})}).encode() + b"\n"
        try:
            self._at.settimeout(self._left())
            if fd is None:
                self._at.sendall(words)
            else:
                socket.send_fds(self._at, [words], [fd])
            while True:
                said = self._message()
                if "error" in said:
                    raise QmpError(printable(said["error"].get("desc"), 400))
                if "return" in said:
                    return said["return"]
        except TimeoutError:
            raise Unresponsive(f"QEMU has not answered {command} in time", "--timeout SECONDS waits longer") from None
        except (OSError, ValueError, RecursionError, AttributeError, TypeError) as error:
            raise NotRunning(
                "the guest has ended, or does not speak QMP", "kvmrun --list", reason=printable(error)
            ) from None

    def forget(self, opaque: str) -> None:
        """Have QEMU close every descriptor it was handed under this name; what uses one goes on with its own copy.

        QEMU keeps them otherwise, until it ends or no monitor of it has a client.
        """
        try:
            sets = [one for one in self.execute("query-fdsets") if opaque in [fd.get("opaque") for fd in one["fds"]]]
            numbers = [int(one["fdset-id"]) for one in sets]
        except (TypeError, KeyError, AttributeError, ValueError):
            return  # no answer of a QEMU's
        for number in numbers:
            with suppress(QmpError):
                self.execute("remove-fd", {"fdset-id": number})

    def _message(self) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            self._at.settimeout(self._left())
            data = self._at.recv(65536)
            self._budget -= len(data)
            if not data or self._budget < 0:
                raise ValueError("closed" if not data else "too many words")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        said = json.loads(line)
        if not isinstance(said, dict):
            raise ValueError("not an object")
        return said

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


@contextmanager
def open_connection(path: str, limit: float) -> Iterator[QmpConnection]:
    """A connection to the monitor at `path`, for at most `limit` seconds."""
    deadline = time.monotonic() + limit
    with (
        turn(os.path.dirname(path), limit),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as at,
    ):
        _connect(at, path, deadline)
        one = QmpConnection(at, deadline)
        one.execute("qmp_capabilities")
        yield one


@contextmanager
def turn(directory: str, limit: float) -> Iterator[None]:
    """Be the one of our commands that talks to the first monitor of the guest. Raises Unresponsive."""
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _wait(held, time.monotonic() + limit)
        yield
    finally:
        os.close(held)


def _connect(at: socket.socket, path: str, deadline: float) -> None:
    """A QEMU that hangs lets nobody in, and a connection that is not let in would be waited for without end."""
    at.setblocking(False)
    while True:
        try:
            return at.connect(path)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unresponsive("the monitor accepts no connection", "kvmrun --list shows its state") from None
            time.sleep(_PAUSE)
        except OSError as error:
            raise NotRunning("the guest is not running", "kvmrun --list", reason=f"{error}") from None


def _wait(held: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unresponsive("the monitor is busy with another command", "try again") from None
            time.sleep(_PAUSE)
        else:
            return
