"""kvmrun clone: another guest like one that does not run, with the content of its drives."""

from kvmrun.api.disk.clone import clone_guest
from kvmrun.api.options import CloneOptions
from kvmrun.api.report import Done
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.report import reporting

HELP = "copy a guest with the content of its drives; UUID, MAC and address are its own"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a guest that does not run")
    parser.add_argument("new", metavar="NEW", help="the name of the new guest")
    parser.add_argument(
        "--full", action="store_true", help="copy also what is in the bases, so that the new guest needs none of them"
    )


def run(args: Args) -> int:
    with reporting(args) as report:
        options = CloneOptions(full=args.full, timeout=args.timeout)
        done = clone_guest(opened(args), args.guest, args.new, options, report)
        report(Done(guest=args.new, text=f"{done.path} is written"))
        for image in done.images:
            report(Done(guest=args.new, text=f"  {image}"))
        for change in done.changes:
            report(Done(guest=args.new, text=f"  {change}"))
    return 0
