"""kvmrun resume: let a paused guest go on."""

from kvmrun.api.guest.pause_resume_reset import resume
from kvmrun.cli.arguments import Args, Parser, add_guests, opened, selected
from kvmrun.cli.report import exit_code, reporting

HELP = "resume paused guests"
TIMEOUT = "5 s"


def configure(parser: Parser) -> None:
    add_guests(parser, "resume")


def run(args: Args) -> int:
    lab = opened(args)
    with reporting(args) as report:
        results = resume(lab, selected(args), timeout=args.timeout, report=report)
    return exit_code(results)
