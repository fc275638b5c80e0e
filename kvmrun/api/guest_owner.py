"""A guest that runs for another account: its owner, and the account that may do what was asked."""

import os

from kvmrun.errors import KvmrunError, OtherUser
from kvmrun.host.facts.guest_runtime import guest_runtimes
from kvmrun.host.process import process
from kvmrun.host.rundir import rundir, socket_lookup
from kvmrun.model.paths import Paths
from kvmrun.model.printable import printable


def elsewhere(where: Paths, name: str) -> OtherUser | None:
    """The error where a guest of that name runs for another account; None where it runs for none that we can see."""
    found = _of_a_user(where, name) if where.root else _of_another(where, name)
    if found is None:
        return None
    owner, prefix = found
    return OtherUser(
        f"{name} runs as a guest of {owner}", prefix, name, reason="only its owner and root may talk to it"
    )


def _of_a_user(where: Paths, name: str) -> tuple[str, str] | None:
    """For root: whose run directory it is in, and what makes a command act as that user."""
    from kvmrun.api.status.live_status import visible_run_directories

    directory = visible_run_directories(where).get(name, where.guest(name))
    if directory == where.guest(name) or not rundir.is_locked(directory):
        return None
    runtime = directory.removesuffix(f"/kvmrun/vm/{name}")
    owner = _account(os.stat(directory).st_uid)
    return owner, f"sudo -u {owner} XDG_RUNTIME_DIR={runtime}"


def _of_another(where: Paths, name: str) -> tuple[str, str] | None:
    """For a user: whose QEMU has the name and the UUID of this lab's guest, and a monitor bound in this namespace.

    Root's have accounts of their own. The kernel's table of Unix sockets is everybody's to read, as command lines are.
    """
    if not socket_lookup.is_bound_elsewhere(where.run, name):
        return None
    uuid = _uuid(where, name)
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        uid = process.uid_of(pid)
        if uid in {-1, os.geteuid()} or not socket_lookup.is_guest(pid, name):
            continue
        words = socket_lookup.command_line(pid)
        if uuid and uuid in words[words.index("-uuid") + 1 :][:1]:
            owner = _account(uid)
            return ("root" if owner.startswith("uid ") else owner), "sudo"
    return None


def _uuid(where: Paths, name: str) -> str:
    """The UUID of the lab's guest, "" where the lab has none of that name."""
    from kvmrun.config.load_lab import load_lab  # not for root: what others wrote is only compared

    try:
        lab = load_lab(where.vms, where.images)
        return guest_runtimes(lab, where)[name].uuid if name in lab.guests else ""
    except KvmrunError:
        return ""


def _account(uid: int) -> str:
    import pwd

    try:
        return printable(pwd.getpwuid(uid).pw_name, 40)
    except KeyError:
        return f"uid {uid}"
