"""Whether a gateway exists: asked by ARP without a source address of ours, and again if it does not answer."""

import os
import socket
import struct
import time
from collections.abc import Iterable

_ARP, _IP, _ETHERNET = 0x0806, 0x0800, 1
_REQUEST, _REPLY = 1, 2
_HEAD = struct.Struct("!HHBBH6s4s6s4s")
_TRIES, _PATIENCE = 3, 0.3
_COMPLETE, _PERMANENT = 0x2, 0x4


def silent_gateways(gateways: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """Those of `gateways`, as (link, address), that do not answer. One that cannot be asked is not among them."""
    return frozenset((link, address) for link, address in set(gateways) if not _answers(link, address))


def gateway_macs(gateways: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The MACs of the gateways, as (link, address), that the kernel knows or that answer when they are asked."""
    wanted = set(gateways)
    for link, address in wanted - _known().keys():
        _have_asked(link, address)
    return {place: mac for place, mac in _known().items() if place in wanted}


def _have_asked(link: str, address: str) -> None:
    """Have the kernel ask, which keeps the answer; and wait for it a moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as at:
        try:
            at.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
            at.sendto(b"", (address, 9))
        except OSError:
            return
    deadline = time.monotonic() + _PATIENCE
    while (link, address) not in _known() and time.monotonic() < deadline:
        time.sleep(0.01)


def _known() -> dict[tuple[str, str], str]:
    """The neighbours whose MACs the kernel knows, by (link, address)."""
    with open(f"/proc/{os.getpid()}/net/arp", encoding="utf-8") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return {(row[5], row[0]): row[3] for row in rows if len(row) == 6 and int(row[2], 16) & _COMPLETE}


def _answers(link: str, address: str) -> bool:
    """True also where nobody can be asked: without root, on a link that is gone or has no ARP, or need not."""
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0) as at:
            at.bind((link, _ARP))
            _, _, _, kind, mac = at.getsockname()
            return kind != _ETHERNET or _is_given(link, address) or any(_asked(at, mac, address) for _ in range(_TRIES))
    except OSError:
        return True


def _asked(at: socket.socket, mac: bytes, address: str) -> bool:
    wanted = socket.inet_aton(address)
    body = _HEAD.pack(_ETHERNET, _IP, 6, 4, _REQUEST, mac, bytes(4), bytes(6), wanted)
    at.sendto(body, (at.getsockname()[0], _ARP, 0, 0, b"\xff" * 6))
    deadline = time.monotonic() + _PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        at.settimeout(left)
        try:
            answer = at.recv(1500)
        except TimeoutError:
            return False
        if len(answer) >= _HEAD.size:
            _, _, _, _, operation, _, sender, _, _ = _HEAD.unpack_from(answer)
            if (operation, sender) == (_REPLY, wanted):
                return True
    return False


def _is_given(link: str, address: str) -> bool:
    """Whether its hardware address was written down for good: then nobody asks it."""
    with open(f"/proc/{os.getpid()}/net/arp", encoding="utf-8") as file:
        rows = [line.split() for line in file]
    return any(
        (row[0], row[-1]) == (address, link) and int(row[2], 16) & _PERMANENT for row in rows[1:] if len(row) == 6
    )
