"""kvmrun exec NAME -- COMMAND: run a command inside a guest, by its agent."""

import os
import sys
import time
from contextlib import closing

from kvmrun.commands._agent import Line
from kvmrun.commands._lab import directories, running
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import Busy, Unresponsive, UsageError
from kvmrun.monitor import inside
from kvmrun.monitor.agent import LIMIT
from kvmrun.monitor.filter import Filter
from kvmrun.ui import streams
from kvmrun.ui.progress import Progress

HELP = "run a command in a guest, by its agent"
_INPUT = 8 << 20
_FIRST, _LAST = 0.02, 0.4
"""The pauses between questions whether it has ended: short at first, then longer."""


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a running guest; then -- and the command with its words")
    parser.add_argument("-i", "--stdin", action="store_true", help="hand it our standard input, of at most 8 MiB")


def run(args: Args) -> int:
    """Exits as the command in the guest did, 128 and its number for a signal."""
    if not args.raw:
        raise UsageError("no command to run", f"kvmrun exec {args.guest} -- COMMAND …")
    directory = running(directories(args), args.guest)
    given = _input() if args.stdin else None
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress, progress.waiting(f"{args.guest}: {args.raw[0]}"):
        outcome = _carried_out(directory, args, given)
    _show(1, outcome.out)
    _show(2, outcome.err)
    for stream in outcome.cut:
        text = f"kvmrun: the agent keeps {inside.OUTPUT >> 20} MiB of a stream: the rest of std{stream} is lost\n"
        sys.stderr.write(text)
    return outcome.code


def _input() -> bytes:
    given = sys.stdin.buffer.read(_INPUT + 1)
    if len(given) > _INPUT:
        hint = "kvmrun cp carries files of any size"
        raise UsageError("standard input is too long", hint, why=f"the agent takes {_INPUT >> 20} MiB")
    return given


def _carried_out(directory: str, args: Args, given: bytes | None) -> inside.Outcome:
    name = args.guest
    deadline = None if args.timeout is None else time.monotonic() + args.timeout
    limit = inside.PATIENCE if args.timeout is None else min(inside.PATIENCE, args.timeout)
    pause = _FIRST
    with closing(Line(directory, name)) as line:
        pid = inside.begin(line(), args.raw, given, limit=max(limit, LIMIT))
        try:
            while (outcome := inside.ended(line(), pid, limit=limit)) is None:
                if deadline is not None and time.monotonic() > deadline:
                    raise Unresponsive(f"{args.raw[0]} has not ended in {name} within {args.timeout:g} s")
                time.sleep(pause)
                pause = min(pause * 1.5, _LAST)
        except (Unresponsive, Busy, KeyboardInterrupt):
            sys.stderr.write(f"kvmrun: the command goes on in {name}, as pid {pid}\n")
            raise
    return outcome


def _show(fd: int, data: bytes) -> None:
    """What the guest's command printed: as it is into a pipe or a file, made harmless on a terminal."""
    if os.isatty(fd):
        filtering = Filter()
        data = filtering.feed(data) + filtering.leave() if data else b""
    streams.write(fd, data)
