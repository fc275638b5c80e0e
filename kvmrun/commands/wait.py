"""kvmrun wait NAME --for COND: until a guest is as one wants it."""

import time

from kvmrun.commands import _end
from kvmrun.commands._lab import directories, expanded, open_lab, place_of, running
from kvmrun.commands._owner import elsewhere
from kvmrun.commands._parallel import each
from kvmrun.commands._wait import Condition, condition
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import KvmrunError, UsageError
from kvmrun.host.rundir import rundir
from kvmrun.model.guest.paths import Directories
from kvmrun.model.printable import printable
from kvmrun.ui.text.output import dump
from kvmrun.ui.text.progress import Progress, duration

HELP = "wait until guests run, answer, accept connections, print a text, or have ended"
TIMEOUT = "60 s"
_FOR = "the condition: running (the default), address, agent, port:NUMBER, console:TEXT or stopped"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="the guests to wait for, or @GROUP")
    parser.add_argument("--for", dest="condition", default="running", metavar="COND", help=_FOR)
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="json: which guests meet the condition"
    )


def run(args: Args) -> int:
    """Raises Several with Unresponsive for a guest that is not so within --timeout (60 s)."""
    where = directories(args)
    wanted = condition(args.condition, args.deadline)
    if not args.guests:
        raise UsageError("no guest was named", "Name at least one guest: kvmrun wait NAME --for address")
    lone = not any(word.startswith("@") for word in args.guests)
    names = list(dict.fromkeys(args.guests)) if lone else expanded(open_lab(where), args.guests)
    what = f"{', '.join(names)}: {args.condition}"
    with (
        Progress(quiet=args.quiet or args.output == "json", verbose=args.verbose) as progress,
        progress.waiting(what, limit=wanted.limit),
    ):
        errors = each(names, lambda name: _wait(where, name, wanted, progress))
    if args.output == "json":
        met = [{"name": name, "met": name not in errors, "problem": _problem(errors.get(name))} for name in names]
        dump({"schema": 1, "condition": args.condition, "guests": met})
    return _end.report(names, errors)


def _problem(error: KvmrunError | None) -> str | None:
    return printable(f"{error.message}{f': {error.why}' if error.why else ''}") if error else None


def _wait(where: Directories, name: str, wanted: Condition, progress: Progress) -> None:
    if wanted.kind == "stopped" and name in rundir.names(where.run) and not rundir.is_running(where.guest(name)):
        progress.tell(f"{name} is stopped already")
        return
    place = place_of(where, name)
    if not rundir.is_running(place.directory) and (error := elsewhere(where, name)):
        raise error
    if wanted.kind not in {"running", "stopped"}:
        running(where, name)
    begun = time.monotonic()
    wanted.finish(name, place.directory, wanted.begin(place, running=True))
    state = wanted.kind if wanted.kind in {"running", "stopped"} else "ready"
    progress.tell(f"{name} is {state} after {duration(time.monotonic() - begun)}")
