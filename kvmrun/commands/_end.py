"""What those share that speak to guests that run: which guests, whether they may, and tidying up after them."""

import os
import time

from kvmrun.commands._lab import directories, expanded, no_such_guest, open_lab, own, refuse_other, running
from kvmrun.commands._parallel import each
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import KvmrunError, Refused, Several, Unresponsive, UsageError
from kvmrun.host.process import process
from kvmrun.host.process.signals import held_back
from kvmrun.host.rundir import rundir, socket_lookup
from kvmrun.light.abc import Callable, Iterator
from kvmrun.light.contextlib import ExitStack, contextmanager
from kvmrun.model.deadline import NEVER, Deadline, undoing
from kvmrun.model.guest import start_order
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.paths import Directories
from kvmrun.model.printable import printable
from kvmrun.ui.text.progress import Progress

Do = Callable[[str, str, Deadline, ExitStack], str]
"""Does something to the guest of that name and run directory, and returns what is to be said of it. From when it is
done until it is said, signals are held back by a context that is entered into the stack."""


def configure(parser: Parser, verb: str, *, force: str = "") -> None:
    """The words that name guests; `force` says what --force does, where there is one."""
    parser.add_argument("guests", nargs="*", metavar="NAME", help=f"the guests to {verb}, or @GROUP")
    parser.add_argument("-a", "--all", action="store_true", help="every guest that runs")
    if force:
        parser.add_argument("-f", "--force", action="store_true", help=force)


def chosen(where: Directories, args: Args) -> tuple[list[str], dict[str, KvmrunError]]:
    """The guests the words mean, and an error for each that is not known. Raises UsageError.

    With --all they are those that have a place in the run directory.
    """
    present = rundir.names(where.run)
    if args.all:
        refuse_names(args)
        return own(
            where, sorted({*present, *socket_lookup.guests(where.run, socket_lookup.bound(where.run).keys() - present)})
        ), {}
    if not args.guests:
        raise UsageError("no guest was named", "Name at least one guest, or use --all.")
    if all(name in present for name in args.guests):
        return list(dict.fromkeys(args.guests)), {}
    lab = open_lab(where)
    names = expanded(lab, args.guests)
    known = {*present, *lab.guests, *lab.invalid}
    return names, {name: no_such_guest(lab, name) for name in names if name not in known}


def refuse_names(args: Args, flag: str = "--all") -> None:
    """Raises UsageError where guests are named beside a flag that means others as well."""
    if args.guests:
        named = printable(" ".join(args.guests), 200)
        why = "the option means other guests than those that are named"
        raise UsageError(f"{flag} cannot be combined with names", f"kvmrun {args.command} {named}", why=why)


def unprotected(where: Directories, names: list[str]) -> dict[str, KvmrunError]:
    """A refusal for each of `names` that runs and is protected: by its definition, or as it was started without one."""
    records = {name: rundir.read_record(where.guest(name)) for name in names if rundir.is_running(where.guest(name))}
    if not records:
        return {}
    try:
        now = open_lab(where).guests
    except KvmrunError:
        now = {}
    refused: dict[str, KvmrunError] = {}
    for name, record in records.items():
        if now[name].protect if name in now else record and record.protect:
            hint = f"set protect = false in {name}.toml, or add --force"
            refused[name] = Refused(f"{name} is protected", hint, why="its definition says protect = true")
    return refused


def backwards(where: Directories, names: list[str]) -> dict[str, tuple[str, ...]]:
    """For each of `names` those that end before it: they were started after it."""
    records = {name: rundir.read_record(where.guest(name)) for name in names}
    after = {name: record.after for name, record in records.items() if record}
    return start_order.reverse(start_order.untangled(start_order.among(after, names)))


def together(
    names: list[str],
    do: Callable[[str], None],
    progress: Progress,
    doing: str,
    *,
    before: start_order.Before | None = None,
) -> dict[str, KvmrunError]:
    """Do it to all at once, but for those that come `before` others; the errors by name."""
    if not names:
        return {}
    with progress.waiting(f"{doing} {', '.join(names)}"):
        return each(names, do, before or {}, ends=True)


def at_each(args: Args, doing: str, do: Do, *, limit: float) -> int:
    """Call `do` for every running guest the words mean; what it returns is said of it.

    `limit` is for where --timeout is not given. Without a --force that was asked for, protected guests are refused.
    """
    where = directories(args)
    names, errors = chosen(where, args)
    if args.all:
        names = [name for name in names if rundir.is_running(where.guest(name))]
    good = [name for name in names if name not in errors]
    errors |= {} if getattr(args, "force", True) else unprotected(where, good)
    deadline = args.deadline if args.timeout is not None else Deadline.begin(limit)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:

        def one(name: str) -> None:
            with ExitStack() as calm:
                progress.tell(f"{name} {do(name, running(where, name), deadline, calm)}")

        errors |= together([name for name in names if name not in errors], one, progress, doing)
    return report(names, errors)


def report(names: list[str], errors: dict[str, KvmrunError]) -> int:
    """The exit code of success; raises the errors in the order of `names`."""
    if errors:
        raise Several([errors[name] for name in names if name in errors])
    return 0


def _let_go(directory: str) -> bool:
    """Whether nobody holds the guest's lock any more; a process in the midst of its end does for a moment yet."""
    deadline = time.monotonic() + rundir.MIDST
    while rundir.is_locked(directory) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not rundir.is_locked(directory)


@contextmanager
def over(
    where: Directories, name: str, progress: Progress, *, ended: bool = False, deadline: Deadline = NEVER
) -> Iterator[int | None]:
    """Hold the guest and a pidfd on its QEMU, None when it does not run; afterwards remove what it left.

    `ended` says that the caller has ended it just now. Another command is waited for no longer than the deadline.
    """
    directory = where.guest(name)
    if not os.path.isdir(directory) and not rundir.is_running(directory):
        _refuse_others(where, name)
        rundir.prune(where.run)  # a stop that was killed may have left the empty directory
        progress.tell(f"{name} is not running")
        yield None
        return
    with ExitStack() as calm, rundir.held(directory, name, limit=deadline.left(rundir.OP_LIMIT)):
        refuse_other(where, name)
        record = rundir.read_record(directory)
        began = time.monotonic()
        locked = rundir.is_locked(directory)
        with rundir.opened(directory, record.pid if record else 0) as pidfd:
            interrupt = None
            try:
                yield pidfd
                calm.enter_context(held_back())
            except KeyboardInterrupt as why:
                calm.enter_context(held_back())
                if pidfd is None or not process.ended(pidfd, 0):
                    raise
                interrupt = why  # it came too late: the guest has ended
            if pidfd is None and not ended:
                _refuse_others(where, name)
            with undoing():  # also once the time of the command is over
                _tidy(where, name, record, locked=locked or not where.root)
            took = f" after {time.monotonic() - began:.1f} s" if pidfd is not None else "" if ended else " already"
            progress.tell(f"{name} is stopped{took}")
            if interrupt is not None:
                raise interrupt


def _refuse_others(where: Directories, name: str) -> None:
    """Raises NotPermitted where a guest of that name runs for another account: it is not stopped."""
    from kvmrun.commands._owner import elsewhere

    if error := elsewhere(where, name):
        raise error


def _tidy(where: Directories, name: str, record: Record | None, *, locked: bool) -> None:
    """Remove what a guest that has ended left. Raises Unresponsive where it has not."""
    directory = where.guest(name)
    if not _let_go(directory):
        why = "a process that cannot be seen, or is stuck in its own end, holds its lock"
        raise Unresponsive(f"{name} has not ended", "dmesg may say why; try again", why=why)
    from kvmrun.host.firewall import port_guard
    from kvmrun.host.links import persistent_taps  # loaded while others still end

    persistent_taps.drop_leftovers(where, name, record.ports if record else ())  # while they are guarded
    (port_guard.remove if locked else port_guard.drop)(directory, name)
    rundir.tidy(directory)
