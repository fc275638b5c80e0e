"""QMP with a running guest: one command, or a conversation on the monitor that is kept for people."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from kvmrun.api.guest_socket import monitor_of, socket_of
from kvmrun.api.lab import LabHandle, require_running
from kvmrun.errors import Busy, Unresponsive
from kvmrun.host.rundir import console_lock, rundir, socket_clients
from kvmrun.model.deadline import Deadline
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.monitor.guest_socket import GuestSocket
from kvmrun.monitor.qmp.fd_passing import open_connection, turn

_LOCK = "monitor"
_LIMIT = 60.0
_TURN = 60.0
"""How long a script waits, in seconds, until other commands have talked to the monitor it shares with them."""


def execute(
    lab: LabHandle,
    name: str,
    command: str,
    arguments: Mapping[str, object] | None = None,
    *,
    timeout: float | None = None,
) -> Any:
    """Have the QEMU of a running guest carry out one QMP command, within `timeout` seconds or 60; what it returns.

    Raises: KvmrunError where QEMU refuses, with its own words; NotRunning, NoSuchGuest, Unresponsive; Refused where
    another account than that of QEMU answers.
    """
    limit = _LIMIT if timeout is None else timeout
    with open_connection(monitor_of(require_running(lab.paths, name), name), limit) as monitor:
        return monitor.execute(command, arguments)


class MonitorSeat(Value):
    """A monitor that is this caller's for a while: the socket, and the guest's UUID, "" where that is not recorded."""

    socket: GuestSocket
    uuid: str
    lock: str

    def taken_over_error(self) -> Busy:
        """The error where somebody else has taken the seat meanwhile."""
        by = printable(console_lock.holder_text(self.lock), 100)
        guest = self.socket.guest
        return Busy(f"the monitor of {guest} was taken over", f"kvmrun monitor {guest} --steal", reason=f"by {by}")


@contextmanager
def monitor_seat(
    lab: LabHandle, name: str, *, is_shell: bool = False, steal: bool = False, timeout: float | None = None
) -> Iterator[MonitorSeat]:
    """The people's monitor of a running guest, nobody else's up to the end of the body; with `steal` it is taken over.

    Where somebody else has it, a script is not kept out: it takes its turn, within `timeout` seconds or 60, at the
    monitor that is kept for commands. A shell, `is_shell`, is.

    Raises: Busy, NotRunning, NoSuchGuest; Unresponsive, with who is connected where the body found nobody to answer.
    """
    directory = require_running(lab.paths, name)
    record = rundir.read_record(directory)
    socket, lock = socket_of(directory, name, "p"), f"{directory}/{_LOCK}"
    with ExitStack() as stack:
        try:
            stack.enter_context(console_lock.acquire(lock, name, steal=steal))
        except Busy:
            if is_shell:
                raise
            socket = monitor_of(directory, name)
            stack.enter_context(turn(socket, Deadline.begin(timeout).granted(_TURN)))
        try:
            yield MonitorSeat(socket=socket, uuid=record.uuid if record else "", lock=lock)
        except Unresponsive as silent:
            if who := socket_clients.connected_clients(socket.path):
                fix = f"end {who}, or have it use the monitor of another guest"
                raise Unresponsive(silent.message, fix, reason=f"{who} is connected to it") from None
            raise
