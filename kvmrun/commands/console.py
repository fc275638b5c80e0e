"""kvmrun console NAME: a guest's serial line in the terminal."""

import os
import signal
import sys

from kvmrun.commands._lab import directories, running
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import Busy, Refused, UsageError
from kvmrun.host.rundir import console_lock
from kvmrun.light.abc import Callable
from kvmrun.light.contextlib import ExitStack
from kvmrun.model.guest.guest import CONSOLE
from kvmrun.model.printable import printable
from kvmrun.monitor.console.console_relay import Ending, Person, Relay, dial
from kvmrun.monitor.console.terminal_filter import Filter
from kvmrun.ui.screen import terminal
from kvmrun.ui.text.caller import fix

HELP = "connect to the serial console of a guest"
TIMEOUT = "none"
_SEAT = "console"
_ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, console_lock.STOLEN)


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a running guest; it continues when you leave")
    parser.add_argument(
        "--escape", default="^]", metavar="CHAR", help="the key that leaves: one character, or ^ and a letter (^])"
    )
    parser.add_argument("--steal", action="store_true", help="take it over from another user")
    parser.add_argument("--raw", dest="unfiltered", action="store_true", help="do not filter escape sequences")


def run(args: Args) -> int:
    key = escape(args.escape)
    directory = running(directories(args), args.guest)
    if not os.path.exists(f"{directory}/{CONSOLE}"):
        raise Refused(f"{args.guest} has no console", f"set console = true in {args.guest}.toml and restart the guest")
    with terminal.catching(_ENDS) as caught, console_lock.taken(f"{directory}/{_SEAT}", args.guest, steal=args.steal):
        ending = _connected(args, f"{directory}/{CONSOLE}", key, caught)
        number = caught.number if ending == "signal" else 0
        by = printable(console_lock.occupant(f"{directory}/{_SEAT}"), 100)
    if number == console_lock.STOLEN:
        raise Busy(
            f"the console of {args.guest} was taken over", f"kvmrun console {args.guest} --steal", why=f"by {by}"
        )
    _say(args, _told(ending, args.guest, args.timeout))
    return 128 + number if number else 0


def escape(word: str) -> int:
    """The byte of a key written as itself, or as ^ and a letter. Raises UsageError."""
    if len(word) == 2 and word[0] == "^" and "?" < word[1].upper() < "`":
        return ord(word[1].upper()) & 0x1F
    if len(word) == 1 and word.isascii():
        return ord(word)
    raise UsageError(
        f"{word} is not a key to leave the console with",
        "one character, or ^ and one of A-Z [ \\ ] ^ _, such as --escape ^A",
    )


def _connected(args: Args, path: str, key: int, caught: terminal.Caught) -> Ending:
    """Carry on until it ends; the terminal is as before when this returns or raises."""
    person = os.isatty(0)
    with ExitStack() as stack:
        line = stack.enter_context(dial(path))
        sink = stack.enter_context(terminal.unblocked(1))
        if person:
            name = args.escape.upper() if len(args.escape) == 1 else f"Ctrl-{args.escape[1].upper()}"
            _say(args, f"connected to {args.guest}; {name} leaves, and the guest goes on")
            stack.enter_context(terminal.raw(0))
        asked = person and os.isatty(1) and not args.unfiltered  # unfiltered, the terminal answers for itself
        filtering = Filter(terminal.size if asked else None)
        if os.isatty(1):
            stack.callback(lambda: terminal.send(sink, filtering.leave()))
        ends = Person(source=0, sink=sink, wake=caught.fd, escape=key if person else None)
        relay = Relay(line, ends, _show(filtering, args.unfiltered), filtering.answers)
        return relay.run(args.timeout)


def _show(filtering: Filter, raw: bool) -> Callable[[bytes], bytes]:
    """The filter; or all that comes, while the filter still takes note of what is to be undone."""

    def both(data: bytes) -> bytes:
        filtering.feed(data)
        return data

    return both if raw else filtering.feed


def _told(ending: Ending, guest: str, limit: float | None) -> str:
    return {
        "left": f"left {guest}, which goes on",
        "ended": f"{guest} has ended, or closed its console; kvmrun log {guest} tells what it said",
        "over": f"left {guest} after {limit or 0:g} s",
    }.get(ending, "")


def _say(args: Args, line: str) -> None:
    """A word to the person, apart from what the guest prints."""
    if line and not args.quiet and os.isatty(0):
        sys.stderr.write(f"\r\nkvmrun: {fix(line)}\n")
        sys.stderr.flush()
