"""kvmrun screenshot NAME FILE.png: what a guest's display shows."""

import os
import sys

from kvmrun.commands._lab import directories, running
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import KvmrunError, Refused
from kvmrun.host import small
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
    target = os.path.abspath(args.file)
    new = f"{os.path.dirname(target)}/.{os.path.basename(target)}.{os.getpid()}"
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with small.moved(new, target):
                _draw(args.guest, f"{directory}/q", fd, _LIMIT if args.timeout is None else args.timeout)
                _check(args.guest, new)
        finally:
            os.close(fd)
    except OSError as why:
        raise KvmrunError(f"cannot write {target}", why=os.strerror(why.errno or 0)) from None
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


def _check(guest: str, path: str) -> None:
    with open(path, "rb") as file:
        if file.read(len(_PNG)) != _PNG:
            raise KvmrunError(f"what QEMU wrote for {guest} is not an image", "try again")
