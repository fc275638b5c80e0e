"""kvmrun init: write an example lab to start from."""

import os
import shlex
import sys

from kvmrun.commands._words import Args, Parser
from kvmrun.config.standard_paths import absolute
from kvmrun.errors import HostLacks, Refused
from kvmrun.host.files import safe_directory
from kvmrun.ui.text.caller import fix
from kvmrun.ui.text.line_folding import proposed

HELP = "write an example lab into a new directory"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_EXAMPLES = (f"{_PACKAGE}/example", f"{os.path.dirname(_PACKAGE)}/vms.d")
"""Where the example is: in the installed package, or beside it in a checkout."""


def configure(parser: Parser) -> None:
    parser.add_argument("directory", metavar="DIR", help="the directory to create")


def run(args: Args) -> int:
    example = next((path for path in _EXAMPLES if os.path.isdir(path)), None)
    if example is None:
        raise HostLacks("the example lab is not installed", "reinstall the package", why=f"{_EXAMPLES[0]} is missing")
    target = absolute(args.directory)
    try:
        with safe_directory.opened(target, make=0o755) as place:
            if place.names():
                raise Refused(f"{target} exists already", "name a new directory")
            written = sorted(os.listdir(example))
            for name in written:
                with open(f"{example}/{name}", "rb") as file:
                    place.write_new(name, file.read(), 0o644)
    except OSError as why:
        raise safe_directory.cannot("write", target, why) from None
    sys.stdout.write(f"{target}: {', '.join(written)}\n")
    following = f"kvmrun build demo; then kvmrun -C {shlex.quote(args.directory)} --list"
    sys.stdout.write(f"{proposed(f'next: {fix(following)}', sys.stdout, indent=6)}\n")
    return 0
