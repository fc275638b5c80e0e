"""kvmrun revert: fresh overlays on the bases of a guest's drives."""

from kvmrun.api.disk.revert import Reversal, revert_guest
from kvmrun.api.lab import expand_groups
from kvmrun.api.report import Done, Report
from kvmrun.cli.arguments import Args, Parser, named, opened
from kvmrun.cli.terminal.confirmed_change import ask, change_each

HELP = "discard what guests wrote to their drives with a base; definition, MAC and addresses stay"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="guests that do not run, or @GROUP")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")


def run(args: Args) -> int:
    """Each guest by itself. Raises Several."""
    lab, confirm = opened(args), None if args.yes else _ask
    names = expand_groups(lab.definitions, named(args))
    return change_each(args, names, lambda name: revert_guest(lab, name, confirm=confirm), _tell)


def _tell(report: Report, done: Reversal) -> None:
    images = ", ".join(done.images) or "its first start makes its images"
    report(Done(guest=done.guest, text=f"{done.guest} is reverted: {images}"))
    for path in done.kept:
        report(Done(guest=done.guest, text=f"  kept, because it has no base: {path}"))


def _ask(reversal: Reversal) -> bool:
    name = reversal.guest
    said = [f"what {name} wrote to these images would be lost:", *(f"  {path}" for path in reversal.images)]
    said += [f"  kept, because it has no base: {path}" for path in reversal.kept]
    return ask(said, "revert it?", undone=f"{name} was not reverted", fix=f"kvmrun revert {name} --yes")
