"""kvmrun init: write an example lab to start from."""

import os
import shutil
import sys

from kvmrun.commands._words import Args, Parser
from kvmrun.errors import HostLacks, KvmrunError, Refused

HELP = "write an example lab into a new directory"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_EXAMPLES = (f"{_PACKAGE}/example", f"{os.path.dirname(_PACKAGE)}/vms.d")
"""Where the example is: in the installed package, or beside it in a checkout."""


def configure(parser: Parser) -> None:
    parser.add_argument("directory", metavar="DIR", help="the directory to make")


def run(args: Args) -> int:
    example = next((path for path in _EXAMPLES if os.path.isdir(path)), None)
    if example is None:
        raise HostLacks("the example lab is not installed", "install kvmrun again", why=f"{_EXAMPLES[0]} is missing")
    target = os.path.abspath(args.directory)
    if os.path.exists(target) and (not os.path.isdir(target) or os.listdir(target)):
        raise Refused(f"{target} exists already", "name a new directory")
    try:
        os.makedirs(target, mode=0o755, exist_ok=True)
        for name in sorted(os.listdir(example)):
            shutil.copyfile(f"{example}/{name}", f"{target}/{name}")
    except OSError as why:
        raise KvmrunError(f"cannot write {target}", why=os.strerror(why.errno or 0)) from None
    sys.stdout.write(f"{target}: {', '.join(sorted(os.listdir(target)))}\nnext: kvmrun -C {args.directory} --list\n")
    return 0
