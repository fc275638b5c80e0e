"""kvmrun new: write a definition for a new guest, commented, and valid before anybody sees it."""

import sys

from kvmrun.api.definition.definition_options import NewGuestOptions
from kvmrun.api.definition.new_guest import new_guest
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.commands import names
from kvmrun.cli.report import reporting
from kvmrun.ui.text.caller import fix
from kvmrun.ui.text.line_folding import proposed

_IMAGE = "a system, such as debian:13, which is downloaded and pinned; or a file, to which the guest writes"
_OS = "the operating system by its ID in osinfo-db, such as debian12: sizes and drivers are chosen for it"
HELP = "write a definition for a new guest"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NEW", help="the name of the guest")
    parser.add_argument("--image", metavar="IMAGE", help=_IMAGE)
    parser.add_argument("--unverified", action="store_true", help="use an image that cannot be verified; it is marked")
    parser.add_argument(
        "--base", metavar="FILE", help="create the drive as an overlay of this image, which stays unchanged"
    )
    parser.add_argument("--cdrom", metavar="ISO", help="create an empty drive, and attach this CD-ROM to install from")
    parser.add_argument("--copy", metavar="NAME", help="copy this guest, with drives and addresses of its own")
    parser.add_argument("--os", metavar="OS", help=_OS)
    parser.add_argument("--size", metavar="SIZE", help="the size of the new image, such as 20G")
    parser.add_argument("--memory", metavar="SIZE", help="the memory, such as 2G")
    parser.add_argument("--cpus", type=int, metavar="N", help="the number of processors")
    parser.add_argument("--format", choices=("qcow2", "raw"), help="the format of FILE if its suffix does not tell")


def run(args: Args) -> int:
    options = NewGuestOptions(
        image=args.image,
        unverified=args.unverified,
        base=args.base,
        cdrom=args.cdrom,
        copy=args.copy,
        os=args.os,
        size=args.size,
        memory=args.memory,
        cpus=args.cpus,
        format=args.format,
    )
    with reporting(args) as report:
        path = new_guest(opened(args), args.guest, options, report)
    if not args.quiet:
        start = f"kvmrun up {args.guest}" if args.guest in names() else f"kvmrun {args.guest}"
        following = proposed(f"next: {fix(f'kvmrun edit {args.guest}, or {start}')}", sys.stdout, indent=6)
        sys.stdout.write(f"{path} is written\n{following}\n")
    return 0
