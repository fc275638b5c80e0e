"""QMP with a running guest: one command, or a conversation on the monitor that is kept for people."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from kvmrun.api import peer_account
from kvmrun.api.lab import LabHandle, people_monitor, require_running
from kvmrun.errors import Busy, Unresponsive
from kvmrun.host.rundir import console_lock, socket_clients
from kvmrun.model.deadline import Deadline
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
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

    Raises: Said where QEMU refuses, with its own words; NotRunning, NoSuchGuest, Unresponsive.
    """
    limit = _LIMIT if timeout is None else timeout
    with open_connection(f"{require_running(lab.paths, name)}/q", limit) as monitor:
        return monitor.execute(command, arguments)


class MonitorSeat(Value):
    """A monitor that is this caller's for a while: the socket, the guest's UUID, "" where that is not recorded, and the
    accounts that may answer there.
    """

    guest: str
    path: str
    uuid: str
    accounts: Collection[int]
    lock: str

    def taken_over_error(self) -> Busy:
        """The error where somebody else has taken the seat meanwhile."""
        by = printable(console_lock.holder_text(self.lock), 100)
        fix = f"kvmrun monitor {self.guest} --steal"
        return Busy(f"the monitor of {self.guest} was taken over", fix, reason=f"by {by}")


@contextmanager
def monitor_seat(
    lab: LabHandle, name: str, *, is_shell: bool = False, steal: bool = False, timeout: float | None = None
) -> Iterator[MonitorSeat]:
    """The people's monitor of a running guest, nobody else's up to the end of the body; with `steal` it is taken over.

    Where somebody else has it, a script is not kept out: it takes its turn, within `timeout` seconds or 60, at the
    monitor that is kept for commands. A shell, `is_shell`, is.

    Raises: Busy, NotRunning, NoSuchGuest; Unresponsive, with who is connected where the body found nobody to answer.
    """
    path, uuid = people_monitor(lab.paths, name)
    directory = os.path.dirname(path)
    lock = f"{directory}/{_LOCK}"
    with ExitStack() as stack:
        try:
            stack.enter_context(console_lock.acquire(lock, name, steal=steal))
        except Busy:
            if is_shell:
                raise
            stack.enter_context(turn(directory, Deadline.begin(timeout).granted(_TURN)))
            path = f"{directory}/q"
        try:
            accounts = peer_account.allowed_uids(directory)
            yield MonitorSeat(guest=name, path=path, uuid=uuid, accounts=accounts, lock=lock)
        except Unresponsive as silent:
            if who := socket_clients.connected_clients(path):
                fix = f"end {who}, or have it use the monitor of another guest"
                raise Unresponsive(silent.message, fix, reason=f"{who} is connected to it") from None
            raise
