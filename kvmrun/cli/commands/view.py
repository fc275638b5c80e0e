"""kvmrun view NAME: a guest's display in a VNC viewer."""

from typing import NoReturn

from kvmrun.api.conversation.viewer import viewer_command
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.terminal.other_program import become

HELP = "show the display of a guest in a VNC viewer"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a running guest with a display")


def run(args: Args) -> NoReturn:
    """Becomes the viewer, whose exit code is then ours."""
    become(viewer_command(opened(args), args.guest))
