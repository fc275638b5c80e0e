"""kvmrun restart: stop guests, then start them as their definitions are now."""

from kvmrun.commands import _begin, _end
from kvmrun.commands._lab import directories, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.commands.stop import stop_all
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import Deadline
from kvmrun.ui.text.progress import Progress

HELP = "stop guests and start them as their definitions are now"
TIMEOUT = "60 s for a guest to power down, and 60 s for what --wait names"


def configure(parser: Parser) -> None:
    _end.configure(parser, "restart", force="let QEMU quit at once without asking the guest; also with protect = true")
    _begin.configure(parser)


def run(args: Args) -> int:
    """A guest that could not be started again is not stopped. Raises Several."""
    where = directories(args)
    lab = open_lab(where)
    names, errors = _end.chosen(where, args)
    if args.all:
        names = [name for name in names if rundir.is_running(where.guest(name))]
    errors |= _begin.undefined(lab, [name for name in names if name not in errors])
    good = [name for name in names if name not in errors]
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        errors |= stop_all(where, good, args, progress)
    good = [name for name in good if name not in errors]
    if good:
        args.deadline = Deadline.begin(args.timeout)  # the end of the old guest takes nothing from the new one's time
        errors |= _begin.begin(lab, where, good, (), args)
    return _end.report(names, errors)
