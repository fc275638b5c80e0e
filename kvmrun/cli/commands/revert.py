"""kvmrun revert: fresh overlays on the bases of a guest's drives."""

import sys

from kvmrun.api.disk.revert import Reversal, revert_guest
from kvmrun.api.lab import expand_groups
from kvmrun.api.report import Done, Report
from kvmrun.cli.arguments import Args, Parser, named, opened
from kvmrun.cli.report import exit_code, reporting
from kvmrun.errors import KvmrunError, UsageError
from kvmrun.model.printable import printable
from kvmrun.ui.text.prompt import confirm

HELP = "discard what guests wrote to their drives with a base; definition, MAC and addresses stay"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="guests that do not run, or @GROUP")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")


def run(args: Args) -> int:
    """Each guest by itself: one that cannot be reverted does not stop the others. Raises Several."""
    lab = opened(args)
    ask = None if args.yes else _ask
    results: dict[str, Reversal | KvmrunError | None] = {}
    with reporting(args) as report:
        for name in expand_groups(lab.definitions, named(args)):
            try:
                results[name] = revert_guest(lab, name, confirm=ask)
                _tell(report, results[name])
            except KvmrunError as error:
                results[name] = error
    return exit_code(results) or (1 if None in results.values() else 0)


def _tell(report: Report, done: Reversal | KvmrunError | None) -> None:
    if isinstance(done, Reversal):
        images = ", ".join(done.images) or "its first start makes its images"
        report(Done(guest=done.guest, text=f"{done.guest} is reverted: {images}"))
        for path in done.kept:
            report(Done(guest=done.guest, text=f"  kept, because it has no base: {path}"))


def _ask(reversal: Reversal) -> bool:
    """Say what would be lost and ask. Raises UsageError where nobody can be asked."""
    name = reversal.guest
    said = [f"what {name} wrote to these images would be lost:", *(f"  {path}" for path in reversal.images)]
    said += [f"  kept, because it has no base: {path}" for path in reversal.kept]
    sys.stderr.write("".join(f"{printable(line)}\n" for line in said))
    answer = confirm("revert it?", usual=False)
    if answer is None:
        fix = f"kvmrun revert {name} --yes"
        raise UsageError(f"{name} was not reverted", fix, reason="there is no terminal to ask at")
    return answer
