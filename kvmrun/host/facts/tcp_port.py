"""A TCP port of the loopback address for the display of a guest: bound, or the process that uses it."""

import errno
import os
import socket
import time
from collections.abc import Mapping

from kvmrun.errors import KvmrunError
from kvmrun.host.process import process, socket_owners

_MOMENT = 0.5


def bind_port(number: int) -> int:
    """A socket that listens there. Raises KvmrunError where another process bound the port first.

    A child that another thread spawns has what we had open for a moment, and with it the port that was looked at.
    """
    deadline = time.monotonic() + _MOMENT
    while True:
        try:
            return _bound(number).detach()
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.005)
                continue
            what, fix = f"port {number} of 127.0.0.1 cannot be had", "name another port in display"
            raise KvmrunError(what, fix, reason=os.strerror(error.errno or 0)) from None


def port_owner(number: int, guests: Mapping[str, int]) -> str:
    """Who has the port, one of `guests` (pids by name) by its name; "" when it is free."""
    try:
        _bound(number).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return ""
    else:
        return ""
    from kvmrun.host.links import pyroute2_links  # only to name the culprit

    sockets = {one.inode for one in pyroute2_links.listeners({number}) if one.protocol == "tcp"}
    pid = next(iter(socket_owners.with_sockets(sockets).values()), 0)
    return next((name for name, its in guests.items() if its == pid), "") or process.describe(pid)


def _bound(number: int) -> socket.socket:
    at = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        at.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # viewers of an earlier guest are no reason
        at.bind(("127.0.0.1", number))
        at.listen(4)
    except OSError:
        at.close()
        raise
    return at
