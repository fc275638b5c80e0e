"""kvmrun init: write an example lab to start from."""

import shlex
import sys

from kvmrun.api.definition.example_lab import write_example
from kvmrun.cli.arguments import Args, Parser
from kvmrun.ui.text.caller import fix
from kvmrun.ui.text.line_folding import proposed

HELP = "write an example lab into a new directory"


def configure(parser: Parser) -> None:
    parser.add_argument("directory", metavar="DIR", help="the directory to create")


def run(args: Args) -> int:
    done = write_example(args.directory)
    sys.stdout.write(f"{done.directory}: {', '.join(done.files)}\n")
    for change in done.changes:
        sys.stdout.write(f"{change}\n")
    following = f"kvmrun build demo; then kvmrun -C {shlex.quote(args.directory)} --list"
    sys.stdout.write(f"{proposed(f'next: {fix(following)}', sys.stdout, indent=6)}\n")
    return 0
