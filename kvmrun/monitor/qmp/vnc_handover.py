"""Showing a guest to VNC viewers on a socket of ours, which QEMU may not open itself."""

from kvmrun.errors import KvmrunError
from kvmrun.monitor.guest_socket import GuestSocket
from kvmrun.monitor.qmp.fd_passing import QmpError, open_connection

_LIMIT = 5.0


def hand_over_vnc(monitor: GuestSocket, listener: int) -> None:
    """Hand the listening socket `listener` to the guest of `monitor`. Raises KvmrunError when QEMU will not have it."""
    try:
        with open_connection(monitor, _LIMIT) as connection:
            connection.execute("getfd", {"fdname": "vnc"}, fd=listener)
            connection.execute("display-update", {"type": "vnc", "addresses": [{"type": "fd", "str": "vnc"}]})
    except QmpError as no:
        raise KvmrunError(
            "QEMU would not show the guest", 'display = "vnc" takes a Unix socket', reason=no.message
        ) from None
