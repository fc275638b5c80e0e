"""kvmrun screenshot NAME FILE.png: what a guest's display shows."""

import sys

from kvmrun.api.conversation.screenshot import save_screenshot
from kvmrun.cli.arguments import Args, Parser, opened

HELP = "save what the display of a guest shows as a PNG file"
TIMEOUT = "10 s"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help='a running guest with display = "vnc"')
    parser.add_argument("file", metavar="FILE.png", help="the file to write; an older one is replaced")


def run(args: Args) -> int:
    save_screenshot(opened(args), args.guest, args.file, timeout=args.timeout)
    if not args.quiet:
        sys.stdout.write(f"{args.guest}: {args.file}\n")
    return 0
