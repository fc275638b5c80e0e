"""kvmrun log NAME: what a guest's console printed and QEMU said, kept also after its end."""

import re
import sys
import time
from functools import partial

from kvmrun.commands._lab import directories, no_such_guest, open_lab, place_of, running
from kvmrun.commands._owner import elsewhere
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import NotRunning, OtherLab, UsageError
from kvmrun.host.files import ownership
from kvmrun.host.process import log_reader, process
from kvmrun.host.rundir import rundir
from kvmrun.light.abc import Callable, Iterable
from kvmrun.light.contextlib import ExitStack
from kvmrun.model.guest.paths import Directories
from kvmrun.model.lab import Lab
from kvmrun.model.printable import printable
from kvmrun.model.scalars import GuestName
from kvmrun.ui.text import stdio
from kvmrun.ui.text.output import dump

HELP = "print what the serial console of a guest and QEMU printed"
TIMEOUT = "none; -f follows until the guest ends"
_LINES = 100
_LOGGER_ENDS = 2.0
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
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "json"),
        default="text",
        help="json: one object per line of the log",
    )
    parser.add_argument("--restart", action="store_true", help="replace the logger of a running guest if it has died")


def run(args: Args) -> int:
    where = directories(args)
    if args.lines < 0:
        raise UsageError(f"{args.lines} is not a number of lines", "-n 100")
    if args.restart:
        return _restart(where, args)
    directory = ownership.log(where, _known(where, args.guest))
    if not rundir.is_running(where.guest(args.guest)) and (error := elsewhere(where, args.guest)):
        raise error  # a log of ours would be that of an earlier life
    if not args.follow and not log_reader.is_there(directory):
        raise NotRunning(f"{args.guest} has no log", f"kvmrun {args.guest} starts it")
    write = partial(_objects, args.guest) if args.output == "json" else _raw if args.unfiltered else _shown
    with log_reader.Reader(directory) as reader:
        write(reader.last(args.lines))
        if args.follow:
            _follow(reader, where, args, write)
    return 0


def _known(where: Directories, name: str) -> str:
    """The name of a guest that is defined, or has left a log. Raises NoSuchGuest."""
    left = GuestName.fits(name) and log_reader.is_there(ownership.log(where, name))
    lab = Lab(directory=where.vms) if left else open_lab(where)
    if left or name in lab.guests or name in lab.invalid:
        return name
    if GuestName.fits(name) and (other := ownership.other(where.state, "log", name, where.lab)):
        raise OtherLab(f"the log of {name} is another lab's", other, name, why=f"it is of a guest of the lab {other}")
    raise no_such_guest(lab, name)


def _follow(
    reader: log_reader.Reader, where: Directories, args: Args, write: Callable[[Iterable[bytes]], None]
) -> None:
    """Until the guest ends, or for --timeout seconds; one that does not run is waited for."""
    name = args.guest
    with ExitStack() as held:
        guest: int | None = None
        for lines in log_reader.followed(reader):
            write(lines)
            sys.stdout.flush()
            if args.deadline.is_over():
                return
            if guest is None:
                guest = held.enter_context(rundir.opened(where.guest(name)))
            elif process.ended(guest, 0):
                break
    deadline = time.monotonic() + _LOGGER_ENDS
    while log_reader.is_kept(where.log(name)) and time.monotonic() < deadline:
        time.sleep(0.02)
    write(reader.more())


def _shown(lines: Iterable[bytes]) -> None:
    for line in lines:
        text = _STYLE.sub("", line.decode(errors="replace")).rstrip("\r")
        sys.stdout.write(printable(text, limit=10 * len(text) + 1) + "\n")


def _raw(lines: Iterable[bytes]) -> None:
    stdio.write(1, b"".join(line + b"\n" for line in lines))


def _objects(guest: str, lines: Iterable[bytes]) -> None:
    for line in lines:
        dump({"schema": 1, "guest": guest, "line": line.decode(errors="replace").rstrip("\r")})


def _restart(where: Directories, args: Args) -> int:
    from kvmrun.commands._logger import mended

    with rundir.held(running(where, args.guest), args.guest):
        done = mended(place_of(where, args.guest))
    if not args.quiet:
        sys.stdout.write(f"{args.guest} has {'a new logger' if done else 'its logger, nothing to do'}\n")
    return 0
