"""Traffic that never pauses: guests and the host ask hosts that answer, and strangers try to be routed by this host."""

import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from support.hosts import Host, inside

_ECHO, _DISCARD = 7, 9
_PACE = 0.02
_STRANGE = b"strange"
_ACK = 0x10


class Traffic:
    """All of it in one thread. `leaks` are the packets of strangers that came through, as "FROM to AT"."""

    def __init__(self) -> None:
        self.leaks: set[str] = set()
        self.hosts: dict[str, Host] = {}
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        self._asking: dict[str, tuple[socket.socket, str]] = {}
        self._strange: dict[str, tuple[socket.socket, socket.socket]] = {}
        self._targets: dict[str, list[str]] = {}
        self._heard: dict[str, tuple[int, str]] = {}
        self._turn = 0
        self._lock = threading.Lock()
        self._done = threading.Event()

    def answers(self, one: Host, *addresses: str) -> None:
        """Have a host answer at these addresses of its own, with its name."""
        for address in addresses:
            at = _udp(one, address, _ECHO)
            self._watch(at, lambda at=at: _answer(at, one.link))  # type: ignore[misc]

    def asks(self, name: str, target: str, one: Host | None = None) -> None:
        """Have a host, or this one, ask `target` from one port from now on."""
        made = (
            _udp(one, "0.0.0.0", 0) if one else _bound(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), "0.0.0.0", 0)
        )
        self._watch(made, lambda: self._hear(name, made))
        if one:
            self.hosts[name] = one
        with self._lock:
            self._asking[name] = made, target

    def is_strange(self, one: Host, *addresses: str) -> None:
        """Have a host send to the others of its kind, by whatever routes it has; `addresses` are its own."""
        for address in addresses:
            at = _udp(one, address, _DISCARD)
            self._watch(at, lambda at=at: self._leak(at.recv(4096), one.link))  # type: ignore[misc]
        raw = inside(one.fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP))
        raw.setblocking(False)
        self._watch(raw, lambda: self._leak(raw.recv(4096), one.link))
        sending = _udp(one, "0.0.0.0", 0)
        self._sockets.append(sending)
        with self._lock:
            self._strange[one.link] = sending, raw
            self._targets[one.link] = list(addresses)

    def heard(self, name: str) -> Callable[[], str]:
        """Asked again and again: who has answered a question that was sent after this call, "" while nobody has."""
        first = self._turn + 1

        def by() -> str:
            turn, who = self._heard.get(name, (0, ""))
            return who if turn >= first else ""

        return by

    def turns(self, count: int) -> Callable[[], bool]:
        """Asked again and again: whether everybody has sent so many times since this call."""
        last = self._turn + count
        return lambda: self._turn > last

    def stop(self) -> None:
        self._done.set()

    def close(self) -> None:
        self._selector.close()
        for at in self._sockets:
            at.close()

    def run(self) -> None:
        due = time.monotonic()
        while not self._done.is_set():
            for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
                with suppress(OSError):
                    key.data()
            if time.monotonic() >= due:
                due = time.monotonic() + _PACE
                with self._lock:
                    self._send()

    def _send(self) -> None:
        self._turn += 1
        for at, target in self._asking.values():
            with suppress(OSError):
                at.sendto(struct.pack("!I", self._turn), (target, _ECHO))
        for name, (at, raw) in self._strange.items():
            for target in [one for other, some in self._targets.items() if other != name for one in some]:
                with suppress(OSError):
                    at.sendto(_STRANGE + name.encode(), (target, _DISCARD))
                with suppress(OSError):  # of no connection: the checksum is wrong
                    head = struct.pack("!HHIIBBHHH", 9, 9, 1, 1, 5 << 4, _ACK, 1024, 1, 0)
                    raw.sendto(head + _STRANGE + name.encode(), (target, 0))

    def _watch(self, at: socket.socket, do: Callable[[], object]) -> None:
        self._sockets.append(at)
        self._selector.register(at, selectors.EVENT_READ, do)

    def _hear(self, name: str, at: socket.socket) -> None:
        answer = at.recv(4096)
        self._heard[name] = struct.unpack("!I", answer[:4])[0], answer[4:].decode()

    def _leak(self, packet: bytes, at: str) -> None:
        _, strange, name = packet.partition(_STRANGE)
        if strange:
            self.leaks.add(f"{name.decode()} to {at}")


@contextmanager
def traffic() -> Iterator[Traffic]:
    """Traffic that runs inside the block."""
    made = Traffic()
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join()
        made.close()


def _udp(one: Host, address: str, port: int) -> socket.socket:
    return _bound(one.socket(socket.SOCK_DGRAM), address, port)


def _bound(at: socket.socket, address: str, port: int) -> socket.socket:
    at.setblocking(False)
    at.bind((address, port))
    return at


def _answer(at: socket.socket, name: str) -> None:
    """Nobody outside answers an address of a guest: it has to be translated."""
    question, peer = at.recvfrom(4096)
    if not peer[0].startswith("192.168."):
        at.sendto(question[:4] + name.encode(), peer)
