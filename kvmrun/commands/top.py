"""kvmrun top: what guests use, as it changes."""

import json
import sys
import time

from kvmrun.commands import _sample
from kvmrun.commands._lab import directories, open_lab, running
from kvmrun.commands._status import unseen
from kvmrun.commands._tell import Word, tell_one
from kvmrun.commands._words import Args, Parser, pace
from kvmrun.errors import KvmrunError, UsageError
from kvmrun.light.abc import Callable, Iterator
from kvmrun.model.guest.guest_status import SCHEMA
from kvmrun.model.guest.guest_usage import Rates, Sample, Snapshot
from kvmrun.model.guest.paths import Directories
from kvmrun.model.printable import printable
from kvmrun.ui.screen import terminal
from kvmrun.ui.text.caller import fix

HELP = "show what guests use: CPU, memory, disk and network rates"
_FIRST = 0.5
"""The first rates come sooner than the others."""


def configure(parser: Parser) -> None:
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="the format of the output")
    parser.add_argument(
        "-d", "--every", type=float, default=2.0, metavar="SECONDS", help="seconds between two updates (2)"
    )
    parser.add_argument("-n", "--count", type=int, metavar="N", help="print N times instead of showing a live screen")
    parser.add_argument("-a", "--all", action="store_true", help="also print guests that do not run")


def run(args: Args) -> int:
    """The live screen on a terminal; in a pipe, or with -n or -o json, the rates between two looks, printed."""
    if args.count is not None and args.count < 1:
        raise UsageError(f"{args.count} is not a number of times", "-n 1")
    where, every = directories(args), pace(args.every)
    if args.count is None and args.output == "table" and terminal.is_screen():
        return _live(args, where, every)
    if note := unseen(where):
        sys.stderr.write(f"kvmrun: {note}\n")
    before, times = _look(where), args.count or 1
    for _ in range(times):
        time.sleep(every)
        now = _look(where)
        _print(now, before, args)
        before = now
    return 0


def _look(where: Directories) -> Snapshot:
    return _sample.snapshot(where, open_lab(where))


def _print(now: Snapshot, before: Snapshot, args: Args) -> None:
    from kvmrun.ui.screen import top_text

    if args.output == "json":
        sys.stdout.write(json.dumps(_document(now, before), sort_keys=True) + "\n")
    else:
        sys.stdout.write(top_text.plain(now, before, everybody=args.all, details=args.verbose > 0))
    sys.stdout.flush()


def _document(now: Snapshot, before: Snapshot) -> dict[str, object]:
    rates = now.rates(before)
    return {
        "schema": SCHEMA,
        "host": {
            "cpus": now.load.cpus,
            "cpu_percent": now.load.cpu_percent(before.load),
            "memory_bytes": now.load.memory_bytes,
            "used_bytes": now.load.used_bytes,
        },
        "guests": [_guest(sample, rates[sample.status.name]) for sample in now.guests],
    }


def _guest(sample: Sample, rates: Rates) -> dict[str, object]:
    status = sample.status
    return {
        "name": status.name,
        "state": status.state,
        "pid": status.pid,
        "problem": status.problem,
        "cpus": status.cpus,
        "cpu_percent": rates.cpu_percent,
        "memory_bytes": status.memory_bytes,
        "rss_bytes": status.rss_bytes,
        "balloon_bytes": sample.balloon_bytes,
        "drives": [dict(_a_second(one.as_dict())) for one in rates.drives],
        "nics": [dict(_a_second(one.as_dict())) for one in rates.nics],
    }


def _a_second(rates: dict[str, object]) -> Iterator[tuple[str, object]]:
    """Rates as whole numbers, named as what they are."""
    for key, value in rates.items():
        yield (f"{key}_per_s", round(value)) if isinstance(value, float) else (key, value)


def _live(args: Args, where: Directories, every: float) -> int:
    from kvmrun.commands import console
    from kvmrun.ui.screen import fullscreen
    from kvmrun.ui.screen.top_view import Top

    feed = fullscreen.Feed(lambda: _look(where), every, first=min(every, _FIRST))
    view = Top(feed, lambda name, state: _pausing(where, name, state), every)
    view.note = unseen(where)
    while (left := fullscreen.show(view, feed.fd, color=args.color)) == "console":
        try:
            console.run(Args(**vars(args), guest=view.selected, escape="^]", steal=False, unfiltered=False))
        except KvmrunError as error:
            view.note = _in_a_line(error)
    return fullscreen.code(left)


def _pausing(where: Directories, name: str, state: str) -> tuple[str, Callable[[], str]] | None:
    """What p asks and does: a guest that runs is paused, one that is paused goes on."""
    from kvmrun.commands import pause, resume

    if state in {"running", "degraded"}:
        return f"pause {name}?", lambda: _told(where, name, pause.WORD)
    if state == "paused":
        return f"let {name} go on?", lambda: _told(where, name, resume.WORD)
    return None


def _told(where: Directories, name: str, word: Word) -> str:
    try:
        return f"{name} {tell_one(name, running(where, name), word)}"
    except KvmrunError as error:
        return _in_a_line(error)


def _in_a_line(error: KvmrunError) -> str:
    return printable(": ".join(filter(None, [error.message, error.why, fix(error.hint)])), 400)
