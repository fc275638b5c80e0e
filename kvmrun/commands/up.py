"""kvmrun NAME...: start guests, side by side."""

import sys

from kvmrun.commands import _begin, _start
from kvmrun.commands._end import refuse_names
from kvmrun.commands._lab import directories, expanded, is_known, open_lab, with_accel
from kvmrun.commands._ready import are_there
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import KvmrunError, Several, UsageError
from kvmrun.host.facts.guest_facts import Others
from kvmrun.host.rundir import records
from kvmrun.light.abc import Iterable, Mapping
from kvmrun.model.guest.paths import Directories, Place
from kvmrun.model.guest.qemu_option import Option, argv
from kvmrun.model.lab import Lab
from kvmrun.model.printable import printable
from kvmrun.model.value import Frozen
from kvmrun.plan.guest.guest_start import halves
from kvmrun.plan.steps.guest_steps import Launch

HELP = "start guests; kvmrun NAME does the same"
TIMEOUT = "60 s for what --wait names, 30 s for QEMU to answer, 10 s for another command on the guest"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="the guests to start, or @GROUP")
    parser.add_argument("-a", "--all", action="store_true", help="every guest of the lab")
    parser.add_argument("--autostart", action="store_true", help="every guest with autostart = true")
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="print the steps and the QEMU command; change nothing"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="the format of --dry-run")
    _begin.configure(parser)


def run(args: Args) -> int:
    where = directories(args)
    lab = open_lab(where)
    names = _named(lab, args)
    if args.output == "json" and not args.dry_run:
        raise UsageError("-o json is the form of a dry run", "kvmrun list -o json prints what runs")
    if args.raw and len(names) > 1:
        raise UsageError("QEMU arguments after -- are for one guest", f"kvmrun {names[0]} -- …")
    errors = _dry_runs(lab, where, names, args) if args.dry_run else _begin.begin(lab, where, names, _raw(args), args)
    if errors:
        raise Several([errors[name] for name in names if name in errors])
    return 0


def _named(lab: Lab, args: Args) -> list[str]:
    """The guests the words mean, those too that are not known. Raises UsageError and NoSuchGuest."""
    if args.implied and any(not is_known(lab, word) for word in args.guests):
        from kvmrun.commands._foreign import refuse  # not for those who typed what there is

        refuse(lab, args)
    if args.all and args.autostart:
        raise UsageError("--all cannot be combined with --autostart", "kvmrun up --autostart")
    for flag, given in (("--all", args.all), ("--autostart", args.autostart)):
        if given:
            refuse_names(args, flag)
    if args.all:
        names = sorted([*lab.guests, *lab.invalid])
    elif args.autostart:
        return sorted(name for name, guest in lab.guests.items() if guest.autostart)
    else:
        names = expanded(lab, args.guests)
    if names:
        return names
    why = f"{lab.directory} has no guests" if args.all else ""
    raise UsageError("no guest was named", "Name at least one guest, or use kvmrun up --all.", why=why)


def _raw(args: Args) -> tuple[str, ...]:
    """The words after --, each to reach QEMU as it is: those of a definition are split like a command line."""
    if not args.raw:
        return ()
    import shlex  # 2 ms that only those who give such words should pay

    return tuple(shlex.quote(word) for word in args.raw)


def _dry_runs(lab: Lab, where: Directories, names: list[str], args: Args) -> dict[str, KvmrunError]:
    errors = _begin.undefined(lab, names)
    others = Others(where)
    lab = records.in_force(with_accel(lab, args.accel), where, others.records())
    places = lab.places(where)
    plans: dict[str, list[Frozen]] = {}
    shared = _Shared(lab, where, others)
    for name in names:
        if name not in errors:
            try:
                plans[name] = _planned(shared, places[name], _raw(args))
            except KvmrunError as error:
                errors[name] = error
    (_show_json if args.output == "json" else _show)(plans)
    return errors


class _Shared:
    """What the plans of one command share: the host is looked at once for all of them."""

    def __init__(self, lab: Lab, where: Directories, others: Others) -> None:
        self.lab = lab
        self.where = where
        self.others = others
        self._networks: dict[str, tuple[Frozen, ...]] = {}

    def steps(self, network: str) -> tuple[Frozen, ...]:
        """What is still to be done for that network."""
        if network not in self._networks:
            from kvmrun.commands import _network

            self._networks[network] = _network.steps(self.lab, self.where, network)
        return self._networks[network]


def _planned(shared: _Shared, place: Place, raw: tuple[str, ...]) -> list[Frozen]:
    """What a start would do, in its order: with the network between the halves, or first where it is down."""
    names = sorted({port.network for port in place.ports})
    networks = [step for network in names for step in shared.steps(network)]
    now, then = halves(_start.plan(shared.lab, shared.where, place, raw, shared.others)[1])
    return [*now, *networks, *then] if are_there(shared.lab, names) else [*networks, *now, *then]


def _show(plans: Mapping[str, list[Frozen]]) -> None:
    write = sys.stdout.write
    for name, steps in plans.items():
        write(f"# {name}: what would be done\n")
        for number, step in enumerate(steps, 1):
            write(f"# {number:2}. {step}\n")
        launch = _launch(steps)
        write("# the QEMU command for reading: paths and names where kvmrun passes descriptors\n")
        write(spell(launch.qemu, launch.options, launch.raw))


def _show_json(plans: Mapping[str, list[Frozen]]) -> None:
    from kvmrun.ui.text.output import dump

    found = []
    for name, steps in plans.items():
        launch = _launch(steps)
        command = [word for words in _words(launch.qemu, launch.options, launch.raw) for word in words]
        found.append({"name": name, "steps": [f"{step}" for step in steps], "command": command})
    dump({"schema": 1, "guests": found})


def _launch(steps: Iterable[Frozen]) -> Launch:
    return next(step for step in steps if isinstance(step, Launch))


def spell(qemu: str, options: Iterable[Option], raw: Iterable[str]) -> str:
    """The QEMU command for people to read, one option a line."""
    import shlex

    lines = (" ".join(shlex.quote(word) for word in option) for option in _words(qemu, options, raw))
    return " \\\n  ".join(printable(line, 10 * len(line) + 1) for line in lines) + "\n"


def _words(qemu: str, options: Iterable[Option], raw: Iterable[str]) -> list[tuple[str, ...]]:
    """The same, one option a tuple."""
    import shlex

    return [(qemu,), *argv(options, None), *(tuple(shlex.split(word)) for word in raw)]
