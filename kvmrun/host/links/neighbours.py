"""What the host knows of its neighbours by ARP, which no firewall inside a guest hides."""

import fcntl
import os
import socket
import struct
from collections.abc import Iterator

_SIOCDARP = 0x8953
_COMPLETE = 0x2
_DISCARD_PORT = 9


def forget_neighbour(bridge: str, address: str) -> None:
    """Drop what the host remembers of `address`, so that an earlier guest's answer does not count. Root only."""
    entry = struct.pack("HH4s8x16xi16x16s", socket.AF_INET, 0, socket.inet_aton(address), 0, bridge.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as at:
        try:
            fcntl.ioctl(at.fileno(), _SIOCDARP, entry)
        except OSError:
            return


def has_answered(bridge: str, address: str, mac: str) -> bool:
    """Whether `address` has been seen on `bridge` with `mac`; asks once more on the way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as at:
        try:
            at.sendto(b"", (address, _DISCARD_PORT))
        except OSError:
            return False
    return any((one, link, known) == (address, bridge, mac) for one, link, known in _complete_entries())


def known_addresses() -> dict[tuple[str, str], str]:
    """The IPv4 address of every neighbour that has answered, by the link it answered on and its MAC.

    Of several the last in the kernel's table.
    """
    return {(link, mac): address for address, link, mac in _complete_entries()}


def _complete_entries() -> Iterator[tuple[str, str, str]]:
    """(address, link, MAC) of each that has answered, in the caller's network namespace."""
    with open(f"/proc/{os.getpid()}/net/arp", encoding="utf-8") as file:
        for fields in map(str.split, file):
            if len(fields) == 6 and fields[2].startswith("0x") and int(fields[2], 16) & _COMPLETE:
                yield fields[0], fields[5], fields[3]
