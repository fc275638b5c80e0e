"""Listening to a guest's serial line."""

import select
import socket

from kvmrun.errors import NotRunning


class Listening:
    """The console's socket. QEMU serves one client: whoever comes second hears nothing until the first has left."""

    def __init__(self, path: str) -> None:
        self._at = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._at.connect(path)
        except OSError as why:
            self._at.close()
            raise NotRunning("the guest has no console", "set console = true", why=str(why)) from None

    def read(self, limit: float) -> bytes:
        """What was printed, waiting at most `limit` seconds for it. Raises NotRunning when the guest is gone."""
        poll = select.poll()
        poll.register(self._at, select.POLLIN)
        if not poll.poll(limit * 1000):
            return b""
        if data := self._at.recv(65536):
            return data
        raise NotRunning("the guest ended", "kvmrun log tells what it said last")

    def close(self) -> None:
        self._at.close()
