"""Whether a gateway is there: asked by ARP, once more each time it says nothing, from no address of ours."""

import os
import socket
import struct
import time

from kvmrun.light.abc import Iterable

_ARP, _IP, _ETHERNET = 0x0806, 0x0800, 1
_REQUEST, _REPLY = 1, 2
_HEAD = struct.Struct("!HHBBH6s4s6s4s")
_TRIES, _PATIENCE = 3, 0.3
_PERMANENT = 0x4


def silent(gateways: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """Those of `gateways`, as (link, address), that do not answer. One that cannot be asked is not among them."""
    return frozenset((link, address) for link, address in set(gateways) if not _answers(link, address))


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
