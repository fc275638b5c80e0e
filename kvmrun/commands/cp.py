"""kvmrun cp: a file or a directory into a guest or out of it, by its agent."""

import os
import posixpath
import re
import stat
from contextlib import closing

from kvmrun.commands._agent import Line
from kvmrun.commands._lab import directories, running
from kvmrun.commands._words import Args, Parser
from kvmrun.config.standard_paths import absolute
from kvmrun.errors import KvmrunError, UsageError, reason
from kvmrun.host.files import tar_tree
from kvmrun.host.files.safe_directory import holding, replacing
from kvmrun.model.printable import quoted
from kvmrun.monitor.agent import agent_files
from kvmrun.monitor.agent.agent_client import AgentError
from kvmrun.ui.text.progress import Progress

HELP = "copy files into a guest or out of it through its agent"
TIMEOUT = "none; 30 s for each answer of the agent"
_HINT = "kvmrun cp FILE NAME:/PATH, or kvmrun cp NAME:/PATH FILE"
_TOLD = 5


def configure(parser: Parser) -> None:
    parser.add_argument("-r", "--recursive", action="store_true", help="copy a directory with everything in it")
    parser.add_argument("source", metavar="SRC", help="a file of the host, or NAME:/PATH for a file of a guest")
    parser.add_argument(
        "target", metavar="DST", help="a file or directory, or NAME:/PATH; either SRC or DST is in a guest"
    )


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
        copy = _Copy(args, line, progress)
        try:
            done = copy.out(path, args.target) if source else copy.into(args.source, path)
        except OSError as why:
            raise KvmrunError(f"cannot copy {args.source}", why=reason(why)) from None
        progress.tell(f"{args.source} -> {args.target}: {done}")
    return 0


def _inside(word: str) -> tuple[str, str] | None:
    """The guest and the path in it, None for a path of the host. Raises UsageError."""
    found = re.fullmatch(r"([a-z0-9-]{1,32}):(.*)", word, re.DOTALL)
    if found is None:
        return None
    if not found[2].startswith("/"):
        raise UsageError(f"{word}: a path in a guest begins with /", _HINT)
    return found[1], found[2]


def _base(path: str) -> str:
    """The name that the copy of a directory has within an existing one. Raises UsageError."""
    name = posixpath.basename(path.rstrip("/"))
    if name in {"", ".", ".."}:
        raise UsageError(f"{path} gives the copy no name", "name the directory itself, not / or . or ..")
    return name


class _Copy:
    """One copy, with what it works by."""

    def __init__(self, args: Args, line: Line, progress: Progress) -> None:
        self._args = args
        self._line = line
        self._progress = progress

    def into(self, source: str, path: str) -> str:
        """Put what is at `source` at `path` in the guest; what was copied, in words."""
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(fd)
            if stat.S_ISDIR(found.st_mode):
                return self._tree_into(source, path)
            if not stat.S_ISREG(found.st_mode):
                raise UsageError(f"{source} is not a file", "use tar to copy several files")
            if path.endswith("/") or agent_files.is_directory(self._line, path):
                path = posixpath.join(path, os.path.basename(source))
            with self._progress.counting(source, found.st_size) as moved:
                agent_files.send(self._line, fd, stat.S_IMODE(found.st_mode) & 0o777, path, moved)
            return f"{os.lseek(fd, 0, os.SEEK_CUR)} bytes"
        finally:
            os.close(fd)

    def out(self, path: str, target: str) -> str:
        """Put what the guest has at `path` at `target`; what was copied, in words."""
        if self._args.recursive and agent_files.is_directory(self._line, path):
            return self._tree_out(path, target)
        try:
            return self._file_out(path, target)
        except AgentError:
            if agent_files.is_directory(self._line, path):
                raise self._directory(f"{path} is a directory") from None
            raise

    def _directory(self, message: str) -> UsageError:
        source, target = quoted(self._args.source), quoted(self._args.target)
        return UsageError(message, f"kvmrun cp -r {source} {target}")

    def _tree_into(self, source: str, path: str) -> str:
        """Send the directory as an archive, which the guest unpacks beside the target."""
        from tempfile import TemporaryFile

        if not self._args.recursive:
            raise self._directory(f"{source} is a directory")
        line, path = self._line, path.rstrip("/") or "/"
        if agent_files.is_directory(line, path):
            path = posixpath.join(path, _base(source))
        if agent_files.is_there(line, path):
            raise tar_tree.exists(f"{path} in the guest")
        with TemporaryFile() as file, agent_files.workspace(line, posixpath.dirname(path), line.last) as place:
            done = tar_tree.pack(source, file)
            archive, size = f"{place}/archive", file.tell()
            file.flush()
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            with self._progress.counting(source, size) as moved:
                agent_files.send(line, file.fileno(), 0o600, archive, moved)
            with self._progress.waiting("tar in the guest", limit=self._args.timeout):
                agent_files.unpack(line, archive, path, self._args.deadline, line.last)
        return self._told(done)

    def _tree_out(self, path: str, target: str) -> str:
        """Have the guest make an archive and fetch it; it is unpacked beside the target."""
        from tempfile import TemporaryFile

        line, name = self._line, _base(path)
        target = absolute(os.path.join(target, name) if os.path.isdir(target) else target)
        with holding(target) as (place, file), TemporaryFile(dir=f"/proc/self/fd/{place.fd}", buffering=0) as archive:
            if place.has(file):
                raise tar_tree.exists(target)
            with agent_files.workspace(line, "/tmp", line.last) as there:  # noqa: S108 - the guest's, and a name of our own
                with self._progress.waiting("tar in the guest", limit=self._args.timeout):
                    agent_files.pack(line, path, f"{there}/archive", self._args.deadline, line.last)
                with self._progress.counting(path, 0) as moved:
                    agent_files.fetch(line, f"{there}/archive", archive.fileno(), moved)
            own = os.fsencode(posixpath.basename(there))  # which is in the archive when /tmp is copied
            return self._told(tar_tree.unpack(place, file, archive.fileno(), own))

    def _told(self, done: tar_tree.Contents) -> str:
        for one in done.skipped[:_TOLD]:
            self._progress.warn(f"not copied: {one}")
        if len(done.skipped) > _TOLD:
            self._progress.warn(f"not copied: {len(done.skipped) - _TOLD} more")
        return f"{done}"

    def _file_out(self, path: str, target: str) -> str:
        """The file takes its name only once it is whole; a link of that name is replaced, not followed."""
        name = posixpath.basename(path)
        if name in {"", ".", ".."}:
            raise UsageError(f"{path} is not a file", _HINT)
        target = absolute(os.path.join(target, name) if os.path.isdir(target) else target)
        with (
            replacing(target) as (place, file),
            place.part(file) as (fd, part),
            self._progress.counting(path, 0) as moved,
        ):
            agent_files.fetch(self._line, path, fd, moved)
            place.move(part, file)
            return f"{os.lseek(fd, 0, os.SEEK_CUR)} bytes"
