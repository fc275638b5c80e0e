"""kvmrun ssh NAME: log in to a guest, with known hosts that are not yours."""

from typing import NoReturn

from kvmrun.api.conversation.ssh_login import SshOptions, ssh_command
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.terminal.other_program import become

HELP = "log in to a guest by ssh, or run a command in it"
TIMEOUT = "10 s to connect"
COMMAND_LINE = "NAME [[--] COMMAND [ARGUMENT ...]]"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a running guest; the arguments after it are the command")
    add_login_option(parser)


def add_login_option(parser: Parser) -> None:
    """The option that names the account."""
    parser.add_argument(
        "-l", "--login", metavar="USER", help="the account in the guest; ssh_user of the definition if not given"
    )


def run(args: Args) -> NoReturn:
    """Becomes ssh, whose exit code is then ours."""
    become(ssh_command(opened(args), args.guest, args.raw, SshOptions(user=args.login, timeout=args.timeout)))
