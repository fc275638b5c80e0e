"""kvmrun rm: remove a guest's definition and what belongs to nobody else."""

import os
import shutil
import sys

from kvmrun.commands import _definition, _images
from kvmrun.commands._lab import directories, no_such_guest, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import KvmrunError, Refused, Several, UsageError
from kvmrun.host.files import definition_files, known_hosts, ownership
from kvmrun.host.rundir import rundir
from kvmrun.light.abc import Iterable
from kvmrun.model.guest.paths import Directories
from kvmrun.model.lab import Lab
from kvmrun.model.printable import printable
from kvmrun.ui.text.progress import Progress
from kvmrun.ui.text.prompt import confirmed

HELP = "remove a guest: its definition and log; its images only with --images"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="guests that do not run")
    parser.add_argument(
        "--images", action="store_true", help="also remove images that kvmrun created and no other guest uses"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")


def run(args: Args) -> int:
    """Each guest by itself: one that cannot be removed does not stop the others. Raises Several."""
    where = directories(args)
    if not args.guests:
        raise UsageError("no guest was named", "Name at least one guest.")
    errors: dict[str, KvmrunError] = {}
    agreed = []
    for name in dict.fromkeys(args.guests):
        try:
            agreed.append(_removed(where, name, args))
        except KvmrunError as error:
            errors[name] = error
    if errors:
        raise Several(list(errors.values()))
    return 0 if all(agreed) else 1


def _removed(where: Directories, name: str, args: Args) -> bool:
    """Remove one guest; False where the person does not want that after all."""
    lab = open_lab(where)  # what is removed before it, it may have been needed by
    if name not in lab.guests and name not in lab.invalid:
        raise no_such_guest(lab, name)
    _definition.writable(where)
    with rundir.held(where.guest(name), name):
        _definition.at_rest(where, name, "removed")
        _refuse_needed(lab, where, name)
        made, others = _images.of(lab, where, name)
        kept = others if args.images else [*made, *others]
        log = ownership.log(where, name)
        gone = [_definition.path(where, name), *([log] if os.path.isdir(log) else [])]
        gone += made if args.images else []
        if not (args.yes or _agreed(name, gone, kept)):
            return False
        definition_files.remove(gone[0])
        for path in gone[1:]:
            shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else definition_files.remove(path)
        if log == where.log(name):
            ownership.forget(where.state, "log", name)
        for path in made if args.images else ():
            ownership.forget(where.state, "image", os.path.basename(path))
        known_hosts.forget(where, name)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        progress.tell(f"{name} is removed: {', '.join(gone)}")
        for path in kept:
            progress.tell(f"  kept: {path}")
    return True


def _agreed(name: str, gone: Iterable[str], kept: Iterable[str]) -> bool:
    """Say what would go and ask. Raises UsageError where nobody can be asked."""
    said = [f"{name} would be removed:", *(f"  {path}" for path in gone), *(f"  kept: {path}" for path in kept)]
    sys.stderr.write("".join(f"{printable(line)}\n" for line in said))
    answer = confirmed("remove it?", usual=False)
    if answer is None:
        raise UsageError(f"{name} was not removed", f"kvmrun rm {name} --yes", why="there is no terminal to ask at")
    return answer


def _refuse_needed(lab: Lab, where: Directories, name: str) -> None:
    """A guest that is protected, or that others name, is not removed."""
    if name in lab.guests and lab.guests[name].protect:
        why = "its definition says protect = true"
        raise Refused(f"{name} is protected", f"set protect = false in {name}.toml", why=why)
    _, errors = _definition.new_errors(where, lab, {f"{name}.toml": None})
    if errors:
        files = ", ".join(dict.fromkeys(one.file.removesuffix(".toml") for one in errors))
        raise Refused(f"{name} is needed by others", f"kvmrun edit {files}", lines=tuple(f"{one}" for one in errors))
