"""A bridge on which frames are sent from a guest's port, and it is seen whether they come through."""

import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from support import frames
from support.hosts import Host, inside
from support.world import ip, until

_EVERYTHING, _SOL_PACKET, _ADD_MEMBERSHIP, _PROMISCUOUS = 3, 263, 1, 1
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x2, 0x1000
_IGMP = frames.mac("01:00:5e:00:00:16")
_MARK = b"\x88\xb5kvmrun"
_LLC = 0x0004


class Lan:
    """br0 with a guest's port, another port, and the port "heard", whose frames say that all before them have come.

    A frame that the bridge hands to the stack of the guest's own `port` comes through, too.
    """

    def __init__(self, send: Callable[[bytes], object], other: Host, port: str) -> None:
        self._send = send
        self._ends = [raw("br0"), inside(other.fd, lambda: raw("eth0"))]
        # of one protocol: a socket for all of them is asked before the guard is
        self._own = [raw(port, kind) for kind in (0x0800, 0x0806, 0x86DD, 0x888E, 0x88CC, _LLC)]
        self._herald = raw("herald")
        self._turn = count()

    def passes(self, frame: bytes) -> bool:
        """Whether anything comes of the frame, at either end; twice, as a kernel may say something just then."""
        return self._comes(frame) and self._comes(frame)

    def _comes(self, frame: bytes) -> bool:
        self._send(frame)
        mark = _MARK + struct.pack("!I", next(self._turn))
        self._herald.send(frames.mac(frames.BROADCAST) + frames.mac("02:00:00:00:00:09") + mark + bytes(30))
        came = [_until(end, mark) for end in self._ends]
        return any([*came, *map(_waiting, self._own)])

    def passing(self, some: Mapping[str, bytes]) -> set[str]:
        """The names of those that come through."""
        return {name for name, frame in some.items() if self.passes(frame)}

    def close(self) -> None:
        for one in (self._herald, *self._ends, *self._own):
            one.close()


def raw(link: str, kind: int = _EVERYTHING) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("iHH8x", socket.if_nametoindex(link), _PROMISCUOUS, 0))
    made.bind((link, kind))
    made.settimeout(30.0)
    return made


def _waiting(end: socket.socket) -> list[bytes]:
    """What has come already."""
    came: list[bytes] = []
    while select.select([end], [], [], 0)[0]:
        came.append(end.recv(1 << 16))
    return came


def _until(end: socket.socket, mark: bytes) -> list[bytes]:
    """The frames that come before the mark, but for what the kernels of the hosts say of their own accord."""
    came: list[bytes] = []
    while mark not in (frame := end.recv(1 << 16)):
        came += [frame] if frame[:6] != _IGMP else []
    return came


def quiet(link: str) -> None:
    """No IPv6 of the kernel's own on the link."""
    Path(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6").write_text("1")


@contextmanager
def one_queue() -> Iterator[None]:
    """What is sent first arrives first."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


def wired(bridge: str) -> None:
    """The herald's wire to a bridge."""
    ip("link", "add", "herald", "type", "veth", "peer", "name", "heard")
    ip("link", "set", "heard", "master", bridge)
    for link in ("herald", "heard"):
        quiet(link)
        ip("link", "set", link, "up")
    forwarding("heard")


def forwarding(*links: str) -> None:
    """Wait until these ports pass frames: the bridge hears of their carrier a while after it is there."""
    for one in links:
        until(lambda path=Path(f"/sys/class/net/{one}/brport/state"): path.read_text() == "3\n")


class Card:
    """A guest's own card, by the descriptor of its tap: what it sends, and all that comes to it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def send(self, frame: bytes) -> None:
        os.write(self._fd, frame)

    def waits(self, limit: float) -> bool:
        """Whether a frame is there to be received, or comes within `limit` seconds."""
        return bool(select.select([self._fd], [], [], limit)[0])

    def receive(self, limit: float = 20.0) -> bytes:
        """The next frame; fails when none comes within `limit` seconds."""
        if not self.waits(limit):
            raise TimeoutError(f"no frame within {limit:g} s")
        return os.read(self._fd, 1 << 16)

    def until(self, last: bytes) -> list[bytes]:
        """What comes before the first frame that has `last` in it, and that."""
        came = [self.receive()]
        while last not in came[-1]:
            came.append(self.receive())
        return came


@contextmanager
def card(tap: str) -> Iterator[Card]:
    """The guest's side of a kept tap, held as QEMU holds it."""
    with opened(tap) as fd:
        forwarding(tap)
        yield Card(fd)


@contextmanager
def opened(tap: str) -> Iterator[int]:
    """The guest's side of a kept tap, as QEMU has it."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", tap.encode(), _IFF_TAP | _IFF_NO_PI))
        yield fd
    finally:
        os.close(fd)
