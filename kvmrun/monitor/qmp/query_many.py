"""Short questions to many guests at once: plain sockets, one deadline, a byte budget for each.

Used where a conversation would cost more than the answer: the list, the handshake of a start, the words of a stop.
Capabilities and questions are sent before the greeting is read; QEMU answers them in order.
"""

import fcntl
import json
import os
import select
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal

from kvmrun.model.value import EMPTY, Value

_BUDGET = 256 << 10
_LOCK_PAUSE_MS = 5

_UID = slice(4, 8)
"""Of the pid, uid and gid that SO_PEERCRED tells, four bytes each."""
Silence = Literal["", "busy", "silent", "gone", "garbled", "stranger"]


class Reply(Value):
    """What a guest said. `silence` is "" when every command was answered; `errors` are QEMU's own words.

    `peer` is the uid of whoever listens there, -1 when nobody was reached.
    """

    replies: Mapping[str, Any] = EMPTY
    errors: Mapping[str, str] = EMPTY
    version: tuple[int, int] = (0, 0)
    silence: Silence = ""
    peer: int = -1


def query(paths: Mapping[str, str], commands: tuple[str, ...], *, limit: float) -> dict[str, Reply]:
    """Ask the monitor at each of `paths` all `commands`; answers by the same keys, within `limit` seconds."""
    deadline = time.monotonic() + limit
    questions = {key: _PendingQuery(path, commands) for key, path in paths.items()}
    poll = select.poll()
    asked: dict[int, _PendingQuery] = {}
    unsent = list(questions.values())
    try:
        while (unsent or asked) and (left := deadline - time.monotonic()) > 0:
            unsent = [one for one in unsent if not _sent(one, poll, asked)]
            for fd, _ in poll.poll(_LOCK_PAUSE_MS if unsent else left * 1000 if asked else 0):
                asked[fd].read()
                if asked[fd].silence is not None:
                    poll.unregister(fd)
                    asked.pop(fd).close()
    finally:
        for question in questions.values():
            question.close()
    return {key: question.answer() for key, question in questions.items()}


def _sent(question: "_PendingQuery", poll: select.poll, asked: dict[int, "_PendingQuery"]) -> bool:
    """Try to send; a question on its way is added to `asked`. False when another of us is asking the same guest."""
    if not question.send():
        return False
    if question.silence is None:
        poll.register(question.fileno(), select.POLLIN)
        asked[question.fileno()] = question
    return True


class _PendingQuery:
    """One guest being asked; `silence` is None until it is known how that ended."""

    def __init__(self, path: str, commands: tuple[str, ...]) -> None:
        self._path = path
        self._commands = commands
        self._at = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._lock = -1
        self._alone = False
        self._buffer = b""
        self._budget = _BUDGET
        self._results: list[Mapping[str, Any]] = []
        self._version = (0, 0)
        self._peer = -1
        self.silence: Silence | None = None

    def fileno(self) -> int:
        return self._at.fileno()

    def send(self) -> bool:
        """Connect and send everything; False when it should be tried again.

        That is while another of our probes holds this guest's monitor, and where those that came before it still wait
        to be let in: a QEMU that hangs never does, and is silent.
        """
        try:
            if self._lock < 0:
                self._lock = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._alone = True
            self._at.connect(self._path)
            told = self._at.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            self._peer = int.from_bytes(told[_UID], sys.byteorder)
            words = ("qmp_capabilities", *self._commands)
            self._at.send("".join(f'{{"execute": "{word}"}}\n' for word in words).encode())
        except BlockingIOError:
            return False
        except OSError:
            self.silence = "gone"
        return True

    def read(self) -> None:
        """Take what has come; sets `silence` once all is answered, or nothing more can come."""
        try:
            data = self._at.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._budget -= len(data)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        try:
            for line in lines:
                self._take(json.loads(line))
        except (ValueError, RecursionError, TypeError, AttributeError, KeyError, OverflowError):
            self.silence = "garbled"
        if self.silence is None and len(self._results) > len(self._commands):
            self.silence = ""
        elif self.silence is None and not data:
            self.silence = "gone"
        elif self.silence is None and self._budget < 0:
            self.silence = "garbled"

    def _take(self, message: dict[str, Any]) -> None:
        if "QMP" in message:
            version = message["QMP"]["version"]["qemu"]
            self._version = int(version["major"]), int(version["minor"])
        elif "return" in message or "error" in message:
            if not isinstance(message.get("error", {}), dict):
                raise ValueError("an error that is none")
            self._results.append(message)
        elif "event" not in message:
            raise ValueError("neither an answer nor an event")

    def close(self) -> None:
        self._at.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def answer(self) -> Reply:
        """What was said, as far as it came."""
        told = dict(zip(self._commands, self._results[1:], strict=False))
        return Reply(
            replies={word: result["return"] for word, result in told.items() if "return" in result},
            errors={word: str(result["error"].get("desc")) for word, result in told.items() if "error" in result},
            version=self._version,
            peer=self._peer,
            silence=("silent" if self._alone else "busy") if self.silence is None else self.silence,
        )
