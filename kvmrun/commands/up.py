"""kvmrun NAME...: start guests, side by side."""

import shlex
import sys
from collections.abc import Iterable

from kvmrun.commands import _network, _start
from kvmrun.commands._lab import defined, directories, open_lab, with_accel
from kvmrun.commands._parallel import each
from kvmrun.commands._until import Wait
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import KvmrunError, Several, UsageError
from kvmrun.model.lab import Lab
from kvmrun.model.option import Option, argv
from kvmrun.model.place import Directories
from kvmrun.plan.steps import Launch, Step
from kvmrun.ui.progress import Progress

HELP = "start guests (what kvmrun NAME means)"
_WAIT = "until qmp says running, address answers, or console:TEXT was printed"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="the guests to start")
    parser.add_argument("-a", "--all", action="store_true", help="every guest of the lab")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print plan and QEMU command, change nothing")
    parser.add_argument("--paused", action="store_true", help="leave it paused before its first instruction")
    parser.add_argument("--accel", choices=("kvm", "tcg"), help="the accelerator for this start")
    parser.add_argument("--wait", nargs="?", const="qmp", default="qmp", metavar="COND", help=_WAIT)


def run(args: Args) -> int:
    where = directories(args)
    lab = open_lab(where)
    wait = _wait(args)
    names = sorted([*lab.guests, *lab.invalid]) if args.all else list(dict.fromkeys(args.guests))
    if not names:
        why = f"{lab.directory} has no guests" if args.all else ""
        raise UsageError("no guest to start", "kvmrun NAME, or kvmrun up --all", why=why)
    if args.raw and len(names) > 1:
        raise UsageError("QEMU arguments after -- are for one guest", f"kvmrun {names[0]} -- …")
    errors = _undefined(lab, names)
    lab = with_accel(lab, args.accel)
    good = [name for name in names if name not in errors]
    if args.dry_run:
        for name in good:
            _dry_run(lab, where, name, _raw(args))
    elif good:
        errors |= _all(lab, where, good, args=args, wait=wait)
    if errors:
        raise Several([errors[name] for name in names if name in errors])
    return 0


def _all(lab: Lab, where: Directories, names: list[str], *, args: Args, wait: Wait | None) -> dict[str, KvmrunError]:
    """Start `names` on networks that are ready; networks made for them are undone when none of them started."""
    places = lab.places(where)
    networks = {port.network for name in names for port in places[name].ports}
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        job = _start.Job(lab=lab, where=where, places=places, raw=_raw(args), wait=wait, paused=args.paused, watches={})
        errors: dict[str, KvmrunError] = {}
        try:
            with _network.ready(lab, where, networks, progress.detail):
                errors = each(names, lambda name: _start.start(job, name, progress))
                if len(errors) == len(names):
                    raise Several(list(errors.values()))
        except Several:
            return errors
        return errors | _waited(job, progress)


def _waited(job: _start.Job, progress: Progress) -> dict[str, KvmrunError]:
    """Wait for what the started guests are to do, with no lock held."""
    wait, watches = job.wait, job.watches
    if wait is None or not watches:
        return {}
    what = ", ".join(f"{name}: {watch.what}" for name, watch in watches.items())
    with progress.waiting(what):
        return each(list(watches), lambda name: wait.finish(name, job.places[name].directory, watches[name]))


def _raw(args: Args) -> tuple[str, ...]:
    """The words after --, each to reach QEMU as it is: those of a definition are split like a command line."""
    return tuple(shlex.quote(word) for word in args.raw)


def _wait(args: Args) -> Wait | None:
    """What to wait for beyond what every start waits for; its conditions are loaded only when one is asked for."""
    if args.wait == "qmp":
        return None
    from kvmrun.commands._wait import parse

    return parse(args.wait, args.timeout)


def _undefined(lab: Lab, names: Iterable[str]) -> dict[str, KvmrunError]:
    errors: dict[str, KvmrunError] = {}
    for name in names:
        try:
            defined(lab, name)
        except KvmrunError as error:
            errors[name] = error
    return errors


def _dry_run(lab: Lab, where: Directories, name: str, raw: tuple[str, ...]) -> None:
    place = lab.places(where)[name]
    network_steps, guest_steps = _start.plan(lab, where, place, raw)
    write = sys.stdout.write
    write(f"# {name}: what would be done\n")
    steps: list[Step] = [*network_steps, *guest_steps]
    for number, step in enumerate(steps, 1):
        write(f"# {number:2}. {step}\n")
    launch = next(step for step in guest_steps if isinstance(step, Launch))
    write(spell(launch.qemu, launch.options, launch.raw))


def spell(qemu: str, options: Iterable[Option], raw: Iterable[str]) -> str:
    """The QEMU command as a person would type it, one option a line."""
    words = [(qemu,), *argv(options, None), *(tuple(shlex.split(word)) for word in raw)]
    return " \\\n  ".join(" ".join(shlex.quote(word) for word in option) for option in words) + "\n"
