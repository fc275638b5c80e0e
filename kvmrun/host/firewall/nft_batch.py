"""Transactions of nft: one process at a time; requests that arrive meanwhile are loaded together by the next one.

Fifty guests that start at once need a handful of processes so, not fifty that wait for each other in the kernel.
"""

import os
import threading
from contextlib import suppress

from kvmrun.host.links import raw_netlink
from kvmrun.host.process import process
from kvmrun.model.deadline import remaining

_LIMIT = 10.0
SILENT = "nft has not ended within"
_SAID = 4000


class NftRequest:
    """A text that is to be loaded, and the process that does it once there is one."""

    def __init__(self, text: str, queue: "_Queue") -> None:
        self.text = text
        self.queue = queue
        self.run: _Run | None = None
        self.forgotten = False

    def wait(self) -> tuple[int, str]:
        """The wait status of nft, 0 for success, and what it said. Raises OSError when it cannot be started."""
        try:
            while self.run is None:
                if self.forgotten:
                    return 1, "it was given up before it began"
                self.queue.settle()
            status, said = self.run.end()
        except BaseException:
            self.queue.forget(self)
            raise
        if status and self.run.shared:  # somebody's text was refused, and with it everybody's
            return _Run([NftRequest(self.text, self.queue)]).end()
        return status, said


def submit(text: str) -> NftRequest:
    """Have `text` loaded. Raises HostLacks without nft, OSError when it cannot be started."""
    queue = _queues.setdefault(raw_netlink.namespace(), _Queue())
    ticket = NftRequest(text, queue)
    try:
        queue.add(ticket)
    except BaseException:
        queue.forget(ticket)
        raise
    return ticket


class _Run:
    """One process and the tickets it is for."""

    def __init__(self, tickets: list[NftRequest]) -> None:
        self.shared = len(tickets) > 1
        self._lock = threading.Lock()
        self._ended: tuple[int, str] | None = None
        nft = process.require_program("nft")
        self._said, given = _memory(""), _memory("".join(ticket.text for ticket in tickets))
        try:
            self._pid, self._pidfd = process.spawn([nft, "-f", "-"], stdin=given, output=self._said)
        except BaseException:
            os.close(self._said)
            raise
        finally:
            os.close(given)
        for ticket in tickets:
            ticket.run = self

    def has_ended(self) -> bool:
        with self._lock:
            return self._ended is not None or process.wait_exit(self._pidfd, 0)

    def end(self) -> tuple[int, str]:
        """Wait for the end; its wait status, and what it said."""
        with self._lock:
            if self._ended is None:
                limit = remaining(_LIMIT)
                late = "" if process.wait_exit(self._pidfd, limit) else f"{SILENT} {limit:.1f} s"
                if late:
                    process.kill(self._pidfd)
                try:
                    status = os.waitpid(self._pid, 0)[1]
                except ChildProcessError:  # asked for already, and interrupted then; the rules are read back anyway
                    status = 0
                self._ended = status, late or os.pread(self._said, _SAID, 0).decode(errors="replace")
                os.close(self._pidfd)
                os.close(self._said)
            return self._ended


class _Queue:
    """The tickets nobody has begun yet, and the process at work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[NftRequest] = []
        self._at_work: _Run | None = None

    def add(self, ticket: NftRequest) -> None:
        """The first request is processed at once; further ones are collected until one of them is waited for."""
        with self._lock:
            self._waiting.append(ticket)
            if self._at_work is None:
                self._go_on()

    def settle(self) -> None:
        """Wait for the process at work, and begin with those that have come meanwhile."""
        at_work = self._at_work
        if at_work is not None:
            at_work.end()
        with self._lock:
            self._go_on()

    def forget(self, ticket: NftRequest) -> None:
        """Withdraw a request that has not begun; a running one is completed."""
        ticket.forgotten = True
        with self._lock, suppress(ValueError):
            self._waiting.remove(ticket)

    def _go_on(self) -> None:
        if self._waiting and (self._at_work is None or self._at_work.has_ended()):
            self._at_work = _Run(self._waiting)
            self._waiting = []


_queues: dict[int, _Queue] = {}
"""By network namespace: a process loads what it is given where it was started."""


def _memory(text: str) -> int:
    """A file without a name that holds `text`, to be read from its start."""
    fd = os.memfd_create("rules", os.MFD_CLOEXEC)
    os.pwrite(fd, text.encode(), 0)
    return fd
