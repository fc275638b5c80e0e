"""The synchronous QMP connection: JSON messages within a budget of bytes, and descriptors that go along with one."""

import json
import socket
from typing import Any

_BUDGET = 256 << 10
"""What all messages of one connection may take, in bytes."""


class QmpSocket:
    """One connection, over a socket that `dial` has made."""

    def __init__(self, at: socket.socket) -> None:
        self._at = at
        self._buffer = b""
        self._budget = _BUDGET

    def fileno(self) -> int:
        return self._at.fileno()

    def close(self) -> None:
        self._at.close()

    def send(self, data: bytes, *, fd: int | None = None, limit: float = 0.0) -> None:
        """Send all of `data` within `limit` seconds, with a copy of the descriptor `fd`. Raises OSError."""
        self._at.settimeout(limit)
        if fd is None:
            self._at.sendall(data)
        else:
            socket.send_fds(self._at, [data], [fd])

    def receive(self, *, limit: float = 0.0) -> list[dict[str, Any]]:
        """The messages that are complete when something has come within `limit` seconds.

        Raises: EOFError when the other side has closed; ValueError or RecursionError for what is no message, or for
        more than the budget; OSError, with 0 s BlockingIOError where nothing has come.
        """
        self._at.settimeout(limit)
        data = self._at.recv(65536)
        self._budget -= len(data)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        messages = [_message(line) for line in lines]
        if not data:
            raise EOFError("closed")
        if self._budget < 0:
            raise ValueError("too many bytes")
        return messages


def _message(line: bytes) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("a message is not a JSON object")
    return found
