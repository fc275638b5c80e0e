"""kvmrun kill: end a guest's QEMU at once, whatever it is doing."""

from kvmrun.commands._end import chosen, over, together
from kvmrun.commands._lab import directories
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import Unresponsive
from kvmrun.host import process, rundir
from kvmrun.model.place import Directories
from kvmrun.ui.progress import Progress

HELP = "end guests at once, as if their plug were pulled"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="the guests to kill")
    parser.add_argument("-a", "--all", action="store_true", help="every guest that runs")


def run(args: Args) -> int:
    where = directories(args)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        together(chosen(where, args), lambda name: _kill(where, name, progress), progress, "killing")
    return 0


def _kill(where: Directories, name: str, progress: Progress) -> None:
    """Kill first and lock after: a stop that is still waiting for the guest holds the lock, and sees the end.

    Once more under the lock: a start may have been under way.
    """
    directory = where.guest(name)
    record = rundir.read_record(directory)
    with process.opened(f"{directory}/life", record.pid if record else 0) as pidfd:
        _end(name, pidfd)
    with over(where, name, progress) as pidfd:
        _end(name, pidfd)


def _end(name: str, pidfd: int | None) -> None:
    if pidfd is not None and not process.kill(pidfd):
        raise Unresponsive(f"{name} cannot be killed", "dmesg may say why", why="it is stuck in the kernel")
