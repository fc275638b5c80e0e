"""kvmrun --list: every guest and what it is doing."""

import sys
import time

from kvmrun.api.lab import LabHandle
from kvmrun.api.options import StatusOptions
from kvmrun.api.status.guest_list import rows, unknown_guests
from kvmrun.api.status.live_status import hidden_guests_note
from kvmrun.cli.arguments import Args, Parser, opened, pace
from kvmrun.cli.guest_rows import pasteable, refuse_missing_lab, show, view
from kvmrun.errors import Several
from kvmrun.model.guest.guest_status import Status

HELP = "list all guests with their live state; -v adds how each is confined"
TIMEOUT = "2 s for all guests together"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="guests to list, or @GROUP; all if none is named")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="the format of the output")
    parser.add_argument("-a", "--all", action="store_true", help="guests that do not run too, as without it")
    parser.add_argument("--all-labs", action="store_true", help="also list the guests of every other lab on this host")
    every = "update the list every SECONDS (2)"
    parser.add_argument("-w", "--watch", nargs="?", type=float, const=2.0, metavar="SECONDS", help=every)


def run(args: Args) -> int:
    lab = opened(args)
    every = None if args.watch is None else pace(args.watch)
    errors = unknown_guests(lab, args.guests)
    if every is not None and args.output == "table":
        from kvmrun.ui.screen import guest_watch, terminal

        if terminal.is_screen():
            return guest_watch.watch_guests(
                lambda: _found(lab, args), view(args), every, hidden_guests_note(lab.paths), color=args.color
            )
    while True:
        found = _found(lab, args)
        refuse_missing_lab(lab.paths.vms, args, found)
        show(found, args, lab.paths.vms)
        if note := hidden_guests_note(lab.paths):
            sys.stderr.write(f"kvmrun: {note}\n")
        if errors:
            raise Several(errors)
        if every is None:
            return 0
        sys.stdout.flush()
        time.sleep(every)


def _found(lab: LabHandle, args: Args) -> list[Status]:
    lab.reload()
    more = args.verbose > 0
    found = rows(lab, args.guests or None, StatusOptions(all_labs=args.all_labs, confinement=more, agents=more))
    return pasteable(found, lab, all_labs=args.all_labs)
