"""A QMP server that misbehaves on purpose: one way to go wrong per name in `WAYS`."""

import json
import os
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}, "capabilities": ["oob"]}}
UUID = "00000000-1111-2222-3333-444444444444"


class Gone(Exception):
    """The client has hung up."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """The server's end of one connection."""

    sock: socket.socket
    done: threading.Event

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            raise Gone from None

    def say(self, message: object) -> None:
        self.send(json.dumps(message).encode() + b"\n")

    def hear(self) -> dict[str, object]:
        """The next message; clients do not end them with a newline, and QEMU does not need one."""
        text = b""
        while True:
            try:
                byte = self.sock.recv(1)
            except OSError:
                byte = b""
            if not byte:
                raise Gone
            text += byte
            if byte == b"}":
                with suppress(ValueError):
                    return json.loads(text)

    def greet(self) -> dict[str, object]:
        """An honest start; the first command after it."""
        self.say(GREETING)
        command = self.hear()
        self.say({"return": {}} | {key: command[key] for key in ("id",) if key in command})
        return self.hear()

    def wait(self) -> None:
        self.done.wait()


Way = Callable[[Peer], None]


def reply(make: Callable[[str], bytes]) -> Way:
    """An honest start; then `make(id)` in answer to the first command, and silence."""

    def way(peer: Peer) -> None:
        peer.send(make(json.dumps(peer.greet().get("id"))))
        peer.wait()

    return way


def opening(data: bytes) -> Way:
    """`data` in place of a greeting, and silence."""

    def way(peer: Peer) -> None:
        peer.send(data)
        peer.wait()

    return way


def silent(peer: Peer) -> None:
    peer.wait()


def close_at_once(peer: Peer) -> None:
    del peer


def greet_then_silence(peer: Peer) -> None:
    peer.say(GREETING)
    peer.wait()


def half_a_reply(peer: Peer) -> None:
    peer.greet()
    peer.send(b'{"return": {"running": tr')


def half_a_greeting(peer: Peer) -> None:
    peer.send(b'{"QMP": {"vers')


def line_without_end(peer: Peer) -> None:
    peer.greet()
    for _ in range(256):
        peer.send(b"x" * (1 << 20))


def one_byte_per_second(peer: Peer) -> None:
    for byte in json.dumps(GREETING).encode() + b"\n":
        peer.send(bytes([byte]))
        if peer.done.wait(1):
            return


def event_flood(peer: Peer) -> None:
    peer.greet()
    block = b'{"event": "FLOOD", "data": {"x": "%s"}, "timestamp": {"seconds": 1, "microseconds": 2}}\n' % (b"y" * 100)
    while not peer.done.is_set():
        peer.send(block * 1000)


def reply_flood(peer: Peer) -> None:
    peer.greet()
    while not peer.done.is_set():
        peer.send(b'{"return": {}, "id": "nobody"}\n' * 1000)


def stranger(peer: Peer) -> None:
    command = peer.greet()
    while True:
        peer.say({"return": {"UUID": UUID}} | {key: command[key] for key in ("id",) if key in command})
        command = peer.hear()


def _nested(ident: str) -> bytes:
    return b'{"return": %s%s, "id": %s}\n' % (b"[" * 200_000, b"]" * 200_000, ident.encode())


WAYS: dict[str, Way] = {
    "silent": silent,
    "close-at-once": close_at_once,
    "half-a-greeting": half_a_greeting,
    "random-bytes": opening(random.Random(7).randbytes(4096) + b"\n"),
    "greeting-is-not-one": opening(b'{"QMP": 5}\n'),
    "greeting-is-a-list": opening(b"[1, 2]\n"),
    "greeting-too-deep": opening(b"[" * 200_000 + b"\n"),
    "greeting-then-silence": greet_then_silence,
    "one-byte-per-second": one_byte_per_second,
    "accepts-then-silent": reply(lambda ident: b""),
    "half-a-reply": half_a_reply,
    "line-without-end": line_without_end,
    "huge-reply": reply(lambda ident: b'{"return": "%s", "id": %s}\n' % (b"z" * (32 << 20), ident.encode())),
    "too-deep": reply(_nested),
    "long-integer": reply(lambda ident: b'{"return": %s, "id": %s}\n' % (b"9" * 5000, ident.encode())),
    "infinity": reply(lambda ident: b'{"return": 1e999, "id": %s}\n' % ident.encode()),
    "invalid-utf8": reply(lambda ident: b'{"return": "\xff\xfe", "id": %s}\n' % ident.encode()),
    "nuls": reply(lambda ident: b"\0" * 4096 + b"\n"),
    "wrong-id": reply(lambda ident: b'{"return": {}, "id": "somebody-else"}\n'),
    "id-is-a-list": reply(lambda ident: b'{"return": {}, "id": [[]]}\n'),
    "unsolicited-reply": reply(lambda ident: b'{"return": {}}\n'),
    "unsolicited-error": reply(lambda ident: b'{"error": {"class": "GenericError", "desc": "JSON \x1b[31m parse"}}\n'),
    "error-without-class": reply(lambda ident: b'{"error": {"desc": "no"}, "id": %s}\n' % ident.encode()),
    "error-is-a-number": reply(lambda ident: b'{"error": 5, "id": %s}\n' % ident.encode()),
    "neither-return-nor-error": reply(lambda ident: b'{"id": %s}\n' % ident.encode()),
    "event-flood": event_flood,
    "reply-flood": reply_flood,
}


def duplicate(peer: Peer) -> None:
    command = peer.greet()
    while True:
        for _ in range(3):
            peer.say({"return": {"status": "running"}} | {key: command[key] for key in ("id",) if key in command})
        command = peer.hear()


MORE: dict[str, Way] = {
    "duplicate-id": duplicate,
    "stranger": stranger,
    "larger-reply": reply(lambda ident: b'{"return": "%s", "id": %s}\n' % (b"z" * (128 << 20), ident.encode())),
    "small-things": reply(lambda ident: b'{"return": [%s{}], "id": %s}\n' % (b"{}," * 330_000, ident.encode())),
    "stops-itself": lambda peer: (peer.say(GREETING), os.kill(os.getpid(), signal.SIGSTOP)),
    "ends-itself": lambda peer: os._exit(1),
}
"""Those of a server that is a process of its own; support/pretender.py."""


@contextmanager
def serve(path: str, way: Way) -> Iterator[None]:
    """A server on the Unix socket `path` that treats every client in the given way, until the block is left."""
    done = threading.Event()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(4)
    peers: list[socket.socket] = []
    threads: list[threading.Thread] = []
    accepting = threading.Thread(target=_accept, args=(listener, way, done, peers, threads), daemon=True)
    accepting.start()
    try:
        yield
    finally:
        done.set()
        for sock in (listener, *peers):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        accepting.join()
        for thread in threads:
            thread.join()
        listener.close()


def _accept(
    listener: socket.socket,
    way: Way,
    done: threading.Event,
    peers: list[socket.socket],
    threads: list[threading.Thread],
) -> None:
    while not done.is_set():
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        peers.append(sock)
        thread = threading.Thread(target=_treat, args=(Peer(sock=sock, done=done), way), daemon=True)
        threads.append(thread)
        thread.start()


def _treat(peer: Peer, way: Way) -> None:
    with peer.sock, suppress(Gone):
        way(peer)
