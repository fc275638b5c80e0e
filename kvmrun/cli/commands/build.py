"""kvmrun build: build a guest to try things with, from packages of Debian or Ubuntu."""

import os
import sys
from typing import NoReturn

from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.errors import HostLacks, UsageError

HELP = "build the demo guest, or a whole Debian guest, from packages"
_RECIPES = f"{os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))}/recipes"
_BASH = "/bin/bash"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED = ("HOME", "TERM", "TMPDIR", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def configure(parser: Parser) -> None:
    parser.add_argument("kind", metavar="KIND", choices=("demo", "debian"), help="the guest: demo or debian")
    parser.add_argument("-f", "--force", action="store_true", help="build it again")
    parser.add_argument("--key", metavar="FILE", help="the public key that may log in to the Debian guest")


def run(args: Args) -> NoReturn:
    """Becomes the recipe, whose exit code is then ours."""
    where = opened(args).paths
    if args.key and args.kind != "debian":
        raise UsageError("--key is for debian", f"kvmrun build debian --key {args.key}")
    recipe = f"{_RECIPES}/{args.kind}"
    for needed in (_BASH, recipe):
        if not os.path.isfile(needed):
            raise HostLacks(f"{needed} is missing", "apt install bash" if needed == _BASH else "reinstall the package")
    words = [*(["--force"] if args.force else []), *(["--key", os.path.abspath(args.key)] if args.key else [])]
    environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
    environment |= {"PATH": _PATH, "LANG": "C.UTF-8", "KVMRUN_STATE_DIR": where.state}
    sys.stdout.flush()
    os.execve(_BASH, [_BASH, recipe, *words], environment)  # noqa: S606 - a list of words, no shell reads them
