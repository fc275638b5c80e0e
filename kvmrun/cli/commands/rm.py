"""kvmrun rm: remove a guest's definition and what belongs to nobody else."""

from kvmrun.api.definition.remove_guest import Removal, remove_guest
from kvmrun.api.report import Done, Report
from kvmrun.cli.arguments import Args, Parser, named, opened
from kvmrun.cli.terminal.confirmed_change import ask, change_each

HELP = "remove a guest: its definition and log; its images only with --images"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="guests, which must not run without --force")
    parser.add_argument(
        "--images", action="store_true", help="also remove images that kvmrun created and no other guest uses"
    )
    parser.add_argument(
        "-f", "--force", action="store_true", help="let QEMU quit at once where the guest runs, and do not ask"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")


def run(args: Args) -> int:
    """Each guest by itself. Raises Several."""
    lab, confirm = opened(args), None if args.yes or args.force else _ask

    def remove(name: str) -> Removal | None:
        return remove_guest(lab, name, images=args.images, force=args.force, confirm=confirm)

    return change_each(args, named(args), remove, _tell)


def _tell(report: Report, done: Removal) -> None:
    report(Done(text=f"{done.guest} is removed: {', '.join(done.paths)}"))
    for path in done.kept:
        report(Done(text=f"  kept: {path}"))


def _ask(removal: Removal) -> bool:
    name = removal.guest
    said = [f"{name} would be removed:", *(f"  {path}" for path in removal.paths)]
    said += [f"  kept: {path}" for path in removal.kept]
    return ask(said, "remove it?", undone=f"{name} was not removed", fix=f"kvmrun rm {name} --yes")
