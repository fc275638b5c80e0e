"""Which directories: said on the command line, else by the environment, else the usual ones."""

import os
import stat
from collections.abc import Mapping

from kvmrun.errors import Refused
from kvmrun.model.place import Directories
from kvmrun.model.text import printable

_LONGEST_WAY = 200


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
    caller = environ.get("SUDO_UID", "")
    owners = {0, int(caller)} if caller.isdecimal() else {0}
    path = os.path.abspath(directory)
    if not os.path.isdir(path):
        return
    named = {path, *(os.path.join(path, name) for name in os.listdir(path) if name.endswith(".toml"))}
    known: dict[str, str] = {}
    for one in dict.fromkeys(step for name in sorted(named) for step in way(name, known)):
        _own(one, owners, is_parent=one not in named)


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


def _own(path: str, owners: set[int], *, is_parent: bool) -> None:
    try:
        found = os.lstat(path)
    except OSError:
        return
    if found.st_uid not in owners:
        raise Refused(
            f"{path} is not to be trusted", f"chown root {path}", why="root reads a lab only of root's own, or yours"
        )
    if stat.S_ISLNK(found.st_mode):
        return  # its mode means nothing: what it is in, and what it leads to, are looked at themselves
    sticky = is_parent and found.st_mode & stat.S_ISVTX and found.st_uid == 0
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        raise Refused(f"{path} is not to be trusted", f"chmod go-w {path}", why="others may write to it")
