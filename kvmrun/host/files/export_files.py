"""A directory of exported files: written whole or not at all, and never over what is somebody else's."""

import os
import stat
import time
from collections.abc import Mapping
from contextlib import ExitStack

from kvmrun.errors import Refused
from kvmrun.export.shorewall_file import digest_state, with_digest, without_digest
from kvmrun.host.files import atomic_write, safe_directory
from kvmrun.host.files.safe_directory import Directory, cannot

_SHOWN = 30
"""Lines of a difference."""


def write(path: str, texts: Mapping[str, str], mark: str, *, force: bool) -> list[str]:
    """Make the directory hold `texts` by file name, and of other files that begin with `mark` none.

    Returns what was kept and what was copied, as sentences. A file of ours that somebody has changed is kept while we
    would write what we wrote then. Raises Refused when both have changed, and when there is a file without our mark,
    unless `force`: then those of the same names are replaced, and copied before.
    """
    try:
        with safe_directory.opened(path, make=0o755) as parent:
            return _write(parent, texts, mark, force=force)
    except OSError as error:
        raise cannot("write to", path, error) from None


def _write(parent: Directory, texts: Mapping[str, str], mark: str, *, force: bool) -> list[str]:
    present = [name for name in parent.names() if not _is_copy(name)]
    ours = [name for name in present if _read(parent, name).startswith(mark)]
    known = {name: _read(parent, name) for name in present if name in ours or name in texts}
    verdicts = {name: digest_state(text, texts.get(name, "")) for name, text in known.items()}
    if not force:
        _refuse_foreign(parent.path, [name for name in present if name not in ours])
        _refuse_changed(parent.path, {name: known[name] for name in ours if verdicts[name] == "changed"}, texts)
    kept = [name for name in ours if verdicts[name] == "kept" and not force]
    lost = [name for name in known if name not in kept and (verdicts[name] != "ours" or name not in ours)]
    copies = [f"{name} is kept as {_copy(parent, name)}" for name in lost]
    _replace(parent, {name: with_digest(text) for name, text in texts.items() if name not in kept})
    for name in ours:
        if name not in texts:
            parent.remove(name)
    return [*(f"{name} has been changed by hand, and stays as it is" for name in kept), *copies]


def _is_copy(name: str) -> bool:
    """Whether it is a copy that was made here of a file that was replaced."""
    return ".orig" in name


def _copy(directory: Directory, name: str) -> str:
    """Give the file a second name, which it keeps when it is replaced; that name."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    for copy in (
        f"{name}.orig",
        f"{name}.orig-{stamp}",
        *(f"{name}.orig-{stamp}-{number}" for number in range(1, 100)),
    ):
        try:
            os.link(name, copy, src_dir_fd=directory.fd, dst_dir_fd=directory.fd, follow_symlinks=False)
        except FileExistsError:
            continue
        return copy
    raise Refused(f"{directory.path}/{name} cannot be copied", "remove old copies", reason="there are too many")


def put(path: str, text: str) -> None:
    """Make the file at `path` hold `text`, for everybody to read: a reader sees the old one whole, or the new one.

    Raises: KvmrunError where it cannot be written.
    """
    try:
        with safe_directory.replacing(path) as (parent, name):
            parent.write(name, text.encode(), 0o644)
    except OSError as error:
        raise cannot("write", path, error) from None


def _refuse_foreign(path: str, foreign: list[str]) -> None:
    if foreign:
        named = ", ".join(foreign[:4]) + (f" and {len(foreign) - 4} more" if len(foreign) > 4 else "")
        fix = "name another directory; kvmrun export shorewall --lines prints what to add to a configuration of yours"
        raise Refused(f"{path} holds files that are not ours", fix, reason=named)


def _replace(directory: Directory, texts: Mapping[str, str]) -> None:
    """All files beside their places first, so that a full disk leaves the old ones as they were."""
    with ExitStack() as parts:
        made = []
        for name, text in texts.items():
            fd, part = parts.enter_context(directory.part(name))
            atomic_write.fill(fd, text.encode(), 0o644)
            made.append((part, name))
        for part, name in made:
            directory.move(part, name)


def _refuse_changed(path: str, changed: Mapping[str, str], texts: Mapping[str, str]) -> None:
    """What would be lost is shown: the lines that somebody has changed, and those that would be written now."""
    if not changed:
        return
    import difflib

    lines: list[str] = []
    for name, text in changed.items():
        old, new = without_digest(text).rstrip().splitlines(), texts.get(name, "").rstrip().splitlines()
        lines += difflib.unified_diff(old, new, f"{name} as it is", f"{name} as it would be", n=0, lineterm="")
    fix = "make the change there by hand, or add --force: it replaces them, and copies them to NAME.orig before"
    shown = tuple(lines[:_SHOWN]) + ((f"and {len(lines) - _SHOWN} more lines",) if len(lines) > _SHOWN else ())
    reason = "it was changed by hand, and would be written differently now"
    raise Refused(f"{path}: {', '.join(changed)} would be replaced", fix, reason=reason, lines=shown)


def _read(directory: Directory, name: str) -> str:
    """The text of a file, "" of what is none."""
    try:
        if not stat.S_ISREG(os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode):
            return ""
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory.fd)
    except OSError:
        return ""
    with open(fd, encoding="utf-8", errors="replace") as file:
        return file.read(1 << 20)
