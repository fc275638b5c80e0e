"""kvmrun pause: stop a guest's processors where they are."""

from kvmrun.api.guest.pause_resume_reset import pause
from kvmrun.cli.arguments import Args, Parser, add_guests, opened, selected
from kvmrun.cli.report import exit_code, reporting

HELP = "pause guests: their processors stop"
TIMEOUT = "5 s"


def configure(parser: Parser) -> None:
    add_guests(parser, "pause")


def run(args: Args) -> int:
    lab = opened(args)
    with reporting(args) as report:
        results = pause(lab, selected(args), timeout=args.timeout, report=report)
    return exit_code(results)
