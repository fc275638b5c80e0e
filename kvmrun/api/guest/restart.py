"""Restarting guests: stopped, then started as their definitions are now."""

from collections.abc import Iterable

from kvmrun.api.guest.start import definition_errors, start_defined
from kvmrun.api.guest.start_guest import Started
from kvmrun.api.guest.stop import stop_known
from kvmrun.api.lab import LabHandle
from kvmrun.api.options import StartOptions, StopOptions
from kvmrun.api.report import Report, discard
from kvmrun.api.selection import in_order, select_running
from kvmrun.errors import KvmrunError


def restart(
    lab: LabHandle,
    names: Iterable[str] | None,
    stopping: StopOptions = StopOptions(),
    starting: StartOptions = StartOptions(),
    *,
    report: Report = discard,
) -> dict[str, Started | KvmrunError]:
    """Stop guests and start them again; None means all that run. What became of each, by name.

    A guest that could not be started again is not stopped. The end of the old guest takes nothing from the time of the
    new one.

    Raises: ConfigError and Refused for a lab that cannot be read, Interrupted where a signal came first.
    """
    defined = lab.reload()
    chosen, errors = select_running(lab, names)
    errors |= definition_errors(defined, [name for name in chosen if name not in errors])
    _, failed = stop_known(lab, [name for name in chosen if name not in errors], stopping, report)
    errors |= failed
    good = [name for name in chosen if name not in errors]
    started = start_defined(defined, lab.paths, good, starting, report) if good else {}
    return in_order(chosen, started, errors)
