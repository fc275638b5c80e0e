"""The end of one guest: held while it ends, and everything removed that it leaves."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

from kvmrun.api.lab import refuse_other
from kvmrun.errors import KvmrunError, Unresponsive, refused_by_host
from kvmrun.host.process import process
from kvmrun.host.process.signals import defer_signals
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import NEVER, Deadline, undoing
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.paths import Paths
from kvmrun.model.value import Value


class Stopped(Value):
    """A guest that does not run any more, and the seconds that its end took, None where QEMU had ended before.

    "stopped already" is one that had ended by itself and left something, "not running" one that had left nothing.
    """

    guest: str
    state: Literal["stopped", "stopped already", "not running"] = "stopped"
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.guest} is {self.state}" + (f" after {self.seconds:.1f} s" if self.seconds is not None else "")


@contextmanager
def exclusive_end(
    where: Paths, name: str, tell: Callable[[Stopped], None], *, ended: bool = False, deadline: Deadline = NEVER
) -> Iterator[int | None]:
    """Hold the guest and a pidfd on its QEMU, None when it does not run; afterwards remove what it left.

    `ended` says that the caller has ended it just now. Another command is waited for no longer than the deadline.
    `tell` is called with what has become of the guest.

    Raises: Busy, OtherLab, OtherUser; Unresponsive where something still holds the lock of the guest at the end.
    """
    directory = where.guest(name)
    if not os.path.isdir(directory) and not rundir.is_running(directory):
        _refuse_other_users_guest(where, name)
        rundir.remove_if_empty(where.run)  # a stop that was killed may have left the empty directory
        tell(Stopped(guest=name, state="not running"))
        yield None
        return
    with ExitStack() as calm, rundir.locked(directory, name, limit=deadline.left(rundir.OP_LIMIT)):
        refuse_other(where, name)
        record = rundir.read_record(directory)
        began = time.monotonic()
        locked = rundir.is_locked(directory)
        with rundir.qemu_pidfd(directory, record.pid if record else 0) as pidfd:
            interrupt = None
            try:
                yield pidfd
                calm.enter_context(defer_signals())
            except KeyboardInterrupt as error:
                calm.enter_context(defer_signals())
                if pidfd is None or not process.wait_exit(pidfd, 0):
                    raise
                interrupt = error  # it came too late: the guest has ended
            if pidfd is None and not ended:
                _refuse_other_users_guest(where, name)
            with undoing():  # also once the time of the command is over
                _remove_leftovers(where, name, record, locked=locked or not where.root)
            tell(_stopped(name, began if pidfd is not None else None, ended=ended))
            if interrupt is not None:
                raise interrupt


def _stopped(name: str, began: float | None, *, ended: bool) -> Stopped:
    """What became of a guest whose end took from `began` until now; None for one that had ended before."""
    if began is not None:
        return Stopped(guest=name, seconds=time.monotonic() - began)
    return Stopped(guest=name, state="stopped" if ended else "stopped already")


def _refuse_other_users_guest(where: Paths, name: str) -> None:
    """Raises NotPermitted where a guest of that name runs for another account: it is not stopped."""
    from kvmrun.api.guest_owner import elsewhere

    if error := elsewhere(where, name):
        raise error


def remove_leftovers(where: Paths, name: str) -> None:
    """Remove what a guest of this lab left that ended by itself; the caller holds its lock, and it does not run."""
    record = rundir.read_record(where.guest(name))
    if record and record.lab in {"", where.lab}:
        _remove_leftovers(where, name, record, locked=not where.root)


def _remove_leftovers(where: Paths, name: str, record: Record | None, *, locked: bool) -> None:
    """Remove what a guest that has ended left. Raises Unresponsive where it has not, KvmrunError where that fails."""
    directory = where.guest(name)
    if not _lock_is_released(directory):
        reason = "a process that cannot be seen, or is stuck in its own end, holds its lock"
        raise Unresponsive(f"{name} has not ended", "dmesg may say why; try again", reason=reason)
    try:
        _remove_what_is_left(where, name, record, locked=locked)
    except (KvmrunError, OSError) as error:
        found = error if isinstance(error, KvmrunError) else refused_by_host(f"remove what {name} left", error)
        message = f"{name} has ended, and not all that it left is removed"
        told = KvmrunError(message, f"kvmrun stop {name}", reason=found.reason or found.message, lines=found.lines)
        told.code = found.code
        raise told from None


def _remove_what_is_left(where: Paths, name: str, record: Record | None, *, locked: bool) -> None:
    from kvmrun.host.firewall import port_guard
    from kvmrun.host.firmware import running_tpm
    from kvmrun.host.links import persistent_taps, tap_device  # loaded while others still end

    directory, ports = where.guest(name), record.ports if record else ()
    persistent_taps.drop_leftovers(where, name, ports)  # while they are guarded
    tap_device.wait_until_released([port.tap for port in ports])
    running_tpm.end_leftover(where, name)
    (port_guard.remove_guard if locked else port_guard.force_remove_guard)(directory, name)
    rundir.remove_leftovers(directory)
    process.forget_ended()


def _lock_is_released(directory: str) -> bool:
    """Whether nobody holds the guest's lock any more; a process in the midst of its end does for a moment yet."""
    deadline = time.monotonic() + rundir.MIDST
    while rundir.is_locked(directory) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not rundir.is_locked(directory)
