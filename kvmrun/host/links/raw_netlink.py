"""Asking the kernel by netlink without a library to load: its lists read, a request sent, both in well under 1 ms."""

import os
import socket
import struct
from collections.abc import Iterator

NETFILTER, ROUTE = 12, 0
_REQUEST, ACK, _DUMP, _INTERRUPTED = 0x1, 0x4, 0x300, 0x10
_ERROR, _DONE = 2, 3
_HEAD = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_SOL_NETLINK, _STRICT = 270, 12
_LIMIT = 2.0
_AGAIN = 5


class DumpInterrupted(Exception):
    """The list changed while it was read, again and again."""


def dump(protocol: int, kind: int, body: bytes, *, strict: bool = False) -> list[bytes]:
    """The payloads of the kernel's answer to a request for a list. Raises OSError, or Moved.

    With `strict` the attributes of the request choose what is listed; otherwise the kernel may pass over them.
    """
    with open_socket(protocol) as at:
        if strict:
            at.setsockopt(_SOL_NETLINK, _STRICT, 1)
        return dump_on(at, kind, body)


def dump_on(at: socket.socket, kind: int, body: bytes) -> list[bytes]:
    """The same on a socket that may be used again, unless OSError was raised."""
    for _ in range(_AGAIN):
        at.send(_message(kind, _REQUEST | _DUMP, 1, body))
        found: list[bytes] = []
        moved = False
        for number, flags, payload in _answers(at):
            moved = moved or bool(flags & _INTERRUPTED)
            if number == _DONE:
                break
            found.append(payload)
        if not moved:
            return found
    raise DumpInterrupted


def get(protocol: int, kind: int, body: bytes) -> bytes:
    """The payload of the kernel's one answer. Raises OSError."""
    with open_socket(protocol) as at:
        return request_on(at, kind, body)


def request_on(at: socket.socket, kind: int, body: bytes) -> bytes:
    """The same on a socket that may be used again, unless OSError was raised."""
    at.send(_message(kind, _REQUEST, 1, body))
    return next(_answers(at))[2]


def send(protocol: int, messages: list[tuple[int, int, bytes]]) -> None:
    """Send (kind, flags, body) in one piece, and raise OSError for the first that the kernel refuses.

    Those with the flag ACK are waited for.
    """
    with open_socket(protocol) as at:
        send_on(at, messages)


def send_on(at: socket.socket, messages: list[tuple[int, int, bytes]]) -> None:
    """The same on a socket that may be used again, unless OSError was raised: then there may be more of them."""
    parts = (_message(kind, _REQUEST | flags, number, body) for number, (kind, flags, body) in enumerate(messages))
    at.send(b"".join(parts))
    answers = _answers(at)
    for _ in range(sum(bool(flags & ACK) for _, flags, _ in messages)):
        next(answers)


def attribute(number: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(4 + len(value), number) + value + bytes(-len(value) % 4)


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes in `data` from `offset` on, by number."""
    found = {}
    while offset + 4 <= len(data):
        size, number = _ATTRIBUTE.unpack_from(data, offset)
        if size < 4:
            break
        found[number & 0x3FFF] = data[offset + 4 : offset + size]
        offset += size + 3 & ~3
    return found


def namespace() -> int:
    """The number of this thread's network namespace: every thread may be in another."""
    return os.stat("/proc/thread-self/ns/net").st_ino


def open_socket(protocol: int) -> socket.socket:
    """A netlink socket on which the kernel's answers are waited for 2 s at most."""
    at = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    at.settimeout(_LIMIT)
    return at


def _message(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return _HEAD.pack(_HEAD.size + len(body), kind, flags, number, 0) + body


def _answers(at: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """(kind, flags, payload) of every message that comes; an error message is raised, unless it says 0."""
    while True:
        data = at.recv(1 << 18)
        offset = 0
        while offset + _HEAD.size <= len(data):
            size, kind, flags, _, _ = _HEAD.unpack_from(data, offset)
            payload = data[offset + _HEAD.size : offset + size]
            if kind in {_ERROR, _DONE} and len(payload) >= 4 and (code := struct.unpack_from("=i", payload)[0]):
                raise OSError(-code, os.strerror(-code))
            yield kind, flags, payload
            offset += size + 3 & ~3
