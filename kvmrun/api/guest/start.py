"""Starting guests together: on networks that are ready, in their order, and waiting for what they are to do."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from itertools import chain

from kvmrun.api.guest import start_guest
from kvmrun.api.guest.start_changes import with_start_options
from kvmrun.api.guest.start_guest import Started
from kvmrun.api.guest.wait_types import Wait
from kvmrun.api.lab import LabHandle, expand_groups, guest_or_error
from kvmrun.api.network.network_hold import NetworkHold
from kvmrun.api.options import StartOptions
from kvmrun.api.parallel import each
from kvmrun.api.report import Detail, Done, Report, Warned, details, discard, waiting
from kvmrun.api.selection import in_order
from kvmrun.errors import KvmrunError, Refused, Several, Unresponsive, UsageError, refused_by_host
from kvmrun.host.facts.guest_facts import RunningGuests
from kvmrun.host.facts.guest_runtime import guest_runtimes
from kvmrun.host.process.signals import note_signals
from kvmrun.host.rundir import records, rundir
from kvmrun.model.deadline import Deadline, within
from kvmrun.model.guest import start_order
from kvmrun.model.lab import Lab
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.printable import duration, quoted
from kvmrun.model.scalars import GuestName
from kvmrun.model.value import Value
from kvmrun.plan.guest.start_plan import launch_record

_MANY = 8
"""So many guests take a second to start: a person sees that something goes on."""


def start(
    lab: LabHandle,
    names: Iterable[str] | None,
    options: StartOptions = StartOptions(),
    *,
    report: Report = discard,
) -> dict[str, Started | KvmrunError]:
    """Start guests, with @GROUP among `names`; None means every guest of the lab. What became of each, by name.

    A guest that runs already is one that has started. One that comes after another that failed is not started. What
    was done for a guest that cannot be started is undone; one that does not become ready in time runs on.

    Raises: ConfigError and Refused for a lab that cannot be read, UsageError for options that make no sense,
    Interrupted where a signal came first.
    """
    return start_defined(lab.definitions, lab.paths, guests_to_start(lab.definitions, names, options), options, report)


def guests_to_start(lab: Lab, names: Iterable[str] | None, options: StartOptions) -> list[str]:
    """The guests to start, those too that are not known. Raises UsageError for QEMU arguments to several."""
    found = sorted([*lab.guests, *lab.invalid]) if names is None else expand_groups(lab, names)
    if options.raw and len(found) > 1:
        raise UsageError("QEMU arguments after -- are for one guest", f"kvmrun {found[0]} -- …")
    return found


def quoted_arguments(raw: Iterable[str]) -> tuple[str, ...]:
    """Arguments for QEMU, each to reach it as it is: those of a definition are split like a command line."""
    words = tuple(raw)
    if not words:
        return ()
    import shlex  # 2 ms that only those who give such words should pay

    return tuple(shlex.quote(word) for word in words)


def start_defined(
    lab: Lab, where: Paths, names: list[str], options: StartOptions, report: Report
) -> dict[str, Started | KvmrunError]:
    """Start `names`, of which some may not be defined."""
    deadline = Deadline.begin(options.timeout)
    wait = _wait(options.wait, deadline)
    errors = definition_errors(lab, names)
    others = RunningGuests(where)
    defined = with_start_options(lab, where, names, options)
    errors |= _running_without_cdrom(where, names, options) if options.cdrom else {}
    lab = records.in_force(defined, where, others.records())
    before = start_order.without_cycles(
        start_order.restrict({name: one.after for name, one in lab.guests.items()}, names)
    )
    good = [name for name in names if name not in errors]
    if not good:
        return in_order(names, {}, errors)
    awaited = set() if options.paused else set(chain.from_iterable(before.values()))
    waits = {
        name: found for name in good if (found := _combined_wait(_readiness_wait(lab, name, awaited, deadline), wait))
    }
    runtimes = guest_runtimes(lab, where)
    used = {port.network for name in good for port in runtimes[name].ports}
    _report_warnings(lab, good, report)
    job = start_guest.Job(
        lab=lab,
        where=where,
        runtimes=runtimes,
        raw=quoted_arguments(options.raw),
        waits=waits,
        paused=options.paused,
        watches={},
        started={},
        networks=NetworkHold(_look(defined, lab, where, good), where, used, details(report)),
        others=others,
        deadline=deadline,
    )
    with within(deadline):
        errors = _start_in_order(_Order(before=before, awaited=awaited, errors=errors), job, good, report)
    return in_order(names, job.started, errors)


def _report_warnings(lab: Lab, names: Iterable[str], report: Report) -> None:
    """Warn of guests whose own drive is not booted, because the lab's defaults give them a kernel, and of those whose
    size is the built-in one, because nothing is known of their operating system.
    """
    systems = {lab.guests[name].os for name in names}
    for problem in lab.problems:
        of_defaults = problem.file == "defaults.toml" and problem.found in systems
        concerns = of_defaults or problem.file.removesuffix(".toml") in names
        if problem.key in {"boot.kernel", "os"} and problem.warning and concerns:
            report(Warned(text=f"{problem}"))


def _look(defined: Lab, lab: Lab, where: Paths, names: list[str]) -> Callable[[], Lab]:
    """The lab by the records there are when it is asked for; those that are being started have theirs soon."""
    runtimes = guest_runtimes(lab, where)
    uplinks = {name: lab.uplinks.get(lab.guests[name].uplink or "") for name in names}
    starting = {name: launch_record(lab.guests[name], runtimes[name], (), uplinks[name]) for name in names}
    return lambda: records.in_force(defined, where, starting=starting)


def _running_without_cdrom(where: Paths, names: Iterable[str], options: StartOptions) -> dict[str, KvmrunError]:
    """An error for each guest that runs already, and would not boot that CD-ROM."""
    file = quoted(options.cdrom or "")
    return {
        name: Refused(f"{name} is running already", f"kvmrun media {name} {file} inserts it while the guest runs")
        for name in names
        if GuestName.fits(name) and rundir.is_running(where.guest(name))
    }


def definition_errors(lab: Lab, names: Iterable[str]) -> dict[str, KvmrunError]:
    """What is wrong with those of `names` that cannot be started because of their definitions."""
    errors: dict[str, KvmrunError] = {}
    for name in names:
        try:
            guest_or_error(lab, name)
        except KvmrunError as error:
            errors[name] = error
    return errors


class _Order(Value):
    """Who comes after whom, who is waited for, and who has failed before the first start."""

    before: start_order.Before
    awaited: set[str]
    errors: Mapping[str, KvmrunError]


def _start_in_order(turns: _Order, job: start_guest.Job, names: list[str], report: Report) -> dict[str, KvmrunError]:
    """Start `names` on networks that are ready; networks made for them are undone when none of them started."""

    def one(name: str) -> None:
        start_guest.start(job, name, report)
        if name in turns.awaited and name in job.watches:
            report(Detail(text=f"waiting for {name}: {job.watches[name].what}"))
            _finish(job, name, report)

    with note_signals() if len(names) > 1 else nullcontext():
        errors = dict(turns.errors)
        try:
            with job.networks:
                slow = bool(turns.awaited) or len(names) > _MANY
                with waiting(report, f"starting {', '.join(names)}") if slow else nullcontext():
                    errors = each(names, one, turns.before, failed=turns.errors)
                if job.networks.error is not None:
                    raise job.networks.error
                if all(name in errors for name in names):
                    raise Several(list(errors.values()))
        except Several:
            return errors
        return errors | _await_conditions(job, report)


def _await_conditions(job: start_guest.Job, report: Report) -> dict[str, KvmrunError]:
    """Wait for what the started guests are to do, with no lock held."""
    if not job.watches:
        return {}
    watches = dict(job.watches)
    what = ", ".join(f"{name}: {watch.what}" for name, watch in watches.items())
    limit = max(job.waits[name].limit for name in watches)
    with waiting(report, what, limit=limit, last=_last_line(next(iter(watches.values())).runtime)):
        return each(list(watches), lambda name: _finish(job, name, report))


def _last_line(runtime: GuestRuntime) -> Callable[[], str]:
    """Reads the last line of the guest's console."""

    def last() -> str:
        from kvmrun.api.guest.wait_conditions import console_lines

        return next(reversed(console_lines(runtime, rundir.read_record(runtime.directory))), "")

    return last


def _finish(job: start_guest.Job, name: str, report: Report) -> None:
    begun = time.monotonic()
    try:
        job.waits[name].finish(name, job.runtimes[name].directory, job.watches.pop(name))
    except OSError as error:  # the guest goes on, as one that is not ready in time does
        found = refused_by_host(f"wait for {name}, which runs", error)
        raise Unresponsive(found.message, found.fix, reason=found.reason) from None
    report(Done(guest=name, text=f"{name} is ready after {duration(time.monotonic() - begun)}"))


def _readiness_wait(lab: Lab, name: str, awaited: set[str], deadline: Deadline) -> Wait | None:
    """What the guest's own definition calls ready, where others wait for it."""
    return _wait(lab.guests[name].ready, deadline) if name in awaited else None


def _wait(word: str, deadline: Deadline) -> Wait | None:
    """What to wait for beyond what every start waits for; its conditions are loaded only when one is asked for."""
    if word in {"qmp", "running"}:
        return None
    from kvmrun.api.guest.wait_conditions import parse_start_condition

    return parse_start_condition(word, deadline)


def _combined_wait(own: Wait | None, wait: Wait | None) -> Wait | None:
    if own is None or wait is None or own == wait:
        return own or wait
    from kvmrun.api.guest.wait_conditions import AllConditions

    return AllConditions(waits=(own, wait))
