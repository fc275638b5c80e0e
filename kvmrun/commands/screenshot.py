"""kvmrun screenshot NAME FILE.png: what a guest's display shows."""

import os
import sys

from kvmrun.commands._lab import directories, running
from kvmrun.commands._words import Args, Parser
from kvmrun.config.standard_paths import absolute
from kvmrun.errors import KvmrunError, Refused, UsageError
from kvmrun.host.files.safe_directory import cannot, replacing
from kvmrun.light.contextlib import suppress
from kvmrun.model.printable import quoted
from kvmrun.monitor.qmp.fd_passing import Said, carrier

HELP = "save what the display of a guest shows as a PNG file"
TIMEOUT = "10 s"
_LIMIT = 10.0
_MOST = 64 << 20
"""A picture is smaller than this, in bytes."""
_OTHER = frozenset({"jpg", "jpeg", "gif", "bmp", "ppm", "webp", "tif", "tiff", "svg", "pdf"})
_PNG = b"\x89PNG\r\n\x1a\n"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help='a running guest with display = "vnc"')
    parser.add_argument("file", metavar="FILE.png", help="the file to write; an older one is replaced")


def run(args: Args) -> int:
    """QEMU draws into memory that it is handed; a copy of that takes the name asked for once it is whole."""
    stem, _, suffix = args.file.rpartition(".")
    if stem and suffix.lower() in _OTHER:
        hint = f"kvmrun screenshot {args.guest} {quoted(f'{stem}.png')}"
        raise UsageError(f"a screenshot cannot be written as {suffix}", hint, why="QEMU writes PNG")
    directory = running(directories(args), args.guest)
    target = absolute(args.file)
    try:
        with replacing(target) as (place, name), place.part(name) as (fd, part):
            _copy(args.guest, _drawn(args.guest, f"{directory}/q", args.deadline.granted(_LIMIT)), fd)
            place.move(part, name)
    except OSError as why:
        raise cannot("write", target, why) from None
    if not args.quiet:
        sys.stdout.write(f"{args.guest}: {args.file}\n")
    return 0


def _drawn(guest: str, path: str, limit: float) -> bytes:
    """The picture as QEMU writes it. It keeps neither the descriptor nor a file of ours."""
    shared = os.memfd_create("screenshot", os.MFD_CLOEXEC)
    try:
        given = os.open(f"/proc/self/fd/{shared}", os.O_WRONLY | os.O_CLOEXEC)  # a set is asked for by its access mode
        try:
            _draw(guest, path, given, limit)
        finally:
            os.close(given)
        return os.pread(shared, _MOST, 0)
    finally:
        os.close(shared)


def _draw(guest: str, path: str, fd: int, limit: float) -> None:
    try:
        with carrier(path, limit) as monitor:
            number = monitor.execute("add-fd", {"opaque": "screenshot"}, fd=fd)["fdset-id"]
            try:
                monitor.execute("screendump", {"filename": f"/dev/fdset/{number}", "format": "png"})
            finally:
                with suppress(KvmrunError):  # the first error is the one to tell
                    monitor.forget("screenshot")
    except Said as no:
        hint = f'set display = "vnc" in {guest}.toml and restart the guest, if it has none'
        raise Refused(f"{guest} has no display", hint, why=no.message) from None


def _copy(guest: str, picture: bytes, fd: int) -> None:
    if not picture.startswith(_PNG) or len(picture) == _MOST:
        raise KvmrunError(f"what QEMU wrote for {guest} is not an image", "try again")
    with open(fd, "wb", closefd=False) as file:
        file.write(picture)
