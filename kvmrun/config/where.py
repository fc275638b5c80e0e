"""Which directories: said on the command line, else by the environment, else the usual ones."""

import os
import stat

from kvmrun.errors import Refused
from kvmrun.light.abc import Mapping
from kvmrun.model.place import Directories
from kvmrun.model.text import printable

_LONGEST_WAY = 200
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def directories(vms: str | None, environ: Mapping[str, str]) -> Directories:
    """The directories of this run; all absolute, none of them made or looked into. Raises Refused for an odd path."""
    root = os.geteuid() == 0
    return Directories(
        vms=_absolute(vms or environ.get("KVMRUN_VMS") or _usual_vms(environ, root=root)),
        run=_absolute(environ.get("KVMRUN_RUN_DIR") or _run(environ, root=root)),
        state=_absolute(environ.get("KVMRUN_STATE_DIR") or _state(environ, root=root)),
        root=root,
    )


def _absolute(path: str) -> str:
    """The absolute path, which is going to be written into units and configurations and shown in every message."""
    whole = os.path.abspath(path)
    if not whole.isprintable():
        raise Refused(f"{printable(whole)} is no place for a lab", "choose a path that can be shown as it is")
    return whole


def _usual_vms(environ: Mapping[str, str], *, root: bool) -> str:
    if os.path.isdir("vms.d"):
        return "vms.d"
    own = os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "kvmrun/vms.d")
    return own if not root and os.path.isdir(own) else "/etc/kvmrun/vms.d"


def _run(environ: Mapping[str, str], *, root: bool) -> str:
    if root:
        return "/run/kvmrun"
    return os.path.join(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}", "kvmrun")


def _state(environ: Mapping[str, str], *, root: bool) -> str:
    if root:
        return "/var/lib/kvmrun"
    return os.path.join(environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "kvmrun")


def trusted(directory: str, environ: Mapping[str, str]) -> None:
    """For root: refuse a lab that somebody else could have written. Raises Refused naming the component."""
    path = os.path.abspath(directory)
    if os.path.isdir(path):
        files = (os.path.join(path, name) for name in os.listdir(path) if name.endswith(".toml"))
        _trusted(sorted([path, *files]), environ)


def private(directories: list[str], environ: Mapping[str, str]) -> None:
    """For root: refuse places for what is ours that somebody else made, or could put others in the place of."""
    _trusted(directories, environ)


def exchangeable(path: str, environ: Mapping[str, str]) -> str:
    """The command that ends it, where another user could put another file in the place of `path`; "" where none can.

    Whose the file itself is does not matter: what is in it is only for the guest.
    """
    steps = way(path, {})
    parent = os.path.dirname(steps[-1])
    shared = os.path.isdir(parent) and os.stat(parent).st_mode & _WRITABLE  # and sticky, or the parent itself is told
    parts = steps if shared else steps[:-1]
    faults = (_fault(one, _owners(environ), is_parent=one != steps[-1]) for one in parts)
    return next((mend for mend, _ in faults if mend), "")


def _owners(environ: Mapping[str, str]) -> set[int]:
    caller = environ.get("SUDO_UID", "")
    return {0, int(caller)} if caller.isdecimal() else {0}


def _trusted(paths: list[str], environ: Mapping[str, str]) -> None:
    owners = _owners(environ)
    known: dict[str, str] = {}
    ways = [way(path, known) for path in paths]
    ends = {*paths, *(one[-1] for one in ways)}
    for one in dict.fromkeys(step for steps in ways for step in steps):
        mend, why = _fault(one, owners, is_parent=one not in ends)
        if mend:
            raise Refused(f"{one} is not to be trusted", mend, why=why)


def way(path: str, known: dict[str, str]) -> list[str]:
    """Everything that has a say in what `path` is: every parent, every link, and all those on the way a link leads.

    `known` remembers where the links lead, "" for what is none.
    """
    found, at, left = ["/"], "/", path.split("/")[::-1]
    while left and len(found) < _LONGEST_WAY:
        part = left.pop()
        if part in {"", ".", ".."}:
            at = os.path.dirname(at) if part == ".." else at
            continue
        found.append(here := os.path.join(at, part))
        if here not in known:
            known[here] = _link(here)
        left += known[here].split("/")[::-1]
        at = "/" if known[here].startswith("/") else at if known[here] else here
    return found


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _fault(path: str, owners: set[int], *, is_parent: bool) -> tuple[str, str]:
    """(mend, why) where root cannot believe one part of a way, ("", "") where it can."""
    try:
        found = os.lstat(path)
    except OSError:
        return "", ""
    if found.st_uid not in owners:
        return f"chown root {path}", "root believes only what is root's own, or yours"
    if stat.S_ISLNK(found.st_mode):
        return "", ""  # its mode means nothing: what it is in, and what it leads to, are looked at themselves
    sticky = is_parent and found.st_mode & stat.S_ISVTX and found.st_uid == 0
    return (f"chmod go-w {path}", "others may write to it") if found.st_mode & _WRITABLE and not sticky else ("", "")
