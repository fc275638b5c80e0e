"""Starting guests together: on networks that are ready, in their order, and waiting for what they are to do."""

import time
from itertools import chain

from kvmrun.commands import _start
from kvmrun.commands._lab import defined, with_accel
from kvmrun.commands._parallel import each
from kvmrun.commands._ready import Networks
from kvmrun.commands._until import Wait
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import KvmrunError, Several
from kvmrun.host.facts.guest_facts import Others
from kvmrun.host.process.signals import noted
from kvmrun.host.rundir import records, rundir
from kvmrun.light.abc import Callable, Iterable, Mapping
from kvmrun.light.contextlib import suppress
from kvmrun.model.deadline import Deadline
from kvmrun.model.guest import start_order
from kvmrun.model.guest.paths import Directories, Place
from kvmrun.model.lab import Lab
from kvmrun.model.value import Frozen
from kvmrun.plan.guest.guest_start import record
from kvmrun.ui.text.progress import Progress, duration

_MANY = 8
"""So many guests take a second to start: a person sees that something goes on."""
_WAIT = "return when COND holds: address, agent, port:NUMBER or console:TEXT; without it, when the guest runs"


def configure(parser: Parser) -> None:
    """The words of every command that starts guests."""
    parser.add_argument("--paused", action="store_true", help="leave the guest paused before its first instruction")
    parser.add_argument(
        "--accel", choices=("kvm", "tcg"), help="use this accelerator instead of that of the definition"
    )
    parser.add_argument("--wait", nargs="?", const="qmp", default="qmp", metavar="COND", help=_WAIT)


def begin(lab: Lab, where: Directories, names: list[str], raw: tuple[str, ...], args: Args) -> dict[str, KvmrunError]:
    """Start `names` as the words on the command line want it; the errors by name, of undefined guests too."""
    wait = _wait(args.wait, args.deadline)
    errors = undefined(lab, names)
    others = Others(where)
    defined = with_accel(lab, args.accel)
    lab = records.in_force(defined, where, others.records())
    before = start_order.untangled(start_order.among({name: one.after for name, one in lab.guests.items()}, names))
    good = [name for name in names if name not in errors]
    if not good:
        return errors
    awaited = set() if args.paused else set(chain.from_iterable(before.values()))
    waits = {name: found for name in good if (found := _both(_own(lab, name, awaited, args.deadline), wait))}
    places = lab.places(where)
    used = {port.network for name in good for port in places[name].ports}
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        for problem in lab.problems:
            if problem.key == "boot.kernel" and problem.warning and problem.file.removesuffix(".toml") in good:
                progress.warn(f"{problem}")
        job = _start.Job(
            lab=lab,
            where=where,
            places=places,
            raw=raw,
            waits=waits,
            paused=args.paused,
            watches={},
            networks=Networks(_look(defined, lab, where, good), where, used, progress.detail),
            others=others,
            deadline=args.deadline,
        )
        return _all(_Order(before=before, awaited=awaited, errors=errors), job, good, progress)


def _look(defined: Lab, lab: Lab, where: Directories, names: list[str]) -> Callable[[], Lab]:
    """The lab by the records there are when it is asked for; those that are being started have theirs soon."""
    places = lab.places(where)
    uplinks = {name: lab.uplinks.get(lab.guests[name].uplink or "") for name in names}
    starting = {name: record(lab.guests[name], places[name], (), uplinks[name]) for name in names}
    return lambda: records.in_force(defined, where, starting=starting)


def undefined(lab: Lab, names: Iterable[str]) -> dict[str, KvmrunError]:
    """What is wrong with those of `names` that cannot be started because of their definitions."""
    errors: dict[str, KvmrunError] = {}
    for name in names:
        try:
            defined(lab, name)
        except KvmrunError as error:
            errors[name] = error
    return errors


class _Order(Frozen):
    """Who comes after whom, who is waited for, and who has failed before the first start."""

    before: start_order.Before
    awaited: set[str]
    errors: Mapping[str, KvmrunError]


def _all(turns: _Order, job: _start.Job, names: list[str], progress: Progress) -> dict[str, KvmrunError]:
    """Start `names` on networks that are ready; networks made for them are undone when none of them started."""

    def one(name: str) -> None:
        _start.start(job, name, progress)
        if name in turns.awaited and name in job.watches:
            progress.detail(f"waiting for {name}: {job.watches[name].what}")
            _finish(job, name, progress)

    with noted() if len(names) > 1 else suppress():
        errors = dict(turns.errors)
        try:
            with job.networks:
                slow = bool(turns.awaited) or len(names) > _MANY
                with progress.waiting(f"starting {', '.join(names)}") if slow else suppress():
                    errors = each(names, one, turns.before, failed=turns.errors)
                if job.networks.error is not None:
                    raise job.networks.error
                if all(name in errors for name in names):
                    raise Several(list(errors.values()))
        except Several:
            return errors
        return errors | _waited(job, progress)


def _waited(job: _start.Job, progress: Progress) -> dict[str, KvmrunError]:
    """Wait for what the started guests are to do, with no lock held."""
    if not job.watches:
        return {}
    watches = dict(job.watches)
    what = ", ".join(f"{name}: {watch.what}" for name, watch in watches.items())
    limit = max(job.waits[name].limit for name in watches)
    with progress.waiting(what, limit=limit, last=_last_line(next(iter(watches.values())).place)):
        return each(list(watches), lambda name: _finish(job, name, progress))


def _last_line(place: Place) -> Callable[[], str]:
    """Reads the last line of the guest's console."""

    def last() -> str:
        from kvmrun.commands._wait import console_lines

        return next(reversed(console_lines(place, rundir.read_record(place.directory))), "")

    return last


def _finish(job: _start.Job, name: str, progress: Progress) -> None:
    begun = time.monotonic()
    job.waits[name].finish(name, job.places[name].directory, job.watches.pop(name))
    progress.tell(f"{name} is ready after {duration(time.monotonic() - begun)}")


def _own(lab: Lab, name: str, awaited: set[str], deadline: Deadline) -> Wait | None:
    """What the guest's own definition calls ready, where others wait for it."""
    return _wait(lab.guests[name].ready, deadline) if name in awaited else None


def _wait(word: str, deadline: Deadline) -> Wait | None:
    """What to wait for beyond what every start waits for; its conditions are loaded only when one is asked for."""
    if word in {"qmp", "running"}:
        return None
    from kvmrun.commands._wait import parse

    return parse(word, deadline)


def _both(own: Wait | None, wait: Wait | None) -> Wait | None:
    if own is None or wait is None or own == wait:
        return own or wait
    from kvmrun.commands._wait import All

    return All(waits=(own, wait))
