"""The mark of a guest that was frozen and not thawed again: a file in its run directory, which `stop` heeds."""

import os

from kvmrun.host.files import atomic_write

_NAME = "frozen"


def set_mark(directory: str) -> None:
    """Mark the guest. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    os.close(os.open(f"{directory}/{_NAME}", flags, 0o600))


def clear_mark(directory: str) -> None:
    """Take the mark away, if there is one."""
    atomic_write.remove(f"{directory}/{_NAME}")


def is_marked(directory: str) -> bool:
    return os.path.exists(f"{directory}/{_NAME}")
