"""kvmrun build: build a guest to try things with, from packages of Debian or Ubuntu."""

import os
from typing import NoReturn

from kvmrun.api.image.build_recipe import build_call
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.terminal.other_program import become
from kvmrun.errors import UsageError

HELP = "build the demo guest, or a whole Debian guest, from packages"


def configure(parser: Parser) -> None:
    parser.add_argument("kind", metavar="KIND", choices=("demo", "debian"), help="the guest: demo or debian")
    parser.add_argument("-f", "--force", action="store_true", help="build it again")
    parser.add_argument("--key", metavar="FILE", help="the public key that may log in to the Debian guest")


def run(args: Args) -> NoReturn:
    """Becomes the recipe, whose exit code is then ours."""
    lab = opened(args)
    if args.key and args.kind != "debian":
        raise UsageError("--key is for debian", f"kvmrun build debian --key {args.key}")
    words = [*(["--force"] if args.force else []), *(["--key", os.path.abspath(args.key)] if args.key else [])]
    become(*build_call(lab, args.kind, words))
