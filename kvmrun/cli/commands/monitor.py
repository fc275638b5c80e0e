"""kvmrun monitor NAME: speak QMP with a running guest, on the monitor kept for people."""

from kvmrun.api.conversation.qmp_monitor import monitor_seat
from kvmrun.cli.arguments import Args, Parser, opened

HELP = "open a QMP shell on a running guest"
TIMEOUT = "60 s for each command, 600 s in a shell"


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
    from kvmrun.cli.terminal.qmp_session import converse, is_interactive  # brings asyncio, qemu.qmp and prompt_toolkit

    with monitor_seat(
        opened(args), args.guest, is_shell=is_interactive(args), steal=args.steal, timeout=args.timeout
    ) as seat:
        ended = converse(seat.socket, seat.uuid, args)
        if ended is None:
            raise seat.taken_over_error()
    return ended
