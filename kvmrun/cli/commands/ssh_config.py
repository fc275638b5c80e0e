"""kvmrun ssh-config [FILE]: the guests of the lab for the configuration of ssh."""

import sys

from kvmrun.api.conversation.ssh_config import ssh_config, write_ssh_config
from kvmrun.cli.arguments import Args, Parser, opened

HELP = "print the guests for the configuration of ssh"


def configure(parser: Parser) -> None:
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="replace this file, which Include in ~/.ssh/config names"
    )


def run(args: Args) -> int:
    if args.file is None:
        sys.stdout.write(ssh_config(opened(args)))
    else:
        write_ssh_config(opened(args), args.file)
    return 0
