"""Unix sockets in a guest's run directory: put in the place of another, and reached by a second name."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from kvmrun.host.files import atomic_write

_QUEUE = 4


def open_listener(path: str) -> socket.socket:
    """A new socket at `path` that listens, and to which only its owner may connect. Raises OSError."""
    at = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        os.fchmod(at.fileno(), 0o600)  # bind(2) takes the mode of the socket, so that nobody can connect in between
        at.bind(path)
        at.listen(_QUEUE)
    except BaseException:
        at.close()
        raise
    return at


@contextmanager
def replacing_socket(path: str) -> Iterator[int]:
    """A descriptor on a new socket that listens, and takes the place of `path` when the body has handed it over."""
    new = f"{path}.new"
    atomic_write.remove(new)
    with open_listener(new) as at:
        try:
            yield at.fileno()
            atomic_write.move(new, path)
        except BaseException:
            atomic_write.remove(new)
            raise


def add_name(path: str, name: str) -> None:
    """Let the socket at `path` be reached by `name` in the same directory, too, which is replaced."""
    second = f"{os.path.dirname(path)}/{name}"
    atomic_write.remove(second)
    os.link(path, second)
