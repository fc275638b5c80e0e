"""kvmrun edit: change a definition in an editor. It is saved once it is valid, and what was typed is never lost."""

import os
import shutil
import sys
import tempfile

from kvmrun.commands import _definition
from kvmrun.commands._lab import directories, no_such_guest, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.config.load_lab import RESERVED
from kvmrun.errors import ConfigError, Refused, UsageError
from kvmrun.host.files import definition_files, editor
from kvmrun.host.rundir import rundir
from kvmrun.light.abc import Iterable
from kvmrun.model.guest.paths import Directories
from kvmrun.model.lab import Problem
from kvmrun.model.printable import printable
from kvmrun.ui.text.progress import Progress
from kvmrun.ui.text.prompt import confirmed

HELP = "change a definition in your editor; it is saved if it is valid"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a guest, or networks, or defaults")
    parser.add_argument(
        "--from", dest="source", metavar="FILE", help="start with the text of this file; without a terminal, save it"
    )


def run(args: Args) -> int:
    """Raises ConfigError when it stays invalid, Refused when somebody else changed it meanwhile."""
    where = directories(args)
    before = open_lab(where)
    stem = args.guest
    if stem not in {*RESERVED, *before.guests, *before.invalid}:
        raise no_such_guest(before, stem)
    _definition.writable(where)
    _refuse_without_terminal(stem, args)
    path = _definition.path(where, stem)
    old = definition_files.read(path)
    kept = tempfile.mkdtemp(prefix="kvmrun-")
    mine = f"{kept}/{stem}.toml"
    saved = False
    try:
        definition_files.create(mine, definition_files.read(args.source) if args.source else old)
        new = _edited(where, stem, mine, old)
        if new != old:
            if definition_files.read(path) != old:
                hint = f"diff {mine} {path} shows the differences; kvmrun edit {stem} --from {mine} saves your text"
                raise Refused(f"{path} was changed by somebody else meanwhile", hint)
            definition_files.replace(path, new) if old else definition_files.create(path, new)
        saved = True
    finally:
        _keep(kept, mine, (b"", old, definition_files.read(args.source) if args.source else old), saved=saved)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        progress.tell(f"{path} is {'saved' if new != old else 'unchanged'}")
        if new != old and stem not in RESERVED and rundir.is_running(where.guest(stem)):
            progress.tell(f"{stem} continues as it was started; kvmrun restart {stem} takes what is new")
    return 0


def _refuse_without_terminal(stem: str, args: Args) -> None:
    """An editor without a terminal edits nothing. Raises UsageError."""
    if args.source and not os.path.isfile(args.source):
        raise UsageError(f"there is no file {printable(args.source, 200)}", f"kvmrun edit {stem}")
    if not (args.source or _has_terminal()):
        hint = f"kvmrun edit {stem} --from FILE saves the text of a file"
        raise UsageError(f"{stem} was not edited", hint, why="there is no terminal for an editor")


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _edited(where: Directories, stem: str, mine: str, old: bytes) -> bytes:
    """What the user made of it, once it is valid or as it was. Raises ConfigError when they give up."""
    while True:
        if _has_terminal():
            editor.edit(mine)
        new = definition_files.read(mine)
        errors = _errors(where, stem, new) if new != old else []
        if not errors:
            return new
        lines = tuple(f"{one}" for one in errors)
        if not (_has_terminal() and _again(stem, lines)):
            hint = f"kvmrun edit {stem} --from {mine} continues with what was typed"
            raise ConfigError(f"{stem} is not valid and was not saved", hint, lines=lines)


def _again(stem: str, lines: Iterable[str]) -> bool:
    """Tell the person what is wrong, and ask whether they go on."""
    sys.stderr.write("".join(f"  {printable(line)}\n" for line in lines))
    return bool(confirmed(f"{stem} is not valid; edit it again?", usual=True))


def _errors(where: Directories, stem: str, data: bytes) -> list[Problem]:
    """Every error of this file, and those of others that are its doing."""
    before = open_lab(where)
    after, new = _definition.new_errors(where, before, {f"{stem}.toml": data})
    own = [one for one in after.problems if one.file == f"{stem}.toml" and not one.warning]
    return [*own, *(one for one in new if one not in own)]


def _keep(kept: str, mine: str, known: tuple[bytes, ...], *, saved: bool) -> None:
    """Remove the copy, unless it holds a text that is nowhere else."""
    if saved or definition_files.read(mine) in known:
        shutil.rmtree(kept, ignore_errors=True)
    else:
        sys.stderr.write(f"kvmrun: what you typed is kept in {os.path.abspath(mine)}\n")
