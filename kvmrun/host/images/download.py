"""A download that goes on where it was cut, and is hashed while it comes.

The part stays when the command is interrupted. It is continued by Range with If-Range, so that a file which has changed
on the server comes whole again; what is there already is hashed again.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

from kvmrun.errors import KvmrunError, Refused, Unresponsive
from kvmrun.host.files import atomic_write, small_files
from kvmrun.host.images import http_client
from kvmrun.model.deadline import Deadline
from kvmrun.model.image.image_digest import Digest
from kvmrun.model.printable import printable
from kvmrun.model.scalars import Size
from kvmrun.model.value import Value

_CONTINUED = 8
"""How often a cut connection is made again by one command, as long as each brings something."""
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
Moved = Callable[[int, int], None]
"""Called with the bytes that are there and with their total, 0 where that is not known."""


class _Changed(Exception):
    """The part is not of the file that the server has now; it is empty again."""


class Source(Value):
    """What is to be downloaded. Without `digest` the SHA-256 is only computed. `size` is what a stream says."""

    url: str
    digest: Digest | None = None
    size: int | None = None


def download(source: Source, part: str, moved: Moved, deadline: Deadline) -> Digest:
    """Bring the file to `part`, or the rest of it, and return its digest. The caller holds a lock.

    Raises Refused for a wrong digest or what is no image, after which there is no part; KvmrunError for any other
    fault, after which the part stays.
    """
    fd = os.open(part, _FLAGS, 0o600)
    try:
        for _ in range(_CONTINUED):
            before = os.fstat(fd).st_size
            try:
                return _Transfer(source, fd, part).run(moved, deadline)
            except _Changed:
                continue
            except http_client.Cut as cut:
                if os.fstat(fd).st_size <= before or deadline.is_over():
                    raise _incomplete(source, os.fstat(fd).st_size, cut.reason) from None
        raise _incomplete(source, os.fstat(fd).st_size, "the connection was cut again and again")
    except Refused:
        discard_part(part)
        raise
    finally:
        os.close(fd)


def discard_part(part: str) -> None:
    """Remove a part, and what is known of it."""
    for path in (part, f"{part}.json"):
        atomic_write.remove(path)


def _incomplete(source: Source, size: int, reason: str) -> KvmrunError:
    fix = f"try again: it goes on after {size} bytes" if size else "try again"
    return KvmrunError(f"{source.url} was not received whole", fix, reason=printable(reason, 200))


class _Transfer:
    """One request for what is still missing."""

    def __init__(self, source: Source, fd: int, part: str) -> None:
        self.source = source
        self.fd = fd
        self.part = part
        self.hash = hashlib.new(source.digest.algorithm if source.digest else "sha256")
        self.have = os.fstat(fd).st_size
        self.total = 0

    def run(self, moved: Moved, deadline: Deadline) -> Digest:
        validator = self._validator()
        if not validator:
            self._restart()
        headers = {"Range": f"bytes={self.have}-", "If-Range": validator} if self.have else {}
        allowed = frozenset({200, 206, 416} if self.have else {200})
        with http_client.response_to(self.source.url, deadline, headers, allowed=allowed) as response:
            if self._is_complete(response):
                self._hash_part()
                return self._digest()
            self._begin(response)
            moved(self.have, self.total)
            self._receive(response, moved, deadline)
        return self._digest()

    def _restart(self) -> None:
        os.ftruncate(self.fd, 0)
        self.have = 0

    def _validator(self) -> str:
        """What tells whether the file on the server is still the one that the part is of; "" where nothing does."""
        try:
            known = json.loads(small_files.read_bounded(f"{self.part}.json") or b"{}")
        except ValueError:
            return ""
        if not isinstance(known, dict) or known.get("url") != self.source.url:
            return ""
        validator = known.get("validator")
        return validator if isinstance(validator, str) and validator.isprintable() else ""

    def _is_complete(self, response: Any) -> bool:
        """Whether the part is the whole file: a server says 416 to a request for what is behind its end."""
        if response.status_code != 416:
            return False
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if total == f"{self.have}":
            return True
        self._restart()
        raise _Changed

    def _begin(self, response: Any) -> None:
        """Take up what the response says of the file, and hash what is there already."""
        if response.status_code == 206:
            start, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
            if start.partition("-")[0] != f"{self.have}":
                self._restart()
                raise _Changed
            self.total = int(total) if total.isdecimal() else 0
        else:
            self._restart()
            length = response.headers.get("Content-Length", "")
            self.total = int(length) if length.isdecimal() else 0
        if "text/html" in response.headers.get("Content-Type", "").lower():
            raise self._no_image("the server sent a web page")
        self._require_size()
        self._hash_part()
        strong = response.headers.get("ETag", "")
        validator = strong if strong and not strong.startswith("W/") else response.headers.get("Last-Modified", "")
        note = {"url": self.source.url, "validator": validator}
        small_files.replace_atomically(f"{self.part}.json", json.dumps(note).encode())

    def _require_size(self) -> None:
        if self.source.size and self.total and self.total != self.source.size:
            reason = f"it has {self.total} bytes, and {self.source.size} are published"
            raise Refused(f"{self.source.url} is not the file that was published", "try again later", reason=reason)
        place = os.statvfs(os.path.dirname(self.part))
        missing = self.total - self.have
        if missing > place.f_bavail * place.f_frsize:
            raise self._no_room(f"{Size(missing)} are missing, and {place.f_bavail * place.f_frsize} bytes are free")

    def _no_room(self, reason: str) -> KvmrunError:
        where = os.path.dirname(self.part)
        return KvmrunError(f"there is no room for {self.source.url} in {where}", "kvmrun image prune", reason=reason)

    def _no_image(self, reason: str) -> Refused:
        return Refused(f"{self.source.url} is no image", "correct the address", reason=reason)

    def _hash_part(self) -> None:
        self.hash = hashlib.new(self.hash.name)
        os.lseek(self.fd, 0, os.SEEK_SET)
        left = self.have
        while left and (chunk := os.read(self.fd, min(left, http_client.CHUNK))):
            self.hash.update(chunk)
            left -= len(chunk)

    def _receive(self, response: Any, moved: Moved, deadline: Deadline) -> None:
        try:
            for chunk in http_client.chunks_of(response, deadline, self.source.url):
                if self.have < 16 and chunk.lstrip()[:16].lower().startswith(_PAGES):
                    raise self._no_image("the server sent a web page")
                self._write(chunk)
                moved(self.have, self.total)
        except Unresponsive as error:
            error.fix = f"try again: it goes on after {self.have} bytes"
            raise
        if self.total and self.have < self.total:
            raise http_client.Cut(f"{self.have} of {self.total} bytes came")

    def _write(self, chunk: bytes) -> None:
        self.hash.update(chunk)
        view = memoryview(chunk)
        try:
            while view:
                written = os.pwrite(self.fd, view, self.have)
                self.have += written
                view = view[written:]
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise self._no_room(os.strerror(error.errno)) from None
            raise

    def _digest(self) -> Digest:
        """The digest of the whole. Raises Refused where it is not the one that was published."""
        os.fsync(self.fd)
        found = Digest.parse(self.hash.hexdigest())
        if self.source.digest and found != self.source.digest:
            lines = (f"expected {self.source.digest}", f"received {found}")
            fix = "try again later: a publisher exchanges files one after the other; else do not use it"
            reason = "the file is damaged, or somebody has changed it"
            raise Refused(f"{self.source.url} has not the digest that was published", fix, reason=reason, lines=lines)
        return found
