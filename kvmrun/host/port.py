"""A TCP port of the loopback address: taken for a guest's display, and who has it otherwise."""

import errno
import os
import socket

from kvmrun.errors import KvmrunError
from kvmrun.host import process
from kvmrun.light.abc import Mapping


def take(number: int) -> int:
    """A socket that listens there. Raises KvmrunError where somebody was quicker."""
    try:
        return _bound(number).detach()
    except OSError as why:
        hint = "name another port in display"
        raise KvmrunError(f"port {number} of 127.0.0.1 cannot be had", hint, why=os.strerror(why.errno or 0)) from None


def holder(number: int, guests: Mapping[str, int]) -> str:
    """Who has the port, one of `guests` (pids by name) by its name; "" when it is free."""
    try:
        _bound(number).close()
    except OSError as why:
        if why.errno != errno.EADDRINUSE:
            return ""
    else:
        return ""
    from kvmrun.host import netlink  # only to name the culprit

    sockets = {one.inode for one in netlink.listeners({number}) if one.protocol == "tcp"}
    pid = next(iter(process.with_sockets(sockets).values()), 0)
    return next((name for name, its in guests.items() if its == pid), "") or process.described(pid)


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
