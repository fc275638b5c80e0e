"""kvmrun kill: end a guest's QEMU at once, whatever it is doing."""

from kvmrun.commands import _end
from kvmrun.commands._lab import directories, refuse_other
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import Unresponsive
from kvmrun.host.process import process
from kvmrun.host.process.signals import held_back
from kvmrun.host.rundir import rundir
from kvmrun.model.guest.paths import Directories
from kvmrun.ui.text.progress import Progress

HELP = "end guests at once, like a power cut"
TIMEOUT = "5 s, and 10 s for another command on the guest"


def configure(parser: Parser) -> None:
    _end.configure(parser, "kill", force="also guests with protect = true")


def run(args: Args) -> int:
    where = directories(args)
    names, errors = _end.chosen(where, args)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        known = [name for name in names if name not in errors]
        errors |= {} if args.force else _end.unprotected(where, known)
        good = [name for name in names if name not in errors]
        errors |= _end.together(good, lambda name: _kill(where, name, args, progress), progress, "killing")
    return _end.report(names, errors)


def _kill(where: Directories, name: str, args: Args, progress: Progress) -> None:
    """Kill first and lock after: a stop that is still waiting for the guest holds the lock, and sees the end.

    Once more under the lock: a start may have been under way.
    """
    directory = where.guest(name)
    refuse_other(where, name)
    record = rundir.read_record(directory)
    with held_back():
        with rundir.opened(directory, record.pid if record else 0) as pidfd:
            _finish(name, pidfd)
            ended = pidfd is not None
        _over(where, name, args, progress, ended=ended)


def _over(where: Directories, name: str, args: Args, progress: Progress, *, ended: bool) -> None:
    with _end.over(where, name, progress, ended=ended, deadline=args.deadline) as pidfd:
        _finish(name, pidfd)


def _finish(name: str, pidfd: int | None) -> None:
    if pidfd is not None and not process.kill(pidfd):
        raise Unresponsive(f"{name} cannot be killed", "dmesg may say why", why="it is stuck in the kernel")
