"""kvmrun restart: stop guests, then start them as their definitions are now."""

from kvmrun.api.guest.restart import restart
from kvmrun.api.options import StopOptions
from kvmrun.cli.arguments import Args, Parser, add_guests, add_start_options, opened, selected, start_options
from kvmrun.cli.report import exit_code, reporting

HELP = "stop guests and start them as their definitions are now"
TIMEOUT = "as of stop for the end of a guest (60 s), then as of up for its start (60 s for what --wait names)"


def configure(parser: Parser) -> None:
    add_guests(parser, "restart", force="let QEMU quit at once without asking the guest; also with protect = true")
    add_start_options(parser)


def run(args: Args) -> int:
    lab, stopping = opened(args), StopOptions(force=args.force, timeout=args.timeout)
    starting = start_options(args).replace(raw=())
    with reporting(args) as report:
        results = restart(lab, selected(args), stopping, starting, report=report)
    return exit_code(results)
