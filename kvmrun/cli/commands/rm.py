"""kvmrun rm: remove a guest's definition and what belongs to nobody else."""

import sys

from kvmrun.api.definition.remove_guest import Removal, remove_guest
from kvmrun.api.report import Done, Report
from kvmrun.cli.arguments import Args, Parser, named, opened
from kvmrun.cli.report import exit_code, reporting
from kvmrun.errors import KvmrunError, UsageError
from kvmrun.model.printable import printable
from kvmrun.ui.text.prompt import confirm

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
    """Each guest by itself: one that cannot be removed does not stop the others. Raises Several."""
    lab = opened(args)
    ask = None if args.yes or args.force else _ask
    results: dict[str, Removal | KvmrunError | None] = {}
    with reporting(args) as report:
        for name in named(args):
            try:
                results[name] = remove_guest(lab, name, images=args.images, force=args.force, confirm=ask)
                _tell(report, results[name])
            except KvmrunError as error:
                results[name] = error
    return exit_code(results) or (1 if None in results.values() else 0)


def _tell(report: Report, done: Removal | KvmrunError | None) -> None:
    if isinstance(done, Removal):
        report(Done(text=f"{done.guest} is removed: {', '.join(done.paths)}"))
        for path in done.kept:
            report(Done(text=f"  kept: {path}"))


def _ask(removal: Removal) -> bool:
    """Say what would go and ask. Raises UsageError where nobody can be asked."""
    name = removal.guest
    said = [f"{name} would be removed:", *(f"  {path}" for path in removal.paths)]
    said += [f"  kept: {path}" for path in removal.kept]
    sys.stderr.write("".join(f"{printable(line)}\n" for line in said))
    answer = confirm("remove it?", usual=False)
    if answer is None:
        raise UsageError(f"{name} was not removed", f"kvmrun rm {name} --yes", reason="there is no terminal to ask at")
    return answer
