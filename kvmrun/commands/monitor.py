"""kvmrun monitor NAME: speak QMP with a running guest, on the monitor kept for people."""

import os

from kvmrun.commands._lab import monitor_socket
from kvmrun.commands._words import Args, Parser

HELP = "open a QMP shell on a running guest"
TIMEOUT = "60 s for each command, 600 s in a shell"


def configure(parser: Parser) -> None:
    """The words after `monitor`."""
    parser.add_argument("guest", metavar="NAME", help="a running guest; leaving the shell leaves it alone")
    parser.add_argument(
        "-c", "--command", dest="lines", action="append", metavar="CMD", help="carry out one line; may be repeated"
    )
    parser.add_argument(
        "-o", "--output", choices=("pretty", "json"), default="pretty", help="json: one value on one line per command"
    )
    parser.add_argument(
        "--hmp", nargs="...", metavar="CMD", help="the human monitor: CMD and all that follows, or a shell"
    )


def run(args: Args) -> int:
    """Finds the guest's monitor and talks. Raises NoSuchGuest, NotRunning and all that `converse` raises."""
    from kvmrun.commands._converse import converse  # brings asyncio, qemu.qmp and prompt_toolkit: not for a Tab
    from kvmrun.commands._peer import accounts

    path, uuid = monitor_socket(args, args.guest)
    return converse(path, uuid, args, accounts(os.path.dirname(path)))
