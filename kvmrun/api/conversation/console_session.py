"""A guest's serial line, carried to and from two descriptors of the caller."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kvmrun.api.guest_socket import socket_of
from kvmrun.api.lab import LabHandle, require_running
from kvmrun.errors import Refused
from kvmrun.host.rundir import console_lock
from kvmrun.model.machine.chardevs import CONSOLE
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.monitor.console.console_relay import ConsoleRelay, ConsoleUser, Ending, connect_console
from kvmrun.monitor.console.terminal_filter import TerminalFilter
from kvmrun.monitor.guest_socket import GuestSocket

TAKEN_OVER = console_lock.STOLEN
"""The signal that a process gets whose console somebody else takes over. Unhandled, it ends the process."""
_LOCK = "console"


class ConsoleOptions(Value):
    """How a console is joined.

    `escape` is the byte that leaves, None where the input is no keyboard. `unfiltered` lets all bytes of the guest
    through, also those that a terminal acts upon. `steal` takes the console over from whoever is connected. `timeout`
    is in seconds; without it there is no limit.
    """

    escape: int | None = None
    unfiltered: bool = False
    steal: bool = False
    timeout: float | None = None


class ConsoleEnds(Value):
    """The caller's descriptors: `source` is typed, `sink` is seen and should not block. `wake` ends the relay when it
    becomes readable. `size` gives the lines and columns of a terminal that answers the guest's questions.
    """

    source: int
    sink: int
    wake: int
    size: Callable[[], tuple[int, int]] | None = None


class Console:
    """The console of a running guest, which nobody else has meanwhile. Use `joined_console`."""

    def __init__(self, socket: GuestSocket, lock: str, options: ConsoleOptions) -> None:
        self._socket = socket
        self._lock = lock
        self._options = options

    @contextmanager
    def connected(self, ends: ConsoleEnds) -> Iterator["Connection"]:
        """The connection to QEMU. Raises: NotRunning, Unresponsive."""
        with connect_console(self._socket) as line:
            filtering = TerminalFilter(ends.size)
            show = _take_note(filtering) if self._options.unfiltered else filtering.feed
            person = ConsoleUser(source=ends.source, sink=ends.sink, wake=ends.wake, escape=self._options.escape)
            relay = ConsoleRelay(line, person, show, filtering.answers)
            yield Connection(relay, filtering, self._options.timeout)

    def occupant(self) -> str:
        """Who has taken the console last, in words."""
        return printable(console_lock.holder_text(self._lock), 100)


class Connection:
    """A console that is connected."""

    def __init__(self, relay: ConsoleRelay, filtering: TerminalFilter, timeout: float | None) -> None:
        self._relay = relay
        self._filtering = filtering
        self._timeout = timeout

    def relay(self) -> Ending:
        """Carry bytes both ways until one side ends, the escape is typed, `wake` is readable or time is over."""
        return self._relay.run(self._timeout)

    def restore_sequence(self) -> bytes:
        """What takes back on a terminal what the guest has set there."""
        return self._filtering.leave()


@contextmanager
def joined_console(lab: LabHandle, name: str, options: ConsoleOptions) -> Iterator[Console]:
    """The console of a running guest, held up to the end of the body.

    Raises: Refused for a guest without a console, Busy where somebody else has it, NotRunning, NoSuchGuest.
    """
    directory = require_running(lab.paths, name)
    if not os.path.exists(f"{directory}/{CONSOLE}"):
        raise Refused(f"{name} has no console", f"set console = true in {name}.toml and restart the guest")
    lock = f"{directory}/{_LOCK}"
    with console_lock.acquire(lock, name, steal=options.steal):
        yield Console(socket_of(directory, name, CONSOLE), lock, options)


def attach_console(lab: LabHandle, name: str, source: int, sink: int, options: ConsoleOptions | None = None) -> Ending:
    """Carry bytes from `source` to the guest, and what it prints to `sink`, until one side ends or time is over.

    Raises: Refused for a guest without a console; Busy where somebody else has it; NotRunning, NoSuchGuest,
    Unresponsive; BrokenPipeError where nobody reads `sink`.
    """
    options = options or ConsoleOptions()
    wake, never = os.pipe2(os.O_CLOEXEC)
    try:
        ends = ConsoleEnds(source=source, sink=sink, wake=wake)
        with joined_console(lab, name, options) as console, console.connected(ends) as connection:
            return connection.relay()
    finally:
        os.close(wake)
        os.close(never)


def _take_note(filtering: TerminalFilter) -> Callable[[bytes], bytes]:
    """All that comes, while the filter still takes note of what is to be undone."""

    def both(data: bytes) -> bytes:
        filtering.feed(data)
        return data

    return both
