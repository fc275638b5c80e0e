"""kvmrun NAME...: start guests, side by side."""

from kvmrun.api.guest.start import start
from kvmrun.cli.arguments import Args, Parser, add_start_options, opened, start_options
from kvmrun.cli.report import exit_code, reporting
from kvmrun.cli.start_names import start_names
from kvmrun.errors import UsageError

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
    add_start_options(parser)


def run(args: Args) -> int:
    lab, options = opened(args), start_options(args)
    names = start_names(lab, args)
    if args.output == "json" and not args.dry_run:
        raise UsageError("-o json is the form of a dry run", "kvmrun list -o json prints what runs")
    if args.dry_run:
        from kvmrun.cli.start_dry_run import dry_run

        return dry_run(lab, names, options, as_json=args.output == "json")
    with reporting(args) as report:
        results = start(lab, names, options, report=report)
    return exit_code(results)
