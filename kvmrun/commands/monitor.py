"""kvmrun monitor NAME: speak QMP with a running guest, on the monitor kept for people."""

import os

from kvmrun.commands._lab import monitor_socket
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import Busy, Unresponsive
from kvmrun.host.rundir import console_lock, socket_clients
from kvmrun.light.contextlib import ExitStack
from kvmrun.model.printable import printable

HELP = "open a QMP shell on a running guest"
TIMEOUT = "60 s for each command, 600 s in a shell"

_SEAT = "monitor"
_TURN = 60.0
"""How long a script waits, in seconds, until other commands have talked to the monitor it shares with them."""


def configure(parser: Parser) -> None:
    """The words after `monitor`."""
    parser.add_argument("guest", metavar="NAME", help="a running guest; it continues when you leave")
    parser.add_argument(
        "-c",
        "--command",
        dest="lines",
        action="append",
        metavar="CMD",
        help="run one command; can be given several times",
    )
    parser.add_argument(
        "-o", "--output", choices=("pretty", "json"), default="pretty", help="json: print one line per command"
    )
    parser.add_argument("--steal", action="store_true", help="take the shell over from another user")
    parser.add_argument(
        "--hmp",
        nargs="...",
        metavar="CMD",
        help="use the human monitor: run CMD, which is all that follows, or open a shell",
    )


def run(args: Args) -> int:
    """Raises NoSuchGuest, NotRunning and all that `converse` raises; Busy where a shell is to be opened beside another.

    A script is not kept out by a shell: it takes its turn at the monitor that is kept for commands then.
    """
    from kvmrun.commands._converse import converse, is_interactive  # brings asyncio, qemu.qmp and prompt_toolkit
    from kvmrun.commands._peer import accounts
    from kvmrun.monitor.qmp.fd_passing import turn

    path, uuid = monitor_socket(args, args.guest)
    directory = os.path.dirname(path)
    with ExitStack() as stack:
        try:
            stack.enter_context(console_lock.taken(f"{directory}/{_SEAT}", args.guest, steal=args.steal))
        except Busy:
            if is_interactive(args):
                raise
            stack.enter_context(turn(directory, args.deadline.granted(_TURN)))
            path = f"{directory}/q"
        try:
            ended = converse(path, uuid, args, accounts(directory))
        except Unresponsive as silent:
            if who := socket_clients.connected(path):
                hint = f"end {who}, or have it use the monitor of another guest"
                raise Unresponsive(silent.message, hint, why=f"{who} is connected to it") from None
            raise
        if ended is None:
            by = printable(console_lock.occupant(f"{directory}/{_SEAT}"), 100)
            hint = f"kvmrun monitor {args.guest} --steal"
            raise Busy(f"the monitor of {args.guest} was taken over", hint, why=f"by {by}")
    return ended
