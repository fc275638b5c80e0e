"""kvmrun completion: what a shell evaluates to complete kvmrun's words."""

import sys

from kvmrun.cli.arguments import Args, Parser

HELP = "print the completion script for bash, zsh or fish"
_BEFORE = {"zsh": "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }\n"}
"""zsh knows compdef only after compinit, which a short .zshrc does not call."""


def configure(parser: Parser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")


def run(args: Args) -> int:
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(_BEFORE.get(args.shell, "") + shellcode(["kvmrun"], shell=args.shell))
    return 0
