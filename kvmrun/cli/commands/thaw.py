"""kvmrun thaw: let a guest write to its file systems again."""

from kvmrun.api.conversation.freeze import thaw
from kvmrun.cli.arguments import Args, Parser, add_guests, opened, selected
from kvmrun.cli.report import exit_code, reporting

HELP = "let frozen guests write to their file systems again"
TIMEOUT = "30 s"


def configure(parser: Parser) -> None:
    add_guests(parser, "thaw")


def run(args: Args) -> int:
    lab = opened(args)
    with reporting(args) as report:
        results = thaw(lab, selected(args), timeout=args.timeout, report=report)
    return exit_code(results)
