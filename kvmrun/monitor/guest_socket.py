"""Connecting to a socket of a running guest: no other module does, and only a process of the right account is used."""

import os
import socket
import sys
import time
from collections.abc import Callable, Collection

from kvmrun.errors import Refused
from kvmrun.model.value import Value

_UID = slice(4, 8)
"""Of the pid, uid and gid that SO_PEERCRED tells, four bytes each."""
_PAUSE = 0.01
_KINDS = {"a": "agent", "c": "console"}


class GuestSocket(Value):
    """The Unix socket `path` of the guest `guest`. Only processes of the uids that `accounts` gives may listen there.

    `accounts` is called only where another account than ours listens.
    """

    path: str
    guest: str
    accounts: Callable[[], Collection[int]]


class WrongPeer(Refused):
    """A process of another account than the guest's QEMU listens on the socket."""


def dial(target: GuestSocket, *, limit: float = 0.0) -> socket.socket:
    """A connected socket that does not block. A full queue of the listener is waited for at most `limit` seconds.

    connect(2) is called here, and not by asyncio, which takes a socket for connected where the queue is full.

    Raises: BlockingIOError where the queue stays full, other OSErrors where nobody listens; WrongPeer.
    """
    deadline = time.monotonic() + limit
    at = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        while not _connected(at, target.path, deadline):
            time.sleep(_PAUSE)
        _require_peer(at, target)
    except BaseException:
        at.close()
        raise
    return at


def _connected(at: socket.socket, path: str, deadline: float) -> bool:
    try:
        at.connect(path)
    except BlockingIOError:  # connect(2) of a Unix socket says EAGAIN where the queue is full, and never EINPROGRESS
        if time.monotonic() >= deadline:
            raise
        return False
    return True


def _require_peer(at: socket.socket, target: GuestSocket) -> None:
    """Raises WrongPeer. The kernel keeps the uid that the listener had in listen(2).

    kvmrun has made the socket and called listen(2) before QEMU did: a connection from before that shows our own uid.
    """
    uid = int.from_bytes(at.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[_UID], sys.byteorder)
    if uid != os.geteuid() and uid not in target.accounts():
        kind = _KINDS.get(os.path.basename(target.path), "monitor")
        what = f"another account answers on the {kind} of {target.guest}"
        raise WrongPeer(what, f"kvmrun kill {target.guest} ends it", reason=f"a process of uid {uid} listens there")
