"""Probes of the doctor: an ICMP echo through an uplink, and a query to the name server of a network."""

import os
import select
import socket
import struct
import time
from collections.abc import Iterable
from ipaddress import IPv4Interface
from typing import Literal

from kvmrun.host.links import gateway_probe
from kvmrun.host.links.pyroute2_links import read_bridge
from kvmrun.model.network.network import Uplink

Names = Literal["answered", "refused", "failed", "silent"]
_IP, _ICMP, _ECHO, _REPLY = 0x0800, 1, 8, 0
_TRIES, _PATIENCE = 3, 0.5
_DNS_PATIENCE = 2.0
_REFUSED, _FAILED = 5, 2
_NAME = b"\7example\3com\0"


def answered_echoes(uplinks: Iterable[Uplink]) -> dict[str, bool]:
    """Whether the address to be probed answers through each uplink that has one and a gateway, by the uplink's name.

    The frame goes to the gateway's own MAC and past routes and filters of this host: it is the uplink that is asked.
    One whose gateway's MAC cannot be found has not answered.
    """
    asked = [one for one in uplinks if one.probe and one.gateway]
    macs = gateway_probe.gateway_macs((str(one.interface), str(one.gateway)) for one in asked if not one.gateway_mac)
    found = {}
    for one in asked:
        mac = one.gateway_mac or macs.get((str(one.interface), str(one.gateway)))
        found[str(one.name)] = bool(mac) and _echoes(str(one.interface), str(mac), str(one.probe))
    return found


def _echoes(link: str, mac: str, target: str) -> bool:
    """Whether an echo request by that next hop is answered; also false where none can be sent."""
    there = read_bridge(link)
    own = [str(IPv4Interface(text).ip) for text in (there.addresses if there else ()) if ":" not in text]
    if not own:
        return False
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0) as at:
            at.bind((link, _IP))
            to = (link, _IP, 0, 0, bytes.fromhex(mac.replace(":", "")))
            return any(_answered(at, to, _request(own[0], target, number), target) for number in range(_TRIES))
    except OSError:
        return False


def _request(source: str, target: str, number: int) -> bytes:
    body = struct.pack("!BBHHH", _ECHO, 0, 0, os.getpid() & 0xFFFF, number) + b"kvmrun"
    body = body[:2] + struct.pack("!H", _sum(body)) + body[4:]
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), number, 0, 64, _ICMP, 0) + ends
    return head[:10] + struct.pack("!H", _sum(head)) + head[12:] + body


def _sum(data: bytes) -> int:
    """The checksum of RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _answered(at: socket.socket, to: tuple[str, int, int, int, bytes], frame: bytes, target: str) -> bool:
    at.sendto(frame, to)
    wanted = socket.inet_aton(target)
    deadline = time.monotonic() + _PATIENCE
    while (left := deadline - time.monotonic()) > 0 and select.select([at], [], [], left)[0]:
        came = at.recv(2048)
        size = (came[0] & 0xF) * 4 if came else 0
        if came[9:10] == bytes([_ICMP]) and came[12:16] == wanted and came[size : size + 1] == bytes([_REPLY]):
            return True
    return False


def answered_names(server: str) -> Names:
    """The result of a query for a name that always exists (RFC 2606): the server has to ask its upstream servers."""
    answer = _asked(server, _NAME)
    if not answer:
        return "silent"
    code = answer[3] & 0xF if len(answer) > 3 else _FAILED
    return "refused" if code == _REFUSED else "failed" if code == _FAILED else "answered"


def serves(server: str, domain: str) -> bool:
    """Whether the server answers at all, asked for its own domain, about which it asks nobody else."""
    name = b"".join(bytes([len(part)]) + part.encode() for part in domain.split(".")) + b"\0"
    return bool(_asked(server, name))


def _asked(server: str, name: bytes) -> bytes:
    """The answer to a question for an address of that name, b"" where none comes."""
    question = struct.pack("!6H", os.getpid() & 0xFFFF, 0x0100, 1, 0, 0, 0) + name + struct.pack("!2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as at:
        at.settimeout(_DNS_PATIENCE)
        try:
            at.connect((server, 53))
            at.send(question)
            return at.recv(4096)
        except OSError:
            return b""
