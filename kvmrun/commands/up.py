"""kvmrun NAME...: start guests, side by side."""

import sys
from collections.abc import Iterable

from kvmrun import commands
from kvmrun.commands import _begin, _start
from kvmrun.commands._lab import directories, expanded, open_lab, with_accel
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import KvmrunError, NoSuchGuest, Several, UsageError
from kvmrun.model.lab import Lab
from kvmrun.model.option import Option, argv
from kvmrun.model.place import Directories
from kvmrun.model.suggest import closest
from kvmrun.model.text import printable
from kvmrun.plan.steps import Launch, Step

HELP = "start guests (what kvmrun NAME means)"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="the guests to start, or @GROUP")
    parser.add_argument("-a", "--all", action="store_true", help="every guest of the lab")
    parser.add_argument("--autostart", action="store_true", help="every guest with autostart = true")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print plan and QEMU command, change nothing")
    _begin.configure(parser)


def run(args: Args) -> int:
    where = directories(args)
    lab = open_lab(where)
    names = _named(lab, args)
    if args.raw and len(names) > 1:
        raise UsageError("QEMU arguments after -- are for one guest", f"kvmrun {names[0]} -- …")
    errors = _dry_runs(lab, where, names, args) if args.dry_run else _begin.begin(lab, where, names, _raw(args), args)
    if errors:
        raise Several([errors[name] for name in names if name in errors])
    return 0


def _named(lab: Lab, args: Args) -> list[str]:
    if args.all:
        names = sorted([*lab.guests, *lab.invalid])
    elif args.autostart:
        names = sorted(name for name, guest in lab.guests.items() if guest.autostart)
    else:
        _refuse_a_command(lab, args.guests[:1])
        names = expanded(lab, args.guests)
    if names or (args.autostart and not args.all):
        return names
    why = f"{lab.directory} has no guests" if args.all else ""
    raise UsageError("no guest to start", "kvmrun NAME, or kvmrun up --all", why=why)


def _refuse_a_command(lab: Lab, words: list[str]) -> None:
    """A mistyped command starts nothing: `kvmrun sotp vm1` is not for starting vm1. Raises NoSuchGuest."""
    for word in words:
        known = word in lab.guests or word in lab.invalid or word.startswith("@")
        if not known and (command := commands.meant(word)):
            near = closest(word, [*lab.guests, *lab.invalid])
            hint = f"did you mean kvmrun {command}{f', or the guest {near}' if near else ''}?"
            what = f"{printable(word, 60)} is no command, and there is no guest of that name"
            raise NoSuchGuest(what, hint, why=f"{lab.directory} has no {printable(word, 60)}.toml")


def _raw(args: Args) -> tuple[str, ...]:
    """The words after --, each to reach QEMU as it is: those of a definition are split like a command line."""
    if not args.raw:
        return ()
    import shlex  # 2 ms that only those who give such words should pay

    return tuple(shlex.quote(word) for word in args.raw)


def _dry_runs(lab: Lab, where: Directories, names: list[str], args: Args) -> dict[str, KvmrunError]:
    errors = _begin.undefined(lab, names)
    lab = with_accel(lab, args.accel)
    for name in names:
        if name not in errors:
            _dry_run(lab, where, name, _raw(args))
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
    import shlex

    words = [(qemu,), *argv(options, None), *(tuple(shlex.split(word)) for word in raw)]
    lines = (" ".join(shlex.quote(word) for word in option) for option in words)
    return " \\\n  ".join(printable(line, 10 * len(line) + 1) for line in lines) + "\n"
