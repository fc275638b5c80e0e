"""An agent in a guest that misbehaves on purpose: one way to go wrong per name in `GREETINGS` and in `ANSWERS`."""

import base64
import json
import random
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.qmp import Gone, Peer, Way, serve

MARK = b"\xff"


def hear(peer: Peer) -> dict[str, object]:
    """The next question; each is a line, and a sync begins with the marker."""
    text = b""
    while not text.endswith(b"\n"):
        byte = peer.sock.recv(1)
        if not byte:
            raise Gone
        text += byte
    return json.loads(text.lstrip(MARK))


def greeted(peer: Peer, before: bytes = b"") -> dict[str, object]:
    """An honest start, `before` put in front of it; the first question after it."""
    peer.send(before + synced(hear(peer)))
    return hear(peer)


def synced(question: dict[str, object]) -> bytes:
    return MARK + json.dumps({"return": question["arguments"]["id"]}).encode() + b"\n"


def says(*answers: object) -> Way:
    """An honest agent, which gives these answers one after the other, and then none."""

    def way(peer: Peer) -> None:
        greeted(peer)
        for answer in answers:
            peer.say(answer)
            hear(peer)
        peer.wait()

    return way


def stale(before: bytes) -> Way:
    """`before` is still on the line; then an honest agent, which answers a question with 5."""

    def way(peer: Peer) -> None:
        greeted(peer, before)
        peer.say({"return": 5})
        peer.wait()

    return way


def opening(data: bytes) -> Way:
    """`data` in place of what a sync is answered with, and silence."""

    def way(peer: Peer) -> None:
        hear(peer)
        peer.send(data)
        peer.wait()

    return way


def answer(data: bytes) -> Way:
    """An honest start; then `data` in answer to the first question, and silence."""

    def way(peer: Peer) -> None:
        greeted(peer)
        peer.send(data)
        peer.wait()

    return way


def then_close(data: bytes) -> Way:
    def way(peer: Peer) -> None:
        greeted(peer)
        peer.send(data)

    return way


def silent(peer: Peer) -> None:
    peer.wait()


def close_at_once(peer: Peer) -> None:
    del peer


def flood(block: bytes, start: Callable[[Peer], object]) -> Way:
    def way(peer: Peer) -> None:
        start(peer)
        while not peer.done.is_set():
            peer.send(block)

    return way


def one_byte_per_second(peer: Peer) -> None:
    for byte in synced(hear(peer)):
        peer.send(bytes([byte]))
        if peer.done.wait(1):
            return


def twice(peer: Peer) -> None:
    question = hear(peer)
    peer.send(synced(question) * 2)
    hear(peer)
    peer.wait()


NOISE = random.Random(7).randbytes(4096).replace(b"\n", b" ")

GREETINGS: dict[str, Way] = {
    "silent": silent,
    "close-at-once": close_at_once,
    "random-bytes": opening(NOISE + b"\n"),
    "no-marker": opening(b'{"return": 1}\n'),
    "half-an-answer": opening(MARK + b'{"retu'),
    "another-number": opening(MARK + b'{"return": 1}\n'),
    "true-for-a-number": opening(MARK + b'{"return": true}\n'),
    "only-markers": opening(MARK * 4096),
    "too-deep": opening(MARK + b"[" * 200_000 + b"\n"),
    "an-error": opening(MARK + b'{"error": {"class": "X", "desc": "no"}}\n'),
    "one-byte-per-second": one_byte_per_second,
    "line-without-end": flood(b"x" * (1 << 16), hear),
    "flood-of-markers": flood((MARK + b'{"return": 1}\n') * 4096, hear),
}
"""What a sync is answered with by what is no agent."""

ANSWERS: dict[str, Way] = {
    "no-answer": answer(b""),
    "hangs-up": then_close(b""),
    "half-an-answer": then_close(b'{"return": tr'),
    "random-bytes": answer(NOISE + b"\n"),
    "line-without-end": flood(b"x" * (1 << 16), greeted),
    "huge-answer": answer(b'{"return": "%s"}\n' % (b"z" * (8 << 20))),
    "too-deep": answer(b'{"return": %s%s}\n' % (b"[" * 200_000, b"]" * 200_000)),
    "long-integer": answer(b'{"return": %s}\n' % (b"9" * 5000)),
    "invalid-utf8": answer(b'{"return": "\xfe\xfd"}\n'),
    "nuls": answer(b"\0" * 4096 + b"\n"),
    "a-list": answer(b"[1, 2]\n"),
    "neither-return-nor-error": answer(b'{"event": "X"}\n'),
    "error-is-a-number": answer(b'{"error": 5}\n'),
    "error-without-words": answer(b'{"error": {}}\n'),
    "error-with-escapes": answer(b'{"error": {"class": "X", "desc": "\\u001b]0;owned\\u0007 no"}}\n'),
}
"""What a question is answered with, after an honest sync."""

STALE: dict[str, bytes] = {
    "nothing": b"",
    "noise": NOISE,
    "an-older-answer": b'{"return": {"pid": 1}}\n',
    "half-of-one": b'{"return": {"pid": ',
    "an-older-sync": MARK + b'{"return": 77}\n',
    "a-marker-and-half-a-sync": MARK + b'{"return": 7',
    "an-error-after-a-marker": MARK + b'{"error": {"class": "GenericError", "desc": "JSON parse error"}}\n',
    "a-megabyte-less-a-bit": b"x" * ((1 << 20) - 4096),
}
"""What may be on the line before the answer to a sync, and does no harm."""


@contextmanager
def agent(directory: Path, way: Way):
    """The socket of an agent that goes that way, in a guest's run directory; its path."""
    (directory / "life").touch()
    path = str(directory / "a")
    with serve(path, way):
        yield path


def late(seconds: float) -> Way:
    """An agent that is honest and slow: it answers every question, each after so long."""

    def way(peer: Peer) -> None:
        while True:
            question = hear(peer)
            if peer.done.wait(seconds):
                return
            if question["execute"] == "guest-sync-delimited":
                peer.send(synced(question))
            else:
                peer.say({"return": SLOW.get(str(question["execute"]), 1)})

    return way


SLOW = {
    "guest-exec": {"pid": 7},
    "guest-exec-status": {"exited": False},
    "guest-file-seek": {"position": 1 << 30, "eof": False},
    "guest-file-read": {"count": 3, "buf-b64": "YWJj", "eof": False},
    "guest-file-write": {"count": 1, "eof": False},
    "guest-network-get-interfaces": [],
    "guest-fsfreeze-status": "thawed",
}
"""Answers that promise more: a file without an end, a command that goes on."""


class Runner:
    """An agent that runs commands: each ends after it was asked for so many times, with its own words as output."""

    def __init__(self, polls: int = 3) -> None:
        self.ran: list[list[str]] = []
        self.errors: dict[str, str] = {}
        self._polls = polls
        self._asked: dict[int, int] = {}

    def __call__(self, peer: Peer) -> None:
        while True:
            question = hear(peer)
            words: Any = question.get("arguments")
            match question["execute"]:
                case "guest-sync-delimited":
                    peer.send(synced(question))
                case "guest-exec" if words["path"] in self.errors:
                    peer.say({"error": {"class": "GenericError", "desc": self.errors[words["path"]]}})
                case "guest-exec":
                    self.ran.append([words["path"], *words["arg"]])
                    peer.say({"return": {"pid": len(self.ran)}})
                case "guest-exec-status":
                    peer.say({"return": self._status(words["pid"])})
                case _:
                    peer.say({"return": {}})

    def _status(self, pid: int) -> dict[str, object]:
        self._asked[pid] = self._asked.get(pid, 0) + 1
        if self._asked[pid] < self._polls:
            return {"exited": False}
        text = base64.b64encode(" ".join(self.ran[pid - 1]).encode()).decode()
        return {"exited": True, "exitcode": 0, "out-data": text}
