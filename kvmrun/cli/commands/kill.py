"""kvmrun kill: end a guest's QEMU at once, whatever it is doing."""

from kvmrun.api.guest.kill import kill
from kvmrun.api.options import KillOptions
from kvmrun.cli.arguments import Args, Parser, add_guests, opened, selected
from kvmrun.cli.report import exit_code, reporting

HELP = "end guests at once, like a power cut"
TIMEOUT = "5 s, and 10 s for another command on the guest"


def configure(parser: Parser) -> None:
    add_guests(parser, "kill", force="also guests with protect = true")


def run(args: Args) -> int:
    lab, options = opened(args), KillOptions(force=args.force, timeout=args.timeout)
    with reporting(args) as report:
        results = kill(lab, selected(args), options, report=report)
    return exit_code(results)
