"""kvmrun media: the media in the CD-ROM drives of a guest that runs, and changing them."""

import sys

from kvmrun.api.disk.media import change_medium, media
from kvmrun.api.report import Done
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.json_output import print_document
from kvmrun.cli.report import reporting
from kvmrun.errors import UsageError

HELP = "print or change the media in the CD-ROM drives of a guest"
TIMEOUT = "10 s for QEMU to answer, 10 s for another command on the guest"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a running guest; with several CD-ROM drives NAME:DRIVE")
    parser.add_argument("file", metavar="FILE", nargs="?", help="the file to insert; without it, the media are printed")
    parser.add_argument("--eject", action="store_true", help="leave the tray empty")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="the format of the output")


def run(args: Args) -> int:
    name, _, drive = args.guest.partition(":")
    if args.eject and args.file is not None:
        raise UsageError("--eject takes no FILE", f"kvmrun media {args.guest} --eject")
    if args.eject or args.file is not None:
        return _change(args, name, drive)
    found = [one for one in media(opened(args), name, timeout=args.timeout) if drive in {"", f"{one.drive}"}]
    if args.output == "json":
        print_document(media=[one.as_dict() for one in found])
    elif not args.quiet:
        sys.stdout.write("".join(f"{one}\n" for one in found))
    return 0


def _change(args: Args, name: str, drive: str) -> int:
    after = change_medium(opened(args), name, args.file, drive=drive or None, timeout=args.timeout)
    if args.output == "json":
        print_document(media=[after.as_dict()])
        return 0
    with reporting(args) as report:
        report(Done(guest=name, text=f"{name}, {after}"))
        report(Done(guest=name, text=f"  the next start takes the medium that {name}.toml names"))
    return 0
