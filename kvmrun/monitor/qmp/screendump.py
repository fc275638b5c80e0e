"""What a guest's display shows, drawn by QEMU into memory that it is handed."""

import os
from contextlib import suppress

from kvmrun.errors import KvmrunError
from kvmrun.monitor.guest_socket import GuestSocket
from kvmrun.monitor.qmp.fd_passing import open_connection

LARGEST = 64 << 20
"""A picture is smaller than this, in bytes."""


def screendump(monitor: GuestSocket, limit: float) -> bytes:
    """The picture as QEMU writes it, asked for at `monitor`, within `limit` seconds.

    QEMU keeps neither the descriptor nor a file of ours. Raises QmpError where the guest has no display.
    """
    shared = os.memfd_create("screenshot", os.MFD_CLOEXEC)
    try:
        given = os.open(f"/proc/self/fd/{shared}", os.O_WRONLY | os.O_CLOEXEC)  # a set is asked for by its access mode
        try:
            _draw(monitor, given, limit)
        finally:
            os.close(given)
        return os.pread(shared, LARGEST, 0)
    finally:
        os.close(shared)


def _draw(monitor: GuestSocket, fd: int, limit: float) -> None:
    with open_connection(monitor, limit) as connection:
        number = connection.execute("add-fd", {"opaque": "screenshot"}, fd=fd)["fdset-id"]
        try:
            connection.execute("screendump", {"filename": f"/dev/fdset/{number}", "format": "png"})
        finally:
            with suppress(KvmrunError):  # the first error is the one to tell
                connection.forget("screenshot")
