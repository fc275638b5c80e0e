"""kvmrun stop: ask a guest to power down, then insist."""

from kvmrun.api.guest.stop import stop
from kvmrun.api.options import StopOptions
from kvmrun.cli.arguments import Args, Parser, add_guests, opened, selected
from kvmrun.cli.report import exit_code, reporting

HELP = "power guests down: ACPI first, then the agent, then quit, then kill"
TIMEOUT = "60 s for a guest to power down; QEMU then has 10 s to quit (2 s with --timeout) before it is killed"


def configure(parser: Parser) -> None:
    add_guests(parser, "stop", force="let QEMU quit at once without asking the guest; also with protect = true")


def run(args: Args) -> int:
    lab, options = opened(args), StopOptions(force=args.force, timeout=args.timeout)
    with reporting(args) as report:
        results = stop(lab, selected(args), options, report=report)
    return exit_code(results)
