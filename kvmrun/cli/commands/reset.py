"""kvmrun reset: press a guest's reset button."""

from kvmrun.api.guest.pause_resume_reset import reset
from kvmrun.cli.arguments import Args, Parser, add_guests, opened, selected
from kvmrun.cli.report import exit_code, reporting

HELP = "reset guests, as with the reset button"
TIMEOUT = "5 s"


def configure(parser: Parser) -> None:
    add_guests(parser, "reset", force="also guests with protect = true")


def run(args: Args) -> int:
    lab = opened(args)
    with reporting(args) as report:
        results = reset(lab, selected(args), force=args.force, timeout=args.timeout, report=report)
    return exit_code(results)
