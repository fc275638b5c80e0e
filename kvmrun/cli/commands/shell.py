"""kvmrun shell NAME: log in by ssh where the guest accepts it, else the serial console."""

from kvmrun.api.conversation.ssh_login import SshOptions, ssh_command, ssh_obstacle
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.commands import console, ssh
from kvmrun.cli.terminal.console_terminal import tell
from kvmrun.cli.terminal.other_program import become

HELP = "log in to a guest by ssh, or by its console where it accepts no ssh"
TIMEOUT = "10 s to connect"


def configure(parser: Parser) -> None:
    ssh.add_login_option(parser)
    console.configure(parser)


def run(args: Args) -> int:
    lab = opened(args)
    obstacle = ssh_obstacle(lab, args.guest, args.timeout)
    if not obstacle:
        become(ssh_command(lab, args.guest, (), SshOptions(user=args.login, timeout=args.timeout)))
    tell(args, f"{obstacle}; this is its console")
    return console.run(args)
