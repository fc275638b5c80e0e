"""A conversation with the agent inside a guest: every wait and every answer has a limit, nothing is taken on trust.

What is on the line may be old: an answer somebody else did not wait for, half of one, or worse. So a conversation
begins with guest-sync-delimited, and all that comes before the marker that answers it is dropped. The line serves one
at a time; we take turns by a lock on the file that says the guest lives, of a kind of its own.
"""

import json
import os
import select
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from kvmrun.errors import Busy, KvmrunError, NotPermitted, NotRunning, Unresponsive
from kvmrun.model.deadline import NEVER, Deadline
from kvmrun.model.printable import printable
from kvmrun.monitor.guest_socket import GuestSocket, dial
from kvmrun.monitor.monitor_lock import wait_for_turn

LIMIT = 3.0
"""How long an answer may take, in seconds."""
TURN = 3.0
"""How long to wait, in seconds, until another command is done with the agent, or lets it go for a moment."""
BUDGET = 1 << 20
"""How long an answer may be, in bytes, with all that comes before it."""
_MARK = b"\xff"


class AgentError(KvmrunError):
    """The agent understood the command and said no."""


class GuestFrozenError(AgentError):
    """The guest is frozen, and its agent does nothing but thaw it."""


class Garbled(KvmrunError):
    """What answers is no agent, or says more than we are ready to read."""


class Agent:
    """An open conversation; made by `connect`. On one that is `broken` the answer to an older question may yet come."""

    def __init__(self, at: socket.socket, name: str, deadline: Deadline = NEVER) -> None:
        self._at = at
        self.name = name
        self._deadline = deadline
        self.broken = False
        self._heard = b""
        self._budget = 0
        self._until = 0.0
        self._limit = 0.0

    def ask(
        self, command: str, arguments: Mapping[str, object] | None = None, *, limit: float = LIMIT, budget: int = BUDGET
    ) -> Any:
        """What the agent returns, as JSON has it. Raises AgentError, Unresponsive, Garbled or NotRunning."""
        self._begin(limit, budget)
        words = {"execute": command} | ({"arguments": dict(arguments)} if arguments else {})
        self.broken = True
        try:
            self._send(json.dumps(words).encode() + b"\n")
            said = self._parsed(self._line())
        except OSError as error:
            raise self._ended(error) from None
        self.broken = False
        return self._returned(said)

    def greet(self, number: int, *, limit: float) -> None:
        """Make sure that an agent is there, and that the next answer is to the next question."""
        self._begin(limit, BUDGET)
        words = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
        try:
            self._send(_MARK + json.dumps(words).encode() + b"\n")
            while True:
                self._skip()
                line = self._line().rpartition(_MARK)[2]
                try:
                    if self._returned(self._parsed(line)) == number:
                        return
                except (AgentError, Garbled):
                    continue  # an older answer, which happens to come after a marker
        except OSError as error:
            raise self._ended(error) from None

    def _begin(self, limit: float, budget: int) -> None:
        limit = self._deadline.left(limit)
        self._until, self._limit, self._budget = time.monotonic() + limit, limit, budget

    def _send(self, data: bytes) -> None:
        while data:
            self._wait(select.POLLOUT)
            data = data[self._at.send(data) :]

    def _skip(self) -> None:
        """Drop everything up to the next marker."""
        while _MARK not in self._heard:
            self._heard = b""
            self._read()
        self._heard = self._heard.partition(_MARK)[2]

    def _line(self) -> bytes:
        pieces = [self._heard]
        while b"\n" not in pieces[-1]:
            self._heard = b""
            self._read()
            pieces.append(self._heard)
        line, _, self._heard = b"".join(pieces).partition(b"\n")
        return line

    def _read(self) -> None:
        """Add what comes to what was heard."""
        self._wait(select.POLLIN)
        data = self._at.recv(min(65536, self._budget + 1))
        if not data:
            raise NotRunning(f"{self.name} has ended", f"kvmrun log {self.name} prints its last output")
        self._budget -= len(data)
        if self._budget < 0:
            raise self._garbled("its answer is longer than was to be expected")
        self._heard += data

    def _wait(self, events: int) -> None:
        poll = select.poll()
        poll.register(self._at, events)
        left = self._until - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise _silent(self.name, f"nothing came within {self._limit:g} s")

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            said = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            raise self._garbled(printable(error, 200)) from None
        if not isinstance(said, dict):
            raise self._garbled("its answer is not a JSON object")
        return said

    def _returned(self, said: dict[str, Any]) -> Any:
        if isinstance(error := said.get("error"), dict):
            reason = printable(error.get("desc"), 400)
            if "frozen" in reason:
                raise GuestFrozenError(f"{self.name} is frozen", f"kvmrun thaw {self.name}", reason=reason)
            raise AgentError(f"the agent of {self.name} says no", reason=reason)
        if "return" not in said:
            raise self._garbled("its answer is none")
        return said["return"]

    def _garbled(self, reason: str) -> Garbled:
        return garbled(self.name, reason)

    def _ended(self, error: OSError) -> NotRunning:
        return NotRunning(f"{self.name} has ended", "kvmrun --list shows its state", reason=f"{error}")


def garbled(name: str, reason: str) -> Garbled:
    """The agent of `name` said what makes no sense."""
    fix = f"is qemu-guest-agent in {name} what it should be?"
    return Garbled(f"what answers as the agent of {name} makes no sense", fix, reason=reason)


@contextmanager
def connect(
    target: GuestSocket, *, limit: float = LIMIT, turn: float = TURN, deadline: Deadline = NEVER
) -> Iterator[Agent]:
    """A conversation with the agent: its turn taken within `turn` seconds, then heard within `limit`.

    Nothing in it goes on after the deadline. Raises NotRunning, NotPermitted, Unresponsive, Garbled, WrongPeer; Busy
    where another of our commands talks to the agent all the time, and nothing was asked.
    """
    with _turn(target, deadline.left(turn)), closing(_dial(target)) as at:
        one = Agent(at, target.guest, deadline)
        one.greet(int.from_bytes(os.urandom(4)), limit=limit)
        yield one


@contextmanager
def _turn(target: GuestSocket, limit: float) -> Iterator[None]:
    try:
        held = os.open(f"{os.path.dirname(target.path)}/life", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise _not_reached(error, target.guest) from None
    try:
        if not wait_for_turn(held, limit):
            raise Busy(f"the agent of {target.guest} is busy", "try again", reason="another command talks to it")
        yield
    finally:
        os.close(held)


def _dial(target: GuestSocket) -> socket.socket:
    try:
        return dial(target)
    except OSError as error:
        raise _not_reached(error, target.guest) from None


def _not_reached(error: OSError, name: str) -> KvmrunError:
    if isinstance(error, PermissionError):
        return NotPermitted(f"you may not talk to {name}", "ask as the user who started it", reason=f"{error}")
    if isinstance(error, BlockingIOError):
        return _silent(name, "too many others are waiting for it already")
    return NotRunning(f"{name} is not running", f"kvmrun {name} starts it", reason=f"{error}")


def _silent(name: str, reason: str) -> Unresponsive:
    fix = f"is qemu-guest-agent running in {name}? kvmrun wait {name} --for agent"
    return Unresponsive(f"the agent of {name} does not answer", fix, reason=reason)
