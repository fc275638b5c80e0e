"""kvmrun log NAME: what a guest's console printed and QEMU said, kept also after its end."""

import sys

from kvmrun.api.conversation.guest_log import follow_log, read_log, restart_logger
from kvmrun.api.lab import LabHandle, expand_groups
from kvmrun.cli.arguments import Args, Parser, named, opened
from kvmrun.cli.log_output import print_lines, print_title
from kvmrun.cli.report import exit_code
from kvmrun.errors import KvmrunError, UsageError

HELP = "print what the serial console of a guest and QEMU printed"
TIMEOUT = "none; -f follows until the guest ends"
_LINES = 100


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="guests, running or not, or @GROUP")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="follow the log of one guest until it ends or Ctrl-C is pressed"
    )
    last = "print so many of the last lines (100)"
    parser.add_argument("-n", "--lines", type=int, default=_LINES, metavar="LINES", help=last)
    parser.add_argument("--raw", dest="unfiltered", action="store_true", help="print every byte as it was received")
    text = "json: one object per line of the log"
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help=text)
    parser.add_argument("--restart", action="store_true", help="replace the logger of a running guest if it has died")


def run(args: Args) -> int:
    """One guest after the other: one that has no log does not stop the others. Raises Several."""
    lab, names = opened(args), named(args)
    if any(name.startswith("@") for name in names):
        names = expand_groups(lab.definitions, names)
    if args.follow and len(names) > 1:
        raise UsageError(
            "--follow follows one guest", f"kvmrun log --follow {names[0]}", reason=f"{len(names)} are named"
        )
    errors: dict[str, KvmrunError] = {}
    for name in names:
        try:
            if len(names) > 1 and not args.restart:
                print_title(name, args, first=name == names[0])
            _one(lab, name, args)
        except KvmrunError as error:
            errors[name] = error
    return exit_code(errors)


def _one(lab: LabHandle, name: str, args: Args) -> None:
    if args.restart:
        done = restart_logger(lab, name)
        if not args.quiet:
            sys.stdout.write(f"{name} has {'a new logger' if done else 'its logger, nothing to do'}\n")
    elif args.follow:
        for lines in follow_log(lab, name, lines=args.lines, timeout=args.timeout):
            print_lines(name, lines, args)
            sys.stdout.flush()
    else:
        print_lines(name, read_log(lab, name, lines=args.lines), args)
