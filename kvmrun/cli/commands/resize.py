"""kvmrun resize: a larger drive, whether the guest runs or not."""

from kvmrun.api.disk.resize import Resized, resize_drive
from kvmrun.api.report import Done
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.report import reporting
from kvmrun.model.scalars import Size

HELP = "make a drive larger; a guest that runs sees it"
TIMEOUT = "60 s for QEMU to answer, 10 s for another command on the guest"


def configure(parser: Parser) -> None:
    parser.add_argument(
        "guest", metavar="NAME", help="the guest; with several drives NAME:DRIVE, its number or the name of its image"
    )
    parser.add_argument("size", metavar="SIZE", help="the new size, such as 40G; a smaller one is refused")


def run(args: Args) -> int:
    name, _, drive = args.guest.partition(":")
    done = resize_drive(opened(args), name, args.size, drive=drive or None, timeout=args.timeout)
    with reporting(args) as report:
        report(Done(guest=name, text=_result(done)))
        if done.is_written:
            report(Done(guest=name, text=f"  size = {Size(done.size)} is written into {name}.toml"))
        if done.is_running and not done.sees_it and done.before != done.size:
            report(Done(guest=name, text=f"  the guest sees it after kvmrun restart {name}"))
    return 0


def _result(done: Resized) -> str:
    size = Size(done.size)
    if done.before is None:
        return f"{done.image} will have {size}: the first start makes it"
    if done.before == done.size:
        return f"{done.image} has {size} already"
    return f"{done.image} has {size} now; it had {Size(done.before)}"
