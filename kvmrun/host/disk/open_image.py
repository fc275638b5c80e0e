"""Images of guests by descriptor: opened for work on them, and found among those that a process has open."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from kvmrun.errors import KvmrunError, host_fix, host_reason
from kvmrun.host.facts import block_device
from kvmrun.host.files import safe_directory


@contextmanager
def opened(path: str, *, readonly: bool) -> Iterator[int]:
    """A descriptor on an image, judged on the way there; what was written is on the disk at the end.

    Raises: Refused where the host uses it, KvmrunError where it cannot be opened.
    """
    try:
        at = safe_directory.located(path)
        try:
            fd = block_device.claim_exclusively(at, path, readonly=readonly)
        finally:
            os.close(at)
    except OSError as error:
        raise KvmrunError(f"cannot open {path}", host_fix(error), reason=host_reason(error)) from None
    try:
        yield fd
        if not readonly:
            os.fsync(fd)
    finally:
        os.close(fd)


def is_open_in(pid: int, number: int, path: str) -> bool:
    """Whether a descriptor of a process is on the file at `path`."""
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/fd/{number}"), os.stat(path))
    except OSError:
        return False
