"""Pages in a directory that man(1) reads: written, and removed again without touching a page of another program."""

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress

from kvmrun.errors import KvmrunError
from kvmrun.host.files import safe_directory
from kvmrun.host.files.safe_directory import Directory, cannot
from kvmrun.host.process import process
from kvmrun.model.deadline import remaining

_MARK = b'.\\" installed by kvmrun man --install\n'
_LIMIT = 10.0


def install(root: str, pages: Mapping[tuple[str, str], str]) -> list[str]:
    """Write every page, keyed by its name and section, below `root`; the paths of pages of others, which stay.

    Raises: KvmrunError where it cannot be written.
    """
    kept = []
    try:
        for (name, section), text in pages.items():
            with safe_directory.opened(f"{root}/man{section}", make=0o755) as directory:
                if directory.has(f"{name}.{section}") and not _is_ours(directory, f"{name}.{section}"):
                    kept.append(f"{directory.path}/{name}.{section}")
                else:
                    directory.write(f"{name}.{section}", _MARK + text.encode(), 0o644)
    except OSError as error:
        raise cannot("write to", root, error) from None
    return kept


def remove(root: str) -> list[str]:
    """Remove every page of ours below `root`, and the directories of sections that are empty then; their paths."""
    removed = []
    with safe_directory.opened(root) as top:
        sections = [name for name in top.names() if name.startswith("man")]
    for section in sections:
        with suppress(KvmrunError), safe_directory.opened(f"{root}/{section}") as directory:
            for name in directory.names():
                if _is_ours(directory, name):
                    directory.remove(name)
                    removed.append(f"{directory.path}/{name}")
        if removed and removed[-1].startswith(f"{root}/{section}/"):
            with suppress(OSError):
                os.rmdir(f"{root}/{section}")
    return removed


def is_found(path: str) -> bool:
    """Whether man(1), as it is set up for this user, reads the page at `path`; True where there is no man."""
    reader = process.find_program("man")
    if not reader:
        return True
    name, _, section = os.path.basename(path).rpartition(".")
    try:
        done = subprocess.run(
            [reader, "-w", section, name], capture_output=True, text=True, timeout=remaining(_LIMIT), check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    return os.path.realpath(done.stdout.strip()) == os.path.realpath(path)


def _is_ours(directory: Directory, name: str) -> bool:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory.fd)
    except OSError:
        return False
    with open(fd, "rb") as file:
        try:
            return file.read(len(_MARK)) == _MARK
        except OSError:  # a directory
            return False
