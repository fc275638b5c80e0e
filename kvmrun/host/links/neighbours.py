"""Whether a guest answers on its address: asked by ARP, which no firewall inside the guest hides."""

import fcntl
import os
import socket
import struct

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
    with open(f"/proc/{os.getpid()}/net/arp", encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            if len(fields) == 6 and fields[0] == address and fields[5] == bridge:
                return bool(int(fields[2], 16) & _COMPLETE) and fields[3] == mac
    return False
