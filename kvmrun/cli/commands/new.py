"""kvmrun new: write a definition for a new guest, commented, and valid before anybody sees it."""

import sys

from kvmrun.api.definition.definition_options import NewGuestOptions
from kvmrun.api.definition.new_guest import new_guest
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.commands import names
from kvmrun.ui.text.caller import fix
from kvmrun.ui.text.line_folding import proposed

HELP = "write a definition for a new guest"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NEW", help="the name of the guest")
    parser.add_argument("--image", metavar="FILE", help="use this image as the drive; the guest writes to it")
    parser.add_argument(
        "--base", metavar="FILE", help="create the drive as an overlay of this image, which stays unchanged"
    )
    parser.add_argument("--cdrom", metavar="ISO", help="create an empty drive, and attach this CD-ROM to install from")
    parser.add_argument("--copy", metavar="NAME", help="copy this guest, with drives and addresses of its own")
    parser.add_argument("--size", metavar="SIZE", help="the size of the new image, such as 20G")
    parser.add_argument("--memory", metavar="SIZE", help="the memory, such as 2G")
    parser.add_argument("--cpus", type=int, metavar="N", help="the number of processors")
    parser.add_argument("--format", choices=("qcow2", "raw"), help="the format of FILE if its suffix does not tell")


def run(args: Args) -> int:
    options = NewGuestOptions(
        image=args.image,
        base=args.base,
        cdrom=args.cdrom,
        copy=args.copy,
        size=args.size,
        memory=args.memory,
        cpus=args.cpus,
        format=args.format,
    )
    path = new_guest(opened(args), args.guest, options)
    if not args.quiet:
        start = f"kvmrun up {args.guest}" if args.guest in names() else f"kvmrun {args.guest}"
        following = proposed(f"next: {fix(f'kvmrun edit {args.guest}, or {start}')}", sys.stdout, indent=6)
        sys.stdout.write(f"{path} is written\n{following}\n")
    return 0
