"""kvmrun console NAME: a guest's serial line in the terminal."""

from kvmrun.api.conversation.console_session import TAKEN_OVER, ConsoleOptions, joined_console
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.terminal.console_terminal import connect_terminal, ending_message, parse_escape, signals_caught, tell
from kvmrun.errors import Busy

HELP = "connect to the serial console of a guest"
TIMEOUT = "none"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a running guest; it continues when you leave")
    parser.add_argument(
        "--escape", default="^]", metavar="CHAR", help="the key that leaves: one character, or ^ and a letter (^])"
    )
    parser.add_argument("--steal", action="store_true", help="take it over from another user")
    parser.add_argument("--raw", dest="unfiltered", action="store_true", help="do not filter escape sequences")


def run(args: Args) -> int:
    options = ConsoleOptions(
        escape=parse_escape(args.escape), unfiltered=args.unfiltered, steal=args.steal, timeout=args.timeout
    )
    with signals_caught() as caught, joined_console(opened(args), args.guest, options) as console:
        ending = connect_terminal(console, args, caught)
        number = caught.number if ending == "signal" else 0
        by = console.occupant()
    if number == TAKEN_OVER:
        fix = f"kvmrun console {args.guest} --steal"
        raise Busy(f"the console of {args.guest} was taken over", fix, reason=f"by {by}")
    tell(args, ending_message(ending, args.guest, args.timeout))
    return 128 + number if number else 0
