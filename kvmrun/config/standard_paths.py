"""Which directories: said on the command line, else by the environment, else the usual ones."""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress

from kvmrun.errors import Refused
from kvmrun.model.paths import Paths
from kvmrun.model.printable import printable, quoted

NETWORKS = "networks.toml"
_LONGEST_WAY = 200
_ODD = ('"', ",", "\\", "#")
WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def resolve_paths(vms: str | None, environ: Mapping[str, str]) -> Paths:
    """The directories of this run; all absolute, none of them made or looked into. Raises Refused for an odd path."""
    root = os.geteuid() == 0
    definitions = _absolute(vms or environ.get("KVMRUN_VMS") or usual(environ, root=root))
    return Paths(
        vms=definitions,
        run=_plain(environ.get("KVMRUN_RUN_DIR") or _run(environ, root=root), "KVMRUN_RUN_DIR"),
        state=_plain(environ.get("KVMRUN_STATE_DIR") or _state(environ, root=root), "KVMRUN_STATE_DIR"),
        root=root,
        lab=_absolute(os.path.realpath(definitions)),
    )


def _plain(path: str, variable: str) -> str:
    """The same for a path that is written into dnsmasq's configuration and QEMU's options, which have no escapes."""
    whole = _absolute(path)
    if odd := [letter for letter in _ODD if letter in whole]:
        fix = f"set {variable} to a path without it"
        reason = f"dnsmasq and QEMU could not read {' '.join(odd)} in a path"
        raise Refused(f"{whole} is no place for what kvmrun writes", fix, reason=reason)
    return whole


def make_absolute(path: str) -> str:
    """The absolute path. Raises Refused for a relative one where the current directory has been removed."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise Refused(f"{printable(path)} leads nowhere", "cd /", reason="the current directory was removed") from None


def _absolute(path: str) -> str:
    """The absolute path, which is going to be written into units and configurations and shown in every message."""
    whole = make_absolute(path)
    if not whole.isprintable():
        raise Refused(f"{printable(whole)} is no place for a lab", "choose a path that can be shown as it is")
    return whole


def usual(environ: Mapping[str, str], *, root: bool) -> str:
    """The lab that is used where none is named."""
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


def require_trusted_lab(directory: str, environ: Mapping[str, str]) -> None:
    """For root: refuse a lab whose directory or networks somebody else could have written. Raises Refused."""
    if not os.path.isdir(directory):
        return
    networks = os.path.join(directory, NETWORKS)
    for place in (directory, *([networks] if os.path.lexists(networks) else [])):
        path, reason = _first_fault(place, owners(environ), {})
        if path:
            raise Refused(f"{path} is not to be trusted", _fix(path, place, environ), reason=reason)


def _fix(path: str, place: str, environ: Mapping[str, str]) -> str:
    """What is said about a lab that is not to be trusted. Nothing but the lab's own directory and file is changed."""
    found = os.lstat(path)
    if path == place and found.st_uid in owners(environ) and not stat.S_ISLNK(found.st_mode):
        return f"chmod go-w {quoted(path)}"
    return "copy the lab to a directory of your own, and name that: -C DIR"


def is_distrusted(directory: str, environ: Mapping[str, str]) -> dict[str, str]:
    """For root: the definitions that somebody else could have written, by file name with the reason."""
    if not os.path.isdir(directory):
        return {}
    known: dict[str, str] = {}
    names = sorted(name for name in os.listdir(directory) if name.endswith(".toml") and name != NETWORKS)
    faults = {name: _first_fault(os.path.join(directory, name), owners(environ), known) for name in names}
    return {name: f"{reason}: {path}" for name, (path, reason) in faults.items() if path}


def require_private(directories: list[str], environ: Mapping[str, str]) -> None:
    """For root: refuse places for what is ours that somebody else made, or could put others in the place of."""
    known: dict[str, str] = {}
    for one in directories:
        path, reason = _first_fault(one, owners(environ), known)
        if path:
            fix = "set KVMRUN_RUN_DIR and KVMRUN_STATE_DIR to directories in places of your own"
            raise Refused(f"{path} is not to be trusted", fix, reason=reason)


def untrusted_fix(path: str, environ: Mapping[str, str]) -> str:
    """Why another user could put another file in the place of `path`, be it there or still to be made; "" when none.

    Whose the file itself is does not matter, except in a directory where everybody may put one.
    """
    steps = path_components(path, {})
    last, believed = steps[-1], owners(environ)
    for one in steps:
        with suppress(OSError):
            found = os.lstat(one)
            is_file = one == last and not stat.S_ISLNK(found.st_mode)
            reason = _planted_at(one, found, believed) if is_file else component_fault(found, believed, is_parent=True)
            if reason:
                return f"{reason}: {one}"
    return ""


def owners(environ: Mapping[str, str]) -> set[int]:
    """The accounts that root believes: its own, and that of the person who called sudo."""
    caller = environ.get("SUDO_UID", "")
    return {0, int(caller)} if caller.isascii() and caller.isdecimal() else {0}


def _planted_at(path: str, found: os.stat_result, believed: set[int]) -> str:
    parent = os.path.dirname(path)
    return planted_path(found, believed) if os.stat(parent).st_mode & WRITABLE else ""


def planted_path(found: os.stat_result, believed: set[int]) -> str:
    """Why a file in a directory where everybody may put one is not believed; "" when it is."""
    if reason := component_fault(found, believed, is_parent=False):
        return reason
    # without fs.protected_hardlinks everybody may link root's own file to a place where it is taken for an image
    return "it has another name elsewhere" if stat.S_ISREG(found.st_mode) and found.st_nlink > 1 else ""


def _first_fault(path: str, believed: set[int], known: dict[str, str]) -> tuple[str, str]:
    """The first part of the way to `path` that root cannot believe, and why; ("", "") when there is none."""
    steps = path_components(path, known)
    for one in steps:
        with suppress(OSError):
            if reason := component_fault(os.lstat(one), believed, is_parent=one not in {path, steps[-1]}):
                return one, reason
    return "", ""


def path_components(path: str, known: dict[str, str]) -> list[str]:
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


def component_fault(found: os.stat_result, believed: set[int], *, is_parent: bool) -> str:
    """Why root cannot believe one part of a way, "" where it can."""
    if found.st_uid not in believed:
        return f"it belongs to uid {found.st_uid}"
    if stat.S_ISLNK(found.st_mode):
        return ""  # its mode means nothing: what it is in, and what it leads to, are looked at themselves
    sticky = is_parent and found.st_mode & stat.S_ISVTX and found.st_uid == 0
    return "others may write to it" if found.st_mode & WRITABLE and not sticky else ""
