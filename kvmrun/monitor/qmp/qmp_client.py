"""One QMP conversation: a limit on every wait, a budget for events, and no errors but kvmrun's own."""

import asyncio
import json
import logging
import math
import socket
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from qemu.qmp import ExecuteError, Message, QMPClient, Runstate
from qemu.qmp.protocol import ConnectError

from kvmrun.errors import KvmrunError, NotPermitted, NotRunning, Refused, Unresponsive, UsageError
from kvmrun.model.printable import printable
from kvmrun.monitor.guest_socket import GuestSocket, dial

EVENTS = 10_000
EVENT_BYTES = 8 << 20
MESSAGE_BYTES = 1 << 20
"""The longest message; QEMU describes itself whole in a third of it. As objects of Python it may take 24 times that."""
_GOODBYE = 2.0
# The library writes every message, pretty-printed, to its log, and what the peer sends is not fit for ours.
_MUTE = logging.Logger("kvmrun.qmp", logging.CRITICAL + 1)


class MonitorError(KvmrunError):
    """QEMU understood the command and said no; `error_class` is QMP's name for the kind of error."""

    def __init__(self, message: str, fix: str = "", *, error_class: str = "GenericError") -> None:
        super().__init__(message, fix)
        self.error_class = error_class


class Garbled(KvmrunError):
    """What answers does not speak QMP as QEMU does, or says more than we are ready to keep."""


class Monitor:
    """An open conversation; made by `connect`."""

    def __init__(self, line: "_Line", limit: float) -> None:
        self._line = line
        self._limit = limit

    @property
    def version(self) -> str:
        """QEMU's version as "7.2.22", or "" when the greeting does not say."""
        greeting = self._line.greeting
        numbers = greeting.QMP.version.get("qemu") if greeting and isinstance(greeting.QMP.version, Mapping) else None
        if not isinstance(numbers, Mapping):
            return ""
        return ".".join(printable(numbers.get(part), 8) for part in ("major", "minor", "micro"))

    async def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        limit: float | None = None,
        oob: bool = False,
    ) -> object:
        """What QEMU returns for `command`, within `limit` seconds (default: that of the connection).

        Raises MonitorError (QEMU said no), Unresponsive, NotRunning (it ended), Garbled, UsageError (cannot be sent).
        A command that was not answered in time may still be carried out.
        """
        _sendable(command, arguments)
        patience = self._limit if limit is None else limit
        try:
            async with asyncio.timeout(patience):
                return await self._line.execute(command, arguments, oob=oob)
        except TimeoutError:
            raise Unresponsive(
                f"{self._line.guest} has not answered '{printable(command, 80)}' within {patience:g} s",
                "wait longer with --timeout SECONDS; QEMU may still carry the command out",
            ) from None
        except ExecuteError as no:
            raise _said_no(no) from None
        except Exception as fault:  # the library lets RecursionError, ValueError and its own tree through
            raise self._line.reason(fault) from fault

    async def event(self) -> dict[str, object]:
        """The next event as QEMU sent it, if the connection keeps `events`; after the last, what ended it is raised."""
        return await self._line.next_event()

    async def verify(self, uuid: str) -> None:
        """Raises Refused unless the guest that answers has this UUID."""
        answer = await self.execute("query-uuid")
        found = str(answer.get("UUID", "")) if isinstance(answer, Mapping) else ""
        if found.lower() != uuid.lower():
            raise Refused(
                f"the monitor of {self._line.guest} belongs to another guest",
                "kvmrun doctor",
                reason=f"its UUID is {printable(found, 64) or 'unknown'}, not {uuid}",
            )


@asynccontextmanager
async def connect(
    target: GuestSocket, *, limit: float = 5.0, uuid: str = "", events: bool = False
) -> AsyncIterator[Monitor]:
    """A conversation on a monitor, greeted within `limit` seconds and checked against `uuid` if given.

    `events` keeps them for Monitor.event; otherwise they are dropped as they come.
    Raises NotRunning, NotPermitted, Unresponsive, Refused (another guest answers), WrongPeer, Garbled.
    """
    peer = _dial(target)
    line = _Line(target.guest, events=events)
    try:
        await _greet(line, peer, limit)
        monitor = Monitor(line, limit)
        if uuid:
            await monitor.verify(uuid)
        yield monitor
    finally:
        await _hang_up(line, peer)


class _Line(QMPClient):
    """The library's client with its memory bounded and its errors translated where they arise."""

    _limit = MESSAGE_BYTES  # until qemu.qmp 0.0.5

    def __init__(self, guest: str, *, events: bool) -> None:
        super().__init__()
        self.readbuflen = MESSAGE_BYTES
        self.logger = _MUTE
        self.guest = guest
        self._keeps = events
        self._ended: KvmrunError | None = None
        self._heard: deque[tuple[dict[str, object], int]] = deque()
        self._heard_bytes = 0
        self._stirred = asyncio.Event()

    async def next_event(self) -> dict[str, object]:
        while not self._heard:
            if self._ended:
                raise self._ended
            self._stirred.clear()
            await self._stirred.wait()
        event, size = self._heard.popleft()
        self._heard_bytes -= size
        return event

    def reason(self, fault: BaseException) -> KvmrunError:
        """Why the conversation ended; the first cause wins over what it led to."""
        return self._ended or self._explain(fault)

    async def _do_recv(self) -> Message:
        try:
            return self._understand(await self._readline())
        except BaseException as fault:
            self._end(fault)
            raise

    async def _on_message(self, msg: Message) -> None:
        # An answer waiting in the buffer is read without a pause: give those who wait for time or events their turn.
        await asyncio.sleep(0)
        if "event" in msg:
            return
        if "error" in msg and "id" not in msg:
            refusal = Garbled("QEMU could not read what was sent", reason=printable(_description(msg["error"]), 400))
            self._end(refusal)
            raise refusal
        if isinstance(ident := msg.get("id"), str) and ident in self._pending:
            await super()._on_message(msg)

    def _cb_inbound(self, msg: Message) -> Message:
        return msg

    def _cb_outbound(self, msg: Message) -> Message:
        return msg

    def _understand(self, line: bytes) -> Message:
        if not line.endswith(b"\n"):
            raise EOFError
        try:
            said = json.loads(line.decode(), parse_constant=_finite, parse_float=_finite)
        except (ValueError, RecursionError) as fault:
            raise self._garbled(printable(fault, 200)) from None
        if not isinstance(said, dict):
            raise self._garbled("a message is not a JSON object")
        if self._keeps and "event" in said:
            self._keep(said, len(line))
        return Message(said, eager=False)

    def _keep(self, event: dict[str, object], size: int) -> None:
        self._heard.append((event, size))
        self._heard_bytes += size
        self._stirred.set()
        if len(self._heard) > EVENTS or self._heard_bytes > EVENT_BYTES:
            raise Garbled(
                f"{self.guest} sends events faster than they can be read; the connection was dropped",
                "the guest itself was left alone; try again",
            )

    def _end(self, fault: BaseException) -> None:
        self._ended = self._ended or self._explain(fault)
        self._stirred.set()

    def _explain(self, fault: BaseException) -> KvmrunError:
        if isinstance(fault, ConnectError):
            fault = fault.exc
        if isinstance(fault, KvmrunError):
            return fault
        if isinstance(fault, EOFError | OSError | asyncio.CancelledError):
            return NotRunning(f"{self.guest} has ended, or closed its monitor", "kvmrun --list shows its state")
        if type(fault) is ValueError:  # what StreamReader.readline raises past its limit
            return self._garbled(f"a message is longer than {MESSAGE_BYTES >> 20} MiB")
        return self._garbled(type(fault).__name__)

    def _garbled(self, reason: str) -> Garbled:
        what = f"what answers on the monitor of {self.guest} does not speak QMP"
        return Garbled(what, "kvmrun doctor", reason=reason)


def _dial(target: GuestSocket) -> socket.socket:
    try:
        return dial(target)
    except OSError as fault:
        raise _not_reached(fault, target.path, target.guest) from None


def _not_reached(fault: OSError, path: str, name: str) -> KvmrunError:
    match fault:
        case FileNotFoundError() | ConnectionRefusedError():
            return NotRunning(f"{name} is not running", f"kvmrun {name}", reason=f"nobody answers at {path}")
        case PermissionError():
            return NotPermitted(f"you may not talk to {name}", "ask as the user who started it", reason=str(fault))
        case BlockingIOError():
            return _silent(name, "too many clients are waiting for this monitor already")
        case _:
            return KvmrunError(f"the monitor of {name} cannot be reached", reason=f"{path}: {fault}")


def _silent(name: str, reason: str) -> Unresponsive:
    fix = f"leave any other `kvmrun monitor {name}`; if there is none, QEMU itself is stopped: kvmrun --list"
    return Unresponsive(f"the monitor of {name} does not answer", fix, reason=reason)


async def _greet(line: _Line, peer: socket.socket, limit: float) -> None:
    try:
        async with asyncio.timeout(limit):
            await line.connect(peer)
    except TimeoutError:
        reason = f"no greeting within {limit:g} s: the monitor serves one client at a time, and another may be first"
        raise _silent(line.guest, reason) from None
    except Exception as fault:
        raise line.reason(fault) from fault


async def _hang_up(line: _Line, peer: socket.socket) -> None:
    """Never raises and never waits long: whatever is still wrong with the peer no longer matters."""
    with suppress(OSError):
        peer.shutdown(socket.SHUT_RDWR)
    if line.runstate != Runstate.IDLE:
        with suppress(Exception):
            async with asyncio.timeout(_GOODBYE):
                await line.disconnect()
    peer.close()


def _said_no(no: ExecuteError) -> MonitorError:
    """Without the name of an unknown class in front: most errors are GenericError, which tells nobody anything."""
    kind = printable(no.error.error.class_, 80)
    return MonitorError(printable(no.error.error.desc) or kind, error_class=kind)


def _description(error: object) -> object:
    return error.get("desc", error) if isinstance(error, Mapping) else error


def _finite(text: str) -> float:
    """NaN and infinities are no JSON, and could not be written again as JSON."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a JSON number")
    return number


def _sendable(command: str, arguments: Mapping[str, object] | None) -> None:
    """QEMU answers unreadable JSON without saying to whom, which ends the connection: refuse it here."""
    try:
        json.dumps([command, arguments], ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as fault:
        raise UsageError("these arguments cannot be written as JSON", reason=printable(fault, 200)) from None
