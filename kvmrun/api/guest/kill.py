"""Ending the QEMU of guests at once, whatever it is doing."""

from collections.abc import Callable, Iterable

from kvmrun.api.guest.teardown import Stopped, exclusive_end
from kvmrun.api.lab import LabHandle, refuse_other
from kvmrun.api.options import KillOptions
from kvmrun.api.report import Done, Report, discard
from kvmrun.api.selection import in_order, protection_errors, run_side_by_side, select_guests
from kvmrun.errors import KvmrunError, Unresponsive
from kvmrun.host.process import process
from kvmrun.host.process.signals import defer_signals
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import Deadline, within
from kvmrun.model.paths import Paths


def kill(
    lab: LabHandle,
    names: Iterable[str] | None,
    options: KillOptions = KillOptions(),
    *,
    report: Report = discard,
) -> dict[str, Stopped | KvmrunError]:
    """End guests at once, like a power cut; None means all that run. The outcome of each, by name.

    Raises: ConfigError and Refused for a lab that cannot be read, Interrupted where a signal came first.
    """
    where, deadline = lab.paths, Deadline.begin(options.timeout)
    chosen, errors = select_guests(lab, names)
    errors |= {} if options.force else protection_errors(where, [name for name in chosen if name not in errors])
    done: dict[str, Stopped] = {}

    def one(name: str) -> None:
        _kill(where, name, deadline, tell)

    def tell(stopped: Stopped) -> None:
        done[stopped.guest] = stopped
        report(Done(guest=stopped.guest, text=f"{stopped}"))

    with within(deadline):
        errors |= run_side_by_side([name for name in chosen if name not in errors], one, report, "killing")
    return in_order(chosen, done, errors)


def _kill(where: Paths, name: str, deadline: Deadline, tell: Callable[[Stopped], None]) -> None:
    """Kill first and lock after: a stop that is still waiting for the guest holds the lock, and sees the end.

    Once more under the lock: a start may have been under way.
    """
    directory = where.guest(name)
    refuse_other(where, name)
    record = rundir.read_record(directory)
    with defer_signals():
        with rundir.qemu_pidfd(directory, record.pid if record else 0) as pidfd:
            _kill_process(name, pidfd)
            ended = pidfd is not None
        with exclusive_end(where, name, tell, ended=ended, deadline=deadline) as pidfd:
            _kill_process(name, pidfd)


def _kill_process(name: str, pidfd: int | None) -> None:
    if pidfd is not None and not process.kill(pidfd):
        raise Unresponsive(f"{name} cannot be killed", "dmesg may say why", reason="it is stuck in the kernel")
