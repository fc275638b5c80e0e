"""The terminal of a person, lent to the console of a guest: keys, signals, and words beside what the guest prints."""

import os
import signal
import sys
from contextlib import AbstractContextManager, ExitStack

from kvmrun.api.conversation.console_session import TAKEN_OVER, Console, ConsoleEnds
from kvmrun.cli.arguments import Args
from kvmrun.errors import UsageError
from kvmrun.ui.screen import terminal
from kvmrun.ui.text.caller import fix

_ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, TAKEN_OVER)


def parse_escape(word: str) -> int | None:
    """The byte of a key written as itself, or as ^ and a letter; None without a keyboard. Raises UsageError."""
    key = _byte_of_key(word)
    return key if os.isatty(0) else None


def _byte_of_key(word: str) -> int:
    if len(word) == 2 and word[0] == "^" and "?" < word[1].upper() < "`":
        return ord(word[1].upper()) & 0x1F
    if len(word) == 1 and word.isascii():
        return ord(word)
    raise UsageError(
        f"{word} is not a key to leave the console with",
        "one character, or ^ and one of A-Z [ \\ ] ^ _, such as --escape ^A",
    )


def signals_caught() -> AbstractContextManager[terminal.SignalCatcher]:
    """Within, the signals that end the connection end nothing else."""
    return terminal.catch_signals(_ENDS)


def connect_terminal(console: Console, args: Args, caught: terminal.SignalCatcher) -> str:
    """Carry on until it ends; the terminal is as before when this returns or raises."""
    person = os.isatty(0)
    asked = person and os.isatty(1) and not args.unfiltered  # unfiltered, the terminal answers for itself
    with ExitStack() as stack:
        sink = stack.enter_context(terminal.nonblocking_dup(1))
        ends = ConsoleEnds(source=0, sink=sink, wake=caught.fd, size=terminal.size if asked else None)
        connection = stack.enter_context(console.connected(ends))
        if person:
            name = args.escape.upper() if len(args.escape) == 1 else f"Ctrl-{args.escape[1].upper()}"
            tell(args, f"connected to {args.guest}; {name} leaves, and the guest goes on")
            stack.enter_context(terminal.raw(0))
        if os.isatty(1):
            stack.callback(lambda: terminal.write_soon(sink, connection.restore_sequence()))
        return connection.relay()


def ending_message(ending: str, guest: str, limit: float | None) -> str:
    """How it ended, "" where the person knows."""
    return {
        "left": f"left {guest}, which goes on",
        "ended": f"{guest} has ended, or closed its console; kvmrun log {guest} tells what it said",
        "over": f"left {guest} after {limit or 0:g} s",
    }.get(ending, "")


def tell(args: Args, line: str) -> None:
    """A word to the person, apart from what the guest prints."""
    if line and not args.quiet and os.isatty(0):
        sys.stderr.write(f"\r\nkvmrun: {fix(line)}\n")
        sys.stderr.flush()
