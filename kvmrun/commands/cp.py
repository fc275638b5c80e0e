"""kvmrun cp: a file into a guest or out of it, by its agent."""

import os
import posixpath
import re
import stat
from contextlib import closing

from kvmrun.commands._agent import Line
from kvmrun.commands._lab import directories, running
from kvmrun.commands._words import Args, Parser
from kvmrun.config.where import absolute
from kvmrun.errors import KvmrunError, UsageError
from kvmrun.host.directory import replacing
from kvmrun.monitor import transfer
from kvmrun.ui.progress import Progress

HELP = "copy a file into a guest or out of it, by its agent"
TIMEOUT = "there is no limit, and 30 s for each answer of the agent"
_HINT = "kvmrun cp FILE NAME:/PATH, or kvmrun cp NAME:/PATH FILE"


def configure(parser: Parser) -> None:
    parser.add_argument("source", metavar="SRC", help="a file, or NAME:/PATH for one in a guest")
    parser.add_argument("target", metavar="DST", help="a file or directory, or NAME:/PATH; exactly one is in a guest")


def run(args: Args) -> int:
    """Raises what is in the way; the target is then as it was before."""
    source, target = _inside(args.source), _inside(args.target)
    if (source is None) == (target is None):
        raise UsageError("exactly one of the two paths must be in a guest", _HINT)
    name, path = source or target or ("", "")
    directory = running(directories(args), name)
    with (
        Progress(quiet=args.quiet, verbose=args.verbose) as progress,
        closing(Line(directory, name, args.deadline)) as line,
    ):
        try:
            done = _out(line, path, args.target, progress) if source else _in(line, args.source, path, progress)
        except OSError as why:
            raise KvmrunError(f"cannot copy {args.source}", why=f"{why.filename or ''}: {why.strerror}") from None
        progress.tell(f"{args.source} -> {args.target}: {done} bytes")
    return 0


def _inside(word: str) -> tuple[str, str] | None:
    """The guest and the path in it, None for a path of the host. Raises UsageError."""
    found = re.fullmatch(r"([a-z0-9-]{1,32}):(.*)", word, re.DOTALL)
    if found is None:
        return None
    if not found[2].startswith("/"):
        raise UsageError(f"{word}: a path in a guest begins with /", _HINT)
    return found[1], found[2]


def _in(line: Line, source: str, path: str, progress: Progress) -> int:
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{source} is not a file", "use tar to copy several files")
        if path.endswith("/") or transfer.is_directory(line, path):
            path = posixpath.join(path, os.path.basename(source))
        with progress.counting(f"{source}", found.st_size) as moved:
            transfer.send(line, fd, stat.S_IMODE(found.st_mode) & 0o777, path, moved)
        return os.lseek(fd, 0, os.SEEK_CUR)
    finally:
        os.close(fd)


def _out(line: Line, path: str, target: str, progress: Progress) -> int:
    """The file takes its name only once it is whole; a link of that name is replaced, not followed."""
    name = posixpath.basename(path)
    if name in {"", ".", ".."}:
        raise UsageError(f"{path} is not a file", _HINT)
    target = absolute(os.path.join(target, name) if os.path.isdir(target) else target)
    with replacing(target) as (place, file), place.part(file) as (fd, part), progress.counting(path, 0) as moved:
        transfer.fetch(line, path, fd, moved)
        place.move(part, file)
        return os.lseek(fd, 0, os.SEEK_CUR)
