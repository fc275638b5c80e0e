"""Pausing, resuming and resetting running guests, side by side."""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Literal

from kvmrun.api.guest_socket import monitor_of
from kvmrun.api.lab import LabHandle
from kvmrun.api.report import Report, discard
from kvmrun.api.selection import Batch, for_each_running
from kvmrun.errors import KvmrunError, NotRunning, Refused, Unresponsive
from kvmrun.host.process.signals import defer_signals
from kvmrun.host.rundir import rundir, socket_clients
from kvmrun.model.deadline import Deadline
from kvmrun.model.guest.guest_state import is_half_started, qemu_state
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.monitor.qmp.query_many import Reply, query

_LIMIT = 5.0


class Changed(Value):
    """What a guest is now, or that it was reset; `already` where nothing had to be done."""

    guest: str
    state: Literal["paused", "running", "reset"]
    already: bool = False

    def __str__(self) -> str:
        verb = "was" if self.state == "reset" else "is"
        return f"{self.guest} {verb} {self.state}{' already' if self.already else ''}"


class _StateChange(Value):
    """A QMP command, and the words for it while it lasts and when it is done.

    `already` are the states in which nothing is to be done; the guest is in one of them afterwards.
    """

    command: str
    doing: str
    done: Literal["paused", "running", "reset"]
    already: tuple[str, ...] = ()
    ended: str = ""
    """Why the guest may have ended by this."""


_PAUSE = _StateChange(command="stop", doing="pausing", done="paused", already=("paused", "prelaunch"))
"""A guest started with --paused, which has not begun, is paused as well."""
_RESUME = _StateChange(command="cont", doing="resuming", done="running", already=("running",))
_ENDED = 'with on_reboot = "shutdown" a reset is the end'
_RESET = _StateChange(command="system_reset", doing="resetting", done="reset", ended=_ENDED)


def pause(
    lab: LabHandle, names: Iterable[str] | None, *, timeout: float | None = None, report: Report = discard
) -> dict[str, Changed | KvmrunError]:
    """Stop the processors of guests where they are; None means all that run. What became of each, by name.

    QEMU has `timeout` seconds, or 5, to answer. The error of a guest is NotRunning, NoSuchGuest, Busy, Unresponsive or
    Refused as a value.

    Raises: ConfigError and Refused for a lab that cannot be read, Interrupted where a signal came first.
    """
    return _change_each(lab, names, _PAUSE, _batch(_PAUSE, timeout, report))


def resume(
    lab: LabHandle, names: Iterable[str] | None, *, timeout: float | None = None, report: Report = discard
) -> dict[str, Changed | KvmrunError]:
    """Let paused guests go on; None means all that run. `timeout` in seconds and the results as of `pause`.

    Raises: what `pause` raises.
    """
    return _change_each(lab, names, _RESUME, _batch(_RESUME, timeout, report))


def reset(
    lab: LabHandle,
    names: Iterable[str] | None,
    *,
    force: bool = False,
    timeout: float | None = None,
    report: Report = discard,
) -> dict[str, Changed | KvmrunError]:
    """Press the reset button of guests, of protected ones only with `force`; None means all that run.

    `timeout` in seconds and the results as of `pause`.

    Raises: what `pause` raises.
    """
    return _change_each(lab, names, _RESET, _batch(_RESET, timeout, report, force=force))


def _batch(change: _StateChange, timeout: float | None, report: Report, *, force: bool = True) -> Batch:
    deadline = Deadline.begin(_LIMIT if timeout is None else timeout)
    return Batch(doing=change.doing, deadline=deadline, report=report, force=force)


def _change_each(
    lab: LabHandle, names: Iterable[str] | None, change: _StateChange, batch: Batch
) -> dict[str, Changed | KvmrunError]:
    def one(name: str, directory: str, deadline: Deadline, deferred: ExitStack) -> Changed:
        with rundir.locked(directory, name, limit=deadline.left(rundir.OP_LIMIT)):
            return _change_one((name, directory), change, deadline, deferred)

    return for_each_running(lab, names, one, batch)


def _change_one(guest: tuple[str, str], change: _StateChange, deadline: Deadline, deferred: ExitStack) -> Changed:
    name, directory = guest
    answer = _ask(name, directory, ("query-status",), deadline)
    state = _state(name, answer)
    if is_half_started(answer.replies, rundir.read_record(directory)):
        raise Refused(f"{name} is only half started", f"kvmrun {name} begins again", reason="its start did not finish")
    if state in change.already:
        return Changed(guest=name, state=change.done, already=True)
    deferred.enter_context(defer_signals())  # it answers, and so it will at once
    deadline = Deadline.begin(deadline.left(_LIMIT))
    answer = _ask(name, directory, (change.command, "query-status"), deadline, change.ended)
    if error := answer.errors.get(change.command):
        raise KvmrunError(f"{name} could not be {change.done}", reason=printable(error))
    if change.already and (state := _state(name, answer)) not in change.already:
        raise KvmrunError(
            f"{name} is not {change.done}", "kvmrun --list shows its state", reason=f"QEMU calls it {state}"
        )
    return Changed(guest=name, state=change.done)


def _ask(name: str, directory: str, commands: tuple[str, ...], deadline: Deadline, ended: str = "") -> Reply:
    limit = deadline.granted(_LIMIT)
    answer = query(monitor_of(directory, name), *commands, limit=limit)
    if answer.silence == "stranger":
        raise Refused(f"another account answers on the monitor of {name}", f"kvmrun kill {name} ends it")
    if answer.silence == "gone":
        raise NotRunning(f"{name} has ended, or closed its monitor", "kvmrun --list shows its state", reason=ended)
    if answer.silence:
        fix, reason = f"kvmrun kill {name} ends it; --timeout SECONDS waits longer", f"its monitor was {answer.silence}"
        if who := socket_clients.connected_clients(f"{directory}/q"):
            fix, reason = f"end {who}: kvmrun monitor {name} is for people", f"{who} is connected to its monitor"
        raise Unresponsive(f"{name} does not answer", fix, reason=f"{reason} for {limit:g} s")
    return answer


def _state(name: str, answer: Reply) -> str:
    if state := qemu_state(answer.replies):
        return state
    raise Unresponsive(f"{name} does not report its state", "kvmrun --list shows what is known")
