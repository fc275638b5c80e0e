"""Copying a file or a directory into a guest or out of it, by its agent."""

import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager

from kvmrun.api.conversation.agent import AgentSession
from kvmrun.api.lab import LabHandle, require_running
from kvmrun.api.report import Report, discard, transferring, waiting
from kvmrun.config.standard_paths import make_absolute
from kvmrun.errors import KvmrunError, UsageError, host_reason
from kvmrun.host.files import tar_tree
from kvmrun.host.files.safe_directory import holding, replacing
from kvmrun.model.deadline import Deadline
from kvmrun.model.printable import quoted
from kvmrun.model.value import Value
from kvmrun.monitor.agent import agent_files
from kvmrun.monitor.agent.agent_client import AgentError

_HINT = "kvmrun cp FILE NAME:/PATH, or kvmrun cp NAME:/PATH FILE"


class GuestPath(Value):
    """A file or directory in a guest, by its absolute path there."""

    guest: str
    path: str

    def __str__(self) -> str:
        return f"{self.guest}:{self.path}"


class CopyOptions(Value):
    """How something is copied: `recursive` copies a directory with everything in it. `timeout` is in seconds; without
    it there is no limit for the whole, and 30 s for each answer of the agent.
    """

    recursive: bool = False
    timeout: float | None = None


class Copied(Value):
    """How much was copied, in words, and what was left out, each with the reason."""

    text: str
    skipped: tuple[str, ...] = ()


def copy_to_guest(
    lab: LabHandle, source: str, target: GuestPath, options: CopyOptions | None = None, *, report: Report = discard
) -> Copied:
    """Put the file or directory `source` at `target` in a running guest.

    Raises: what is in the way, as UsageError, Refused, NotRunning, NoSuchGuest, Unresponsive or KvmrunError; the target
    is then as it was before.
    """
    with _copying(lab, target.guest, (source, f"{target}"), (options or CopyOptions(), report)) as copy:
        return copy.upload(source, target.path)


def copy_from_guest(
    lab: LabHandle, source: GuestPath, target: str, options: CopyOptions | None = None, *, report: Report = discard
) -> Copied:
    """Put what a running guest has at `source` at `target` here.

    Raises: what `copy_to_guest` raises; the target is then as it was before.
    """
    with _copying(lab, source.guest, (f"{source}", target), (options or CopyOptions(), report)) as copy:
        return copy.download(source.path, target)


@contextmanager
def _copying(lab: LabHandle, name: str, words: tuple[str, str], how: tuple[CopyOptions, Report]) -> Iterator["_Copy"]:
    directory = require_running(lab.paths, name)
    deadline = Deadline.begin(how[0].timeout)
    with closing(AgentSession(directory, name, deadline)) as line:
        try:
            yield _Copy(words, line, deadline, how)
        except OSError as error:
            raise KvmrunError(f"cannot copy {words[0]}", reason=host_reason(error)) from None


def _name_in_directory(path: str) -> str:
    """The name that the copy of a directory has within an existing one. Raises UsageError."""
    name = posixpath.basename(path.rstrip("/"))
    if name in {"", ".", ".."}:
        raise UsageError(f"{path} gives the copy no name", "name the directory itself, not / or . or ..")
    return name


class _Copy:
    """One copy, with what it works by."""

    def __init__(
        self, words: tuple[str, str], line: AgentSession, deadline: Deadline, how: tuple[CopyOptions, Report]
    ) -> None:
        self._words = words
        self._line = line
        self._deadline = deadline
        self._options, self._report = how

    def upload(self, source: str, path: str) -> Copied:
        """Put what is at `source` at `path` in the guest."""
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(fd)
            if stat.S_ISDIR(found.st_mode):
                return self._upload_tree(source, path)
            if not stat.S_ISREG(found.st_mode):
                raise UsageError(f"{source} is not a file", "use tar to copy several files")
            if path.endswith("/") or agent_files.is_directory(self._line, path):
                path = posixpath.join(path, os.path.basename(source))
            with transferring(self._report, source, found.st_size) as moved:
                agent_files.upload(self._line, fd, stat.S_IMODE(found.st_mode) & 0o777, path, moved)
            return Copied(text=f"{os.lseek(fd, 0, os.SEEK_CUR)} bytes")
        finally:
            os.close(fd)

    def download(self, path: str, target: str) -> Copied:
        """Put what the guest has at `path` at `target`."""
        if self._options.recursive and agent_files.is_directory(self._line, path):
            return self._download_tree(path, target)
        try:
            return self._download_file(path, target)
        except AgentError:
            if agent_files.is_directory(self._line, path):
                raise self._is_directory_error(f"{path} is a directory") from None
            raise

    def _is_directory_error(self, message: str) -> UsageError:
        source, target = map(quoted, self._words)
        return UsageError(message, f"kvmrun cp -r {source} {target}")

    def _upload_tree(self, source: str, path: str) -> Copied:
        """Send the directory as an archive, which the guest unpacks beside the target."""
        from tempfile import TemporaryFile

        if not self._options.recursive:
            raise self._is_directory_error(f"{source} is a directory")
        line, path = self._line, path.rstrip("/") or "/"
        if agent_files.is_directory(line, path):
            path = posixpath.join(path, _name_in_directory(source))
        if agent_files.is_there(line, path):
            raise tar_tree.exists(f"{path} in the guest")
        with TemporaryFile() as file, agent_files.workspace(line, posixpath.dirname(path), line.last) as workspace:
            done = tar_tree.pack_tree(source, file)
            archive, size = f"{workspace}/archive", file.tell()
            file.flush()
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            with transferring(self._report, source, size) as moved:
                agent_files.upload(line, file.fileno(), 0o600, archive, moved)
            with waiting(self._report, "tar in the guest", limit=self._options.timeout):
                agent_files.unpack(line, archive, path, self._deadline, line.last)
        return _copied(done)

    def _download_tree(self, path: str, target: str) -> Copied:
        """Have the guest make an archive and fetch it; it is unpacked beside the target."""
        from tempfile import TemporaryFile

        line, name = self._line, _name_in_directory(path)
        target = make_absolute(os.path.join(target, name) if os.path.isdir(target) else target)
        with holding(target) as (parent, file), TemporaryFile(dir=f"/proc/self/fd/{parent.fd}", buffering=0) as archive:
            if parent.has(file):
                raise tar_tree.exists(target)
            with agent_files.workspace(line, "/tmp", line.last) as there:  # noqa: S108 - the guest's, and a name of our own
                with waiting(self._report, "tar in the guest", limit=self._options.timeout):
                    agent_files.pack(line, path, f"{there}/archive", self._deadline, line.last)
                with transferring(self._report, path) as moved:
                    agent_files.download(line, f"{there}/archive", archive.fileno(), moved)
            own = os.fsencode(posixpath.basename(there))  # which is in the archive when /tmp is copied
            return _copied(tar_tree.unpack_tree(parent, file, archive.fileno(), own))

    def _download_file(self, path: str, target: str) -> Copied:
        """The file takes its name only once it is whole; a link of that name is replaced, not followed."""
        name = posixpath.basename(path)
        if name in {"", ".", ".."}:
            raise UsageError(f"{path} is not a file", _HINT)
        target = make_absolute(os.path.join(target, name) if os.path.isdir(target) else target)
        with (
            replacing(target) as (parent, file),
            parent.part(file) as (fd, part),
            transferring(self._report, path) as moved,
        ):
            agent_files.download(self._line, path, fd, moved)
            parent.move(part, file)
            return Copied(text=f"{os.lseek(fd, 0, os.SEEK_CUR)} bytes")


def _copied(done: tar_tree.Contents) -> Copied:
    return Copied(text=f"{done}", skipped=tuple(done.skipped))
