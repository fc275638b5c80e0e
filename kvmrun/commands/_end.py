"""What stop and kill share: which guests, and tidying up after them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kvmrun.commands._lab import no_such_guest, open_lab
from kvmrun.commands._parallel import each
from kvmrun.commands._words import Args
from kvmrun.errors import Several, UsageError
from kvmrun.host import process, rundir
from kvmrun.model.place import Directories
from kvmrun.ui.progress import Progress


def chosen(where: Directories, args: Args) -> list[str]:
    """The guests the words mean; with --all those that have a place in the run directory. Raises NoSuchGuest."""
    present = rundir.names(where.run)
    if args.all:
        return present
    if not args.guests:
        raise UsageError("no guest named", "name one, or --all")
    names = list(dict.fromkeys(args.guests))
    if unknown := [name for name in names if name not in present]:
        lab = open_lab(where)
        for name in unknown:
            if name not in lab.guests and name not in lab.invalid:
                raise no_such_guest(lab, name)
    return names


def together(names: list[str], do: Callable[[str], None], progress: Progress, doing: str) -> None:
    """Do it to all at once; raises the errors in the order of `names`."""
    if names:
        with progress.waiting(f"{doing} {', '.join(names)}"):
            errors = each(names, do)
        if errors:
            raise Several([errors[name] for name in names if name in errors])


@contextmanager
def over(where: Directories, name: str, progress: Progress) -> Iterator[int | None]:
    """Hold the guest and a pidfd on its QEMU, None when it does not run; afterwards remove what it left."""
    directory = where.guest(name)
    if name not in rundir.names(where.run):
        progress.tell(f"{name} is not running")
        yield None
        return
    with rundir.held(directory, name):
        record = rundir.read_record(directory)
        began = time.monotonic()
        with process.opened(f"{directory}/life", record.pid if record else 0) as pidfd:
            yield pidfd
        rundir.tidy(directory)
    progress.tell(
        f"{name} is stopped" + (f" after {time.monotonic() - began:.1f} s" if pidfd is not None else " already")
    )
