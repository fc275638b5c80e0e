"""Waiting until guests are in a wanted state."""

import time
from collections.abc import Iterable

from kvmrun.api.guest.wait_conditions import Condition, parse_condition
from kvmrun.api.guest_owner import elsewhere
from kvmrun.api.lab import LabHandle, expand_groups, require_running, runtime_of
from kvmrun.api.parallel import each
from kvmrun.api.report import Done, Report, discard, waiting
from kvmrun.api.selection import in_order
from kvmrun.errors import KvmrunError
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import Deadline
from kvmrun.model.paths import Paths
from kvmrun.model.printable import duration
from kvmrun.model.value import Value


class Met(Value):
    """A guest that is as wanted: "running", "stopped" or "ready"; the seconds it took, None where it was so before."""

    guest: str
    state: str
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.guest} is {self.state} " + (
            "already" if self.seconds is None else f"after {duration(self.seconds)}"
        )


def wait(
    lab: LabHandle,
    names: Iterable[str],
    until: str = "running",
    *,
    timeout: float | None = None,
    report: Report = discard,
) -> dict[str, Met | KvmrunError]:
    """Wait until guests are as `until` says. What became of each, by name.

    Each is waited for `timeout` seconds at most; without it 60, and 600 for "seed".
    `until` is "running", "address", "agent", "seed", "port:NUMBER", "console:TEXT" or "stopped". A guest that is not so
    in time has the error Unresponsive, and goes on as it is.

    Raises: UsageError for another condition, ConfigError and Refused for a lab that cannot be read, Interrupted where a
    signal came first.
    """
    where = lab.paths
    wanted = parse_condition(until, Deadline.begin(timeout))
    given = list(dict.fromkeys(names))
    chosen = expand_groups(lab.definitions, given) if any(name.startswith("@") for name in given) else given
    done: dict[str, Met] = {}

    def one(name: str) -> None:
        done[name] = _wait(where, name, wanted)
        report(Done(guest=name, text=f"{done[name]}"))

    with waiting(report, f"{', '.join(chosen)}: {until}", limit=wanted.limit):
        errors = each(chosen, one)
    return in_order(chosen, done, errors)


def _wait(where: Paths, name: str, wanted: Condition) -> Met:
    if wanted.kind == "stopped" and name in rundir.guest_names(where.run) and not rundir.is_running(where.guest(name)):
        return Met(guest=name, state="stopped")
    runtime = runtime_of(where, name)
    if not rundir.is_running(runtime.directory) and (error := elsewhere(where, name)):
        raise error
    if wanted.kind not in {"running", "stopped"}:
        require_running(where, name)
    begun = time.monotonic()
    wanted.finish(name, runtime.directory, wanted.begin(runtime, running=True))
    state = wanted.kind if wanted.kind in {"running", "stopped"} else "ready"
    return Met(guest=name, state=state, seconds=time.monotonic() - begun)
