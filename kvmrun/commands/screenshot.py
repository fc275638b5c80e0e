"""kvmrun screenshot NAME FILE.png: what a guest's display shows."""

import os
import sys

from kvmrun.commands._lab import directories, running
from kvmrun.commands._words import Args, Parser
from kvmrun.config.where import absolute
from kvmrun.errors import KvmrunError, Refused
from kvmrun.host.directory import cannot, replacing
from kvmrun.monitor.carry import Said, carrier

HELP = "save what a guest's display shows as a PNG file"
_LIMIT = 10.0
_PNG = b"\x89PNG\r\n\x1a\n"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help='a running guest with display = "vnc"')
    parser.add_argument("file", metavar="FILE", help="the file to write; an older one is replaced")


def run(args: Args) -> int:
    """QEMU may open no file of its own: it is handed one, which takes the name asked for once it is whole."""
    directory = running(directories(args), args.guest)
    target = absolute(args.file)
    limit = _LIMIT if args.timeout is None else args.timeout
    try:
        with replacing(target) as (place, name), place.part(name) as (fd, part):
            _draw(args.guest, f"{directory}/q", fd, limit)
            _check(args.guest, os.open(part, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=place.fd))
            place.move(part, name)
    except OSError as why:
        raise cannot("write", target, why) from None
    if not args.quiet:
        sys.stdout.write(f"{args.guest}: {args.file}\n")
    return 0


def _draw(guest: str, path: str, fd: int, limit: float) -> None:
    try:
        with carrier(path, limit) as monitor:
            number = monitor.execute("add-fd", {"opaque": "screenshot"}, fd=fd)["fdset-id"]
            monitor.execute("screendump", {"filename": f"/dev/fdset/{number}", "format": "png"})
    except Said as no:
        hint = f'set display = "vnc" in {guest}.toml and start it anew, if it has none'
        raise Refused(f"{guest} shows nothing", hint, why=no.message) from None


def _check(guest: str, fd: int) -> None:
    """Closes `fd`, a descriptor on what QEMU wrote."""
    with open(fd, "rb") as file:
        if file.read(len(_PNG)) != _PNG:
            raise KvmrunError(f"what QEMU wrote for {guest} is not an image", "try again")
