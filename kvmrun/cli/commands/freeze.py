"""kvmrun freeze: have a guest write out what it holds, and write no more until it is thawed."""

from kvmrun.api.conversation.freeze import freeze
from kvmrun.cli.arguments import Args, Parser, add_guests, opened, selected
from kvmrun.cli.report import exit_code, reporting

HELP = "flush file systems of guests and stop their writing, to copy their disks"
TIMEOUT = "30 s"


def configure(parser: Parser) -> None:
    add_guests(parser, "freeze")


def run(args: Args) -> int:
    lab = opened(args)
    with reporting(args) as report:
        results = freeze(lab, selected(args), timeout=args.timeout, report=report)
    return exit_code(results)
