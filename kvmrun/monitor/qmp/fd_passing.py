"""QMP commands that carry descriptors: what QEMU may not open itself is opened for it and handed over.

One connection, one deadline; the same lock as the short queries, so that neither finds the monitor taken.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any

from kvmrun.errors import KvmrunError, NotRunning, Unresponsive
from kvmrun.model.printable import printable
from kvmrun.monitor.guest_socket import GuestSocket, dial
from kvmrun.monitor.monitor_lock import wait_for_turn
from kvmrun.monitor.qmp.qmp_socket import QmpSocket


class QmpError(KvmrunError):
    """QEMU understood the command and said no."""


class QmpConnection:
    """An open connection; made by `open_connection`."""

    def __init__(self, qmp: QmpSocket, deadline: float) -> None:
        self._qmp = qmp
        self._deadline = deadline
        self._messages: list[dict[str, Any]] = []

    def execute(self, command: str, arguments: Mapping[str, object] | None = None, *, fd: int | None = None) -> Any:
        """What QEMU returns; `fd` goes along. Raises QmpError, Unresponsive or NotRunning."""
        words = json.dumps({"execute": command, "arguments": dict(arguments or {})}).encode() + b"\n"
        try:
            self._qmp.send(words, fd=fd, limit=self._left())
            while True:
                said = self._message()
                if "error" in said:
                    raise QmpError(printable(said["error"].get("desc"), 400))
                if "return" in said:
                    return said["return"]
        except TimeoutError:
            raise Unresponsive(f"QEMU has not answered {command} in time", "--timeout SECONDS waits longer") from None
        except (OSError, EOFError, ValueError, RecursionError, AttributeError, TypeError) as error:
            raise NotRunning(
                "the guest has ended, or does not speak QMP", "kvmrun --list", reason=printable(error)
            ) from None

    def forget(self, opaque: str) -> None:
        """Have QEMU close every descriptor it was handed under this name; what uses one goes on with its own copy.

        QEMU keeps them otherwise, until it ends or no monitor of it has a client.
        """
        try:
            sets = [one for one in self.execute("query-fdsets") if opaque in [fd.get("opaque") for fd in one["fds"]]]
            numbers = [int(one["fdset-id"]) for one in sets]
        except (TypeError, KeyError, AttributeError, ValueError):
            return  # no answer of a QEMU's
        for number in numbers:
            with suppress(QmpError):
                self.execute("remove-fd", {"fdset-id": number})

    def _message(self) -> dict[str, Any]:
        while not self._messages:
            self._messages += self._qmp.receive(limit=self._left())
        return self._messages.pop(0)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


@contextmanager
def open_connection(monitor: GuestSocket, limit: float) -> Iterator[QmpConnection]:
    """A connection to a monitor, for at most `limit` seconds. Raises NotRunning, Unresponsive, WrongPeer."""
    deadline = time.monotonic() + limit
    with turn(monitor, limit), closing(_connect(monitor, deadline)) as qmp:
        one = QmpConnection(qmp, deadline)
        one.execute("qmp_capabilities")
        yield one


@contextmanager
def turn(monitor: GuestSocket, limit: float) -> Iterator[None]:
    """Be the one of our commands that talks to the first monitor of the guest. Raises Unresponsive."""
    held = os.open(os.path.dirname(monitor.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not wait_for_turn(held, limit):
            raise Unresponsive("the monitor is busy with another command", "try again")
        yield
    finally:
        os.close(held)


def _connect(monitor: GuestSocket, deadline: float) -> QmpSocket:
    """A QEMU that hangs lets nobody in, and a connection that is not let in would be waited for without end."""
    try:
        return QmpSocket(dial(monitor, limit=deadline - time.monotonic()))
    except BlockingIOError:
        raise Unresponsive("the monitor accepts no connection", "kvmrun --list shows its state") from None
    except OSError as error:
        raise NotRunning("the guest is not running", "kvmrun --list", reason=f"{error}") from None
