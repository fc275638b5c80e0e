"""kvmrun log NAME: what a guest's console printed and QEMU said, kept also after its end."""

import re
import sys
from collections.abc import Iterable

from kvmrun.api.conversation.guest_log import follow_log, read_log, restart_logger
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.json_output import print_document
from kvmrun.model.printable import printable
from kvmrun.ui.text import stdio

HELP = "print what the serial console of a guest and QEMU printed"
TIMEOUT = "none; -f follows until the guest ends"
_LINES = 100
_STYLE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][AB0]|\x1b[=>]")
"""Colours and cursor movements mean nothing in a log; whatever else is in it is shown as an escape."""


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a guest, running or not")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="follow the log until the guest ends or Ctrl-C is pressed"
    )
    parser.add_argument(
        "-n", "--lines", type=int, default=_LINES, metavar="LINES", help="print so many of the last lines (100)"
    )
    parser.add_argument("--raw", dest="unfiltered", action="store_true", help="print every byte as it was received")
    text = "json: one object per line of the log"
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help=text)
    parser.add_argument("--restart", action="store_true", help="replace the logger of a running guest if it has died")


def run(args: Args) -> int:
    lab = opened(args)
    if args.restart:
        done = restart_logger(lab, args.guest)
        if not args.quiet:
            sys.stdout.write(f"{args.guest} has {'a new logger' if done else 'its logger, nothing to do'}\n")
    elif args.follow:
        for lines in follow_log(lab, args.guest, lines=args.lines, timeout=args.timeout):
            _print(lines, args)
            sys.stdout.flush()
    else:
        _print(read_log(lab, args.guest, lines=args.lines), args)
    return 0


def _print(lines: Iterable[bytes], args: Args) -> None:
    if args.unfiltered and args.output == "text":
        stdio.write(1, b"".join(line + b"\n" for line in lines))
        return
    for line in lines:
        text = line.decode(errors="replace")
        if args.output == "json":
            print_document(guest=args.guest, line=text.rstrip("\r"))
        else:
            text = _STYLE.sub("", text).rstrip("\r")
            sys.stdout.write(printable(text, limit=10 * len(text) + 1) + "\n")
