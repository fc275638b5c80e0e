"""The socket of a guest that the test itself serves."""

from kvmrun.monitor.guest_socket import GuestSocket


def own(path: str, guest: str = "vm2") -> GuestSocket:
    """A socket on which only the account of the test may listen."""
    return GuestSocket(path=path, guest=guest, accounts=lambda: ())
