"""Selecting guests, checking their protection, and one operation on all of them in parallel."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import TypeVar

from kvmrun.api.lab import LabHandle, expand_groups, no_such_guest, own_guests, read_definitions, require_running
from kvmrun.api.parallel import each
from kvmrun.api.report import Done, Report, waiting
from kvmrun.errors import KvmrunError, Refused
from kvmrun.host.rundir import rundir, socket_lookup
from kvmrun.model.deadline import Deadline
from kvmrun.model.guest import start_order
from kvmrun.model.paths import Paths
from kvmrun.model.value import Value

Result = TypeVar("Result")


class Batch(Value):
    """How one thing is done to several guests. Without `force` protected guests are refused."""

    doing: str
    deadline: Deadline
    report: Report
    force: bool = True


def select_guests(lab: LabHandle, names: Iterable[str] | None) -> tuple[list[str], dict[str, KvmrunError]]:
    """The guests that `names`, with @GROUP among them, mean, and an error for each that is not known.

    None means those of the lab that have a directory below the run directory.
    """
    where = lab.paths
    present = rundir.guest_names(where.run)
    if names is None:
        return own_guests(
            where,
            sorted(
                {
                    *present,
                    *socket_lookup.find_running_guests(
                        where.run, socket_lookup.bound_monitors(where.run).keys() - present
                    ),
                }
            ),
        ), {}
    names = list(names)
    if all(name in present for name in names):
        return list(dict.fromkeys(names)), {}
    defined = lab.definitions
    names = expand_groups(defined, names)
    known = {*present, *defined.guests, *defined.invalid}
    return names, {name: no_such_guest(defined, name) for name in names if name not in known}


def select_running(lab: LabHandle, names: Iterable[str] | None) -> tuple[list[str], dict[str, KvmrunError]]:
    """The same, where None means only those that run."""
    chosen, errors = select_guests(lab, names)
    return [name for name in chosen if names is not None or rundir.is_running(lab.paths.guest(name))], errors


def in_order(
    names: Iterable[str], done: Mapping[str, Result], errors: Mapping[str, KvmrunError]
) -> dict[str, Result | KvmrunError]:
    """What became of each of `names`: its error, or what was done."""
    return {name: errors[name] if name in errors else done[name] for name in names}


def protection_errors(where: Paths, names: list[str]) -> dict[str, KvmrunError]:
    """A refusal for each of `names` that runs and is protected: by its definition, or as it was started without one."""
    records = {name: rundir.read_record(where.guest(name)) for name in names if rundir.is_running(where.guest(name))}
    if not records:
        return {}
    try:
        now = read_definitions(where).guests
    except KvmrunError:
        now = {}
    refused: dict[str, KvmrunError] = {}
    for name, record in records.items():
        if now[name].protect if name in now else record and record.protect:
            fix = f"set protect = false in {name}.toml, or add --force"
            refused[name] = Refused(f"{name} is protected", fix, reason="its definition says protect = true")
    return refused


def stop_order(where: Paths, names: list[str]) -> dict[str, tuple[str, ...]]:
    """For each of `names` those that end before it: they were started after it."""
    records = {name: rundir.read_record(where.guest(name)) for name in names}
    after = {name: record.after for name, record in records.items() if record}
    return start_order.inverted(start_order.without_cycles(start_order.restrict(after, names)))


def run_side_by_side(
    names: list[str],
    do: Callable[[str], None],
    report: Report,
    doing: str,
    *,
    before: start_order.Before | None = None,
) -> dict[str, KvmrunError]:
    """Do it to all at once, but for those that come `before` others; the errors by name."""
    if not names:
        return {}
    with waiting(report, f"{doing} {', '.join(names)}"):
        return each(names, do, before or {}, ends=True)


def for_each_running(
    lab: LabHandle,
    names: Iterable[str] | None,
    do: Callable[[str, str, Deadline, ExitStack], Result],
    batch: Batch,
) -> dict[str, Result | KvmrunError]:
    """Call `do` for every running guest that is meant, and report what it returns.

    `do` is given the name of a guest and its run directory, and returns what has become of it, which is its own
    sentence, too. From when it is done until that is reported, signals are held back by a context in the stack.
    """
    where = lab.paths
    chosen, errors = select_running(lab, names)
    errors |= {} if batch.force else protection_errors(where, [name for name in chosen if name not in errors])
    done: dict[str, Result] = {}

    def one(name: str) -> None:
        with ExitStack() as calm:
            done[name] = do(name, require_running(where, name), batch.deadline, calm)
            batch.report(Done(guest=name, text=f"{done[name]}"))

    errors |= run_side_by_side([name for name in chosen if name not in errors], one, batch.report, batch.doing)
    return in_order(chosen, done, errors)
