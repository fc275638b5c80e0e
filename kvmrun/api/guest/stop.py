"""Stopping guests: the power button first, then the agent, then QEMU is told to quit, then it is killed."""

import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from kvmrun.api.guest.teardown import Stopped, exclusive_end
from kvmrun.api.guest_socket import monitor_of
from kvmrun.api.lab import LabHandle
from kvmrun.api.options import StopOptions
from kvmrun.api.parallel import interrupted
from kvmrun.api.report import Detail, Done, Report, discard
from kvmrun.api.selection import in_order, protection_errors, run_side_by_side, select_guests, stop_order
from kvmrun.errors import KvmrunError, Unresponsive
from kvmrun.host.process import process
from kvmrun.host.process.signals import defer_signals
from kvmrun.host.rundir import frozen_mark
from kvmrun.model.deadline import Deadline, within
from kvmrun.model.guest.guest_state import qemu_state
from kvmrun.model.paths import Paths
from kvmrun.model.value import Value
from kvmrun.monitor.qmp.query_many import Reply, query

_LIMIT = 60.0
_AGAIN = 3.0
"""A guest that is still booting hears no power button: it is pressed again, every so many seconds."""
_GLANCE = 0.2
_QUIT, _QUIT_SOON = 10.0, 2.0
"""How long QEMU may take to quit, in seconds; the latter after the time that the caller gave."""
_NOBODY = ("gone", "stranger")
"""Kinds of silence of a QEMU that cannot be reached at all."""


def stop(
    lab: LabHandle,
    names: Iterable[str] | None,
    options: StopOptions = StopOptions(),
    *,
    report: Report = discard,
) -> dict[str, Stopped | KvmrunError]:
    """Stop guests, those first that were started after others; None means all that run. What became of each, by name.

    Raises: ConfigError and Refused for a lab that cannot be read, Interrupted where a signal came first.
    """
    chosen, errors = select_guests(lab, names)
    done, failed = stop_known(lab, [name for name in chosen if name not in errors], options, report)
    return in_order(chosen, done, errors | failed)


def stop_known(
    lab: LabHandle, names: list[str], options: StopOptions, report: Report
) -> tuple[dict[str, Stopped], dict[str, KvmrunError]]:
    """Stop guests that are known: those that have stopped, and the errors, by name."""
    where = lab.paths
    refused = {} if options.force else protection_errors(where, names)
    good = [name for name in names if name not in refused]
    done: dict[str, Stopped] = {}
    deadline = Deadline.begin(options.timeout)
    request = _Request(where=where, options=options, deadline=deadline, report=report, done=done)
    with within(deadline):
        errors = run_side_by_side(
            good, lambda name: _stop(request, name), report, "stopping", before=stop_order(where, good)
        )
    return done, refused | errors


class _Request(Value):
    """What the stops of one call share. `done` gathers those that have stopped."""

    where: Paths
    options: StopOptions
    deadline: Deadline
    report: Report
    done: dict[str, Stopped]

    def tell(self, stopped: Stopped) -> None:
        self.done[stopped.guest] = stopped
        self.report(Done(guest=stopped.guest, text=f"{stopped}"))


def _stop(request: _Request, name: str) -> None:
    where, options = request.where, request.options
    with exclusive_end(where, name, request.tell, deadline=request.deadline) as pidfd:
        if pidfd is not None:
            end = _Shutdown(
                name=name,
                directory=where.guest(name),
                pidfd=pidfd,
                report=request.report,
                quit_limit=_QUIT if options.timeout is None else _QUIT_SOON,
            )
            usual = 0.0 if options.force else _LIMIT
            deadline = Deadline.begin(usual) if options.force or options.timeout is None else request.deadline
            if not end.by_guest(deadline):
                with defer_signals():  # once it was told to quit, it ends, and that is told
                    if not end.by_quit():
                        end.by_kill()


class _Shutdown(Value):
    """The shutdown of one guest in three steps of increasing force; each returns whether the guest has ended."""

    name: str
    directory: str
    pidfd: int
    report: Report
    quit_limit: float

    def by_guest(self, deadline: Deadline) -> bool:
        """Press the power button until the guest is off or its time is over; half way its agent is asked."""
        limit = deadline.limit or 0.0
        if limit > 0:
            self._thaw(deadline)
        asked = False
        while (left := deadline.left(limit)) > 0:
            if not asked and left < limit / 2:
                asked = True
                self._persuade(limit - left, deadline)
            answer = self._press(min(2.0, left))
            if answer.silence in _NOBODY or qemu_state(answer.replies) == "prelaunch":
                return False
            if self._ends(min(_AGAIN, left)):
                return True
        if limit > 0:
            self._tell(f"{self.name} did not power down within {limit:g} s: QEMU is told to quit")
        return False

    def _tell(self, text: str) -> None:
        self.report(Done(guest=self.name, text=text))

    def _ends(self, limit: float) -> bool:
        """Whether it ends within `limit` seconds. Raises KvmrunError where a signal says that nobody waits any more."""
        deadline = Deadline.begin(limit)
        while not process.wait_exit(self.pidfd, deadline.left(_GLANCE)):
            if interrupted():
                raise KvmrunError(f"{self.name} has not powered down yet", reason="a signal came first")
            if deadline.is_over():
                return False
        return True

    def by_quit(self) -> bool:
        answer = self._ask("quit", limit=2.0)
        if answer.silence in _NOBODY:
            self._signal()
        if answer.silence in {"", *_NOBODY} and process.wait_exit(self.pidfd, self.quit_limit):
            return True
        self._tell(f"{self.name}: QEMU did not quit: it is killed")
        return False

    def by_kill(self) -> None:
        if not process.kill(self.pidfd):
            raise Unresponsive(f"{self.name} cannot be killed", "dmesg may say why", reason="it is stuck in the kernel")

    def _thaw(self, deadline: Deadline) -> None:
        if frozen_mark.is_marked(self.directory):
            from kvmrun.monitor.agent import agent_commands  # 10 ms: not for those who force

            self._tell(f"{self.name} is frozen: thawed, so that it can end in order")
            self._ask_agent(agent_commands.thaw, deadline)

    def _persuade(self, waited: float, deadline: Deadline) -> None:
        from kvmrun.api.conversation.agent import absence_reason
        from kvmrun.monitor.agent import agent_commands

        if not absence_reason(self.directory, self.name, limit=deadline.left(2.0)):
            self._tell(f"{self.name} is not off by the power button in {waited:.0f} s: its agent is asked")
            self._ask_agent(agent_commands.shut_down, deadline)

    def _ask_agent(self, ask: Callable[[Any], object], deadline: Deadline) -> None:
        from kvmrun.api.conversation.agent import agent_session

        try:
            with agent_session(self.directory, self.name, deadline=deadline) as agent:
                ask(agent)
        except KvmrunError as no:
            self.report(Detail(text=f"{no.message}: {no.reason}"))

    def _signal(self) -> None:
        """Without a monitor, QEMU takes this as quit: it writes what it has, and ends."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)

    def _press(self, limit: float) -> Reply:
        """Press the power button once, of a guest that can hear it; what it said."""
        answer = self._ask("query-status", "system_powerdown", limit=limit)
        if qemu_state(answer.replies) == "paused":
            self._tell(f"{self.name} is paused: resumed, so that it can hear the power button")
            self._ask("cont", limit=limit)
        return answer

    def _ask(self, *commands: str, limit: float) -> Reply:
        monitor = monitor_of(self.directory, self.name, pid=lambda: process.pid_of(self.pidfd))
        return query(monitor, *commands, limit=limit)
