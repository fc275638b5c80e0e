"""Short questions to many guests at once: plain sockets, one deadline, a byte budget for each.

Used where a conversation would cost more than the answer: the list, the handshake of a start, the words of a stop.
Capabilities and questions are sent before the greeting is read; QEMU answers them in order.
"""

import os
import select
import time
from collections.abc import Mapping
from typing import Any, Literal

from kvmrun.model.value import EMPTY, Value
from kvmrun.monitor.guest_socket import GuestSocket, WrongPeer, dial
from kvmrun.monitor.monitor_lock import try_lock
from kvmrun.monitor.qmp.qmp_socket import QmpSocket

_LOCK_PAUSE_MS = 5
Silence = Literal["", "busy", "silent", "gone", "garbled", "stranger"]


class Reply(Value):
    """What a guest said. `silence` is "" when every command was answered; `errors` are QEMU's own words.

    `silence` is "stranger" where another account than the guest's QEMU listens: nothing was sent to it.
    """

    replies: Mapping[str, Any] = EMPTY
    errors: Mapping[str, str] = EMPTY
    version: tuple[int, int] = (0, 0)
    silence: Silence = ""

    def field(self, command: str, name: str) -> object:
        """One field of the object that a command returned, None where there is none."""
        returned = self.replies.get(command)
        return returned.get(name) if isinstance(returned, dict) else None


def query(monitor: GuestSocket, *commands: str, limit: float) -> Reply:
    """Ask one monitor all `commands`; its answer within `limit` seconds."""
    return query_many({"": monitor}, commands, limit=limit)[""]


def query_many(monitors: Mapping[str, GuestSocket], commands: tuple[str, ...], *, limit: float) -> dict[str, Reply]:
    """Ask each of `monitors` all `commands`; answers by the same keys, within `limit` seconds."""
    deadline = time.monotonic() + limit
    questions = {key: _PendingQuery(monitor, commands) for key, monitor in monitors.items()}
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

    def __init__(self, monitor: GuestSocket, commands: tuple[str, ...]) -> None:
        self._monitor = monitor
        self._commands = commands
        self._qmp: QmpSocket | None = None
        self._lock = -1
        self._alone = False
        self._results: list[Mapping[str, Any]] = []
        self._version = (0, 0)
        self.silence: Silence | None = None

    def fileno(self) -> int:
        return self._qmp.fileno() if self._qmp else -1

    def send(self) -> bool:
        """Connect and send everything; False when it should be tried again.

        That is while another of our probes holds this guest's monitor, and where those that came before it still wait
        to be let in: a QEMU that hangs never does, and is silent.
        """
        try:
            if self._lock < 0:
                self._lock = os.open(os.path.dirname(self._monitor.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if not try_lock(self._lock):
                return False
            self._alone = True
            self._qmp = QmpSocket(dial(self._monitor))
            words = ("qmp_capabilities", *self._commands)
            self._qmp.send("".join(f'{{"execute": "{word}"}}\n' for word in words).encode())
        except BlockingIOError:
            return False
        except WrongPeer:
            self.silence = "stranger"
        except OSError:
            self.silence = "gone"
        return True

    def read(self) -> None:
        """Take what has come; sets `silence` once all is answered, or nothing more can come."""
        assert self._qmp is not None
        try:
            for message in self._qmp.receive():
                self._take(message)
        except BlockingIOError:
            return
        except (OSError, EOFError):
            self.silence = "gone"
        except (ValueError, RecursionError, TypeError, AttributeError, KeyError, OverflowError):
            self.silence = "garbled"
        if len(self._results) > len(self._commands) and self.silence != "garbled":
            self.silence = ""

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
        if self._qmp:
            self._qmp.close()
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
            silence=("silent" if self._alone else "busy") if self.silence is None else self.silence,
        )
