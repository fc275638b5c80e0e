"""kvmrun --list: every guest and what it is doing."""

import os
import sys
import time

from kvmrun.commands._lab import directories, expanded, is_known, no_such_guest, open_lab, own, refuse_other
from kvmrun.commands._status import gather, seen, unseen
from kvmrun.commands._words import Args, Parser, pace
from kvmrun.errors import ConfigError, KvmrunError, Several
from kvmrun.light import json
from kvmrun.model.guest.guest_status import SCHEMA, Status
from kvmrun.model.guest.paths import Directories
from kvmrun.ui.text import guest_columns

HELP = "list all guests with their live state; -v adds how each is confined"
TIMEOUT = "2 s for all guests together"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="guests to list, or @GROUP; all if none is named")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="the format of the output")
    parser.add_argument("-a", "--all", action="store_true", help="guests that do not run too, as without it")
    parser.add_argument("--all-labs", action="store_true", help="also list the guests of every other lab on this host")
    parser.add_argument(
        "-w", "--watch", nargs="?", type=float, const=2.0, metavar="SECONDS", help="update the list every SECONDS (2)"
    )


def run(args: Args) -> int:
    where = directories(args)
    every = None if args.watch is None else pace(args.watch)
    unknown = _unknown(where, args)
    if every is not None and args.output == "table":
        from kvmrun.ui.screen import guest_watch, terminal

        if terminal.is_screen():
            return guest_watch.watch(lambda: _found(where, args), _view(args), every, unseen(where), color=args.color)
    while True:
        found = _found(where, args)
        _refuse_missing(where, args, found)
        show(found, args)
        if note := unseen(where):
            sys.stderr.write(f"kvmrun: {note}\n")
        if unknown:
            raise Several(unknown)
        if every is None:
            return 0
        sys.stdout.flush()
        time.sleep(every)


def _refuse_missing(where: Directories, args: Args, found: list[Status]) -> None:
    """Raises ConfigError for a directory that was named and is not there, unless guests of it run."""
    if (args.vms or os.environ.get("KVMRUN_VMS")) and not found and not os.path.isdir(where.vms):
        raise ConfigError(f"{where.vms} does not exist", "name the directory of a lab; kvmrun init DIR writes one")


def _unknown(where: Directories, args: Args) -> list[KvmrunError]:
    """An error for each word that names no guest."""
    if not args.guests:
        return []
    lab, here = open_lab(where), seen(where)
    names = expanded(lab, args.guests)
    found: list[KvmrunError] = []
    for name in (one for one in names if not is_known(lab, one)):
        try:
            refuse_other(where, name)
        except KvmrunError as other:
            found.append(other)
            continue
        found += [] if name in here else [no_such_guest(lab, name)]
    return found


def _found(where: Directories, args: Args) -> list[Status]:
    lab = open_lab(where)
    names = expanded(lab, args.guests) if args.guests else None
    here = seen(where) if names else {}
    here = {one: here[one] for one in own(where, here)}
    found = gather(where, lab, names and [one for one in names if is_known(lab, one) or one in here])
    if args.all_labs:
        from kvmrun.commands import _labs

        found = _labs.added(found, where)
    if args.verbose:
        from kvmrun.commands import _agents, _posture

        here = seen(where)
        return _agents.added(_posture.added(found, where, here), here)
    return found


def _view(args: Args) -> guest_columns.View:
    view = guest_columns.POSTURE if args.verbose else guest_columns.LIVE
    return guest_columns.with_lab(view) if args.all_labs else view


def show(found: list[Status], args: Args) -> None:
    """Print the rows as the words on the command line want them."""
    if args.output == "json":
        document = {"schema": SCHEMA, "guests": [one.to_json() for one in found]}
        sys.stdout.write(json.dumps(document, sort_keys=True) + "\n")
    elif sys.stdout.isatty() or args.color == "always":
        from kvmrun.ui.text.guest_table import draw

        draw(found, _view(args), color=args.color)
    else:
        sys.stdout.write(guest_columns.plain(found, _view(args)))
