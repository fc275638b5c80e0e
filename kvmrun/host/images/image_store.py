"""The store: images by the digest under which they were published, read-only, each used as a base by many guests.

Beside STEM.qcow2 there is STEM.json, which says what the file was when it was verified. A file is complete, on the disk
and has its digest before it gets its name.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial

from kvmrun.errors import KvmrunError, NotPermitted, Refused, host_fix, host_reason
from kvmrun.host.execute.undo import undone_on_error
from kvmrun.host.files import atomic_write, safe_directory, small_files
from kvmrun.host.rundir import lock
from kvmrun.model.deadline import Deadline
from kvmrun.model.image.image_digest import Digest
from kvmrun.model.printable import printable
from kvmrun.model.value import Value

_CHUNK = 1 << 20
_LOCK_LIMIT = 3600.0


class StoredImage(Value):
    """An image in the store. `content` is the digest of the file itself, which differs from `digest` where the file
    was converted; `size` and `modified` (in nanoseconds) are those of the file when it was verified. `labs` are the
    directories that pinned it.
    """

    digest: Digest
    content: Digest
    size: int
    modified: int
    source: str
    verified: str
    labs: tuple[str, ...] = ()


class ImageStore:
    """The images below one directory, which is made when it is needed."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def path(self, digest: Digest, suffix: str = ".qcow2") -> str:
        return f"{self.directory}/{digest.stem}{suffix}"

    def find(self, digest: Digest) -> StoredImage | None:
        """The image of that digest, None where it is not there."""
        return self._read(digest) if os.path.isfile(self.path(digest)) else None

    def images(self) -> list[StoredImage]:
        """Every image of the store, by digest."""
        try:
            names = sorted(os.listdir(self.directory))
        except OSError:
            return []
        found = []
        for name in names:
            if name.endswith(".qcow2") and not name.startswith("."):
                with suppress(ValueError):
                    found.append(self._read(Digest.parse(name.removesuffix(".qcow2").replace("-", ":"))))
        return [one for one in found if one is not None]

    def _read(self, digest: Digest) -> StoredImage | None:
        try:
            said = json.loads(small_files.read_bounded(self.path(digest, ".json")) or b"{}")
            fields = {key: said[key] for key in StoredImage.FIELDS}
            fields |= {"digest": digest, "content": Digest.parse(said["content"]), "labs": tuple(said["labs"])}
            return StoredImage(**fields)
        except (ValueError, KeyError, TypeError):
            return None

    @contextmanager
    def held(self, what: str, deadline: Deadline) -> Iterator[str]:
        """The path of a part, and the lock on it: two commands that want the same file share one download.

        Raises Busy where the other one is not done in time.
        """
        self._made()
        name = hashlib.sha256(what.encode()).hexdigest()[:32]
        try:
            fd = lock.open_lock(f"{self.directory}/.{name}.lock")
        except PermissionError:
            raise NotPermitted(f"you may not write to {self.directory}", "run it with sudo") from None
        try:
            lock.wait_for_lock(fd, printable(what, 200), limit=deadline.granted(_LOCK_LIMIT))
            yield f"{self.directory}/.{name}.part"
        finally:
            os.close(fd)

    def _made(self) -> None:
        safe_directory.made(self.directory, 0o755)

    def add(self, part: str, image: StoredImage, extra: Mapping[str, str]) -> None:
        """Give a finished part its name, in the place of one that was changed; `extra` are further files by suffix."""
        with self._worded(), undone_on_error() as undone_by:
            for suffix, path in {**extra, ".qcow2": part}.items():
                self._complete(path)
                os.rename(path, place := self.path(image.digest, suffix))
                undone_by(partial(atomic_write.remove, place))  # without a note nobody would find it, or remove it
                self._sync()
            self.note_verified(image)

    def _complete(self, part: str) -> None:
        """Have the part on the disk, and closed to writing."""
        fd = os.open(part, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(fd)
            os.fchmod(fd, 0o444)
        finally:
            os.close(fd)

    def _sync(self) -> None:
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def note(self, image: StoredImage) -> None:
        """Write down what is known of an image."""
        path = self.path(image.digest, ".json")
        with self._worded(), atomic_write.replacing(path, f"{path}.new") as fd:
            atomic_write.fill(fd, json.dumps(image.as_dict(), default=str).encode(), 0o644)

    def note_verified(self, image: StoredImage) -> None:
        """The same of an image whose content is right: its size and time of now are what `changed_reason` expects."""
        now = os.stat(self.path(image.digest))
        if (now.st_size, now.st_mtime_ns) != (image.size, image.modified):
            self.note(image.replace(size=now.st_size, modified=now.st_mtime_ns))

    def remove(self, digest: Digest) -> None:
        """Remove an image with what belongs to it; last go the image and its note, by which it is known."""
        with self._worded():
            for suffix in (".vmlinuz", ".initrd", ".qcow2", ".json"):
                atomic_write.remove(self.path(digest, suffix))

    def parts(self) -> list[str]:
        """The files of downloads that were not finished, and that no command is at work on."""
        try:
            names = sorted(os.listdir(self.directory))
        except OSError:
            return []
        stems = {name[:33] for name in names if name.startswith(".") and len(name) > 33}
        idle = [stem for stem in stems if not lock.is_held(f"{self.directory}/{stem}.lock")]
        return [f"{self.directory}/{name}" for name in names if name[:33] in idle]

    @contextmanager
    def _worded(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise NotPermitted(
                f"you may not write to {self.directory}", "run it with sudo", reason=f"{error}"
            ) from None
        except OSError as error:
            raise KvmrunError(f"cannot write to {self.directory}", host_fix(error), reason=host_reason(error)) from None


def hash_file(path: str, algorithm: str, moved: Callable[[int, int], None], deadline: Deadline) -> Digest:
    """The digest of a file. Raises Refused where it cannot be read."""
    found = hashlib.new(algorithm)
    try:
        with open(path, "rb", buffering=0) as file:
            total, done = os.fstat(file.fileno()).st_size, 0
            while chunk := file.read(_CHUNK):
                found.update(chunk)
                done += len(chunk)
                moved(done, total)
                if deadline.is_over():
                    raise KvmrunError(f"{path} was not read in time", "--timeout SECONDS")
    except OSError as error:
        raise Refused(f"cannot read {path}", "correct the path", reason=host_reason(error)) from None
    return Digest.parse(found.hexdigest())


def changed_reason(path: str) -> str:
    """Why a file of the store is not the one that was verified, "" where it is as far as size and time tell.

    Asked at every start of a guest, so nothing is read but the note beside it.
    """
    said = small_files.read_bounded(f"{path.removesuffix('.qcow2')}.json")
    try:
        known = json.loads(said or b"{}")
        found = os.stat(path)
        wanted = (known["size"], known["modified"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if (found.st_size, found.st_mtime_ns) == wanted:
        return ""
    return "its size or its time is not the one that it had when it was verified"
