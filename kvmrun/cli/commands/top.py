"""kvmrun top: what guests use, as it changes."""

import sys
import time

from kvmrun.api.lab import LabHandle
from kvmrun.api.status.live_status import hidden_guests_note
from kvmrun.api.status.usage import usage
from kvmrun.cli.arguments import Args, Parser, opened, pace
from kvmrun.cli.guest_rows import pasteable
from kvmrun.cli.usage_output import print_usage
from kvmrun.errors import UsageError
from kvmrun.model.guest.guest_usage import UsageSnapshot
from kvmrun.ui.screen import terminal

HELP = "show what guests use: CPU, memory, disk and network rates"


def configure(parser: Parser) -> None:
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="the format of the output")
    every = "seconds between two updates (2)"
    parser.add_argument("-d", "--every", type=float, default=2.0, metavar="SECONDS", help=every)
    parser.add_argument("-n", "--count", type=int, metavar="N", help="print N times instead of showing a live screen")
    parser.add_argument("-a", "--all", action="store_true", help="also print guests that do not run")


def run(args: Args) -> int:
    """The live screen on a terminal; in a pipe, or with -n or -o json, the rates between two looks, printed."""
    if args.count is not None and args.count < 1:
        raise UsageError(f"{args.count} is not a number of times", "-n 1")
    lab, every = opened(args), pace(args.every)
    if args.count is None and args.output == "table" and terminal.is_screen():
        from kvmrun.cli.terminal.top_live import live

        return live(args, lab, lambda: _now(lab), every)
    if note := hidden_guests_note(lab.paths):
        sys.stderr.write(f"kvmrun: {note}\n")
    before = _now(lab)
    for _ in range(args.count or 1):
        time.sleep(every)
        after = _now(lab)
        print_usage(after, before, args)
        before = after
    return 0


def _now(lab: LabHandle) -> UsageSnapshot:
    """What is used by the guests that are defined now."""
    lab.reload()
    now = usage(lab)
    return now.replace(guests=tuple(one.replace(status=pasteable([one.status], lab)[0]) for one in now.guests))
