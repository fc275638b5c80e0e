"""The run directory: one private folder a guest and a network, holding locks, sockets and records."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kvmrun.errors import AS_ROOT, Busy, KvmrunError, NotPermitted, Refused, host_fix, refused_by_host
from kvmrun.host.files import atomic_write
from kvmrun.host.process import process
from kvmrun.host.rundir import lock, record_file, socket_lookup
from kvmrun.model.deadline import remaining
from kvmrun.model.guest.launch_record import SCHEMA, Record, record_from_json
from kvmrun.model.printable import quoted
from kvmrun.model.scalars import GuestName

_RECORD_LIMIT = 64 << 10
_SOCKET_LIMIT = 107 - len("/vm/") - 32 - len("/c.new")
OP_LIMIT = 10.0
"""How long a command waits for another one on the same guest or network, in seconds."""
MIDST = 2.0
"""How long to wait for a QEMU that is exiting, in seconds."""
_LEFT = {"q", "e", "p", "c", "a", "c.new", "console", "monitor", "frozen", "record", "record.new", "life.new"}
_prepared: set[str] = set()
"""Run directories that this command has checked already."""


def prepare(root: str) -> None:
    """Make the run directory at `root` if it is not there, and make sure it is ours alone.

    Raises: Refused for a path that is too long, or that others can write to; NotPermitted; KvmrunError.
    """
    if len(os.fsencode(root)) > _SOCKET_LIMIT:
        fix = "set KVMRUN_RUN_DIR to a shorter path"
        raise Refused(
            f"the run directory {root} is too long", fix, reason=f"a socket below it takes {_SOCKET_LIMIT} bytes"
        )
    if not os.path.isdir(os.path.dirname(root)):
        raise _no_parent(root)
    for path in (root, f"{root}/vm", f"{root}/net"):
        make_private(path)


def _no_parent(root: str) -> KvmrunError:
    """The error for a run directory whose parent is not there; a user's is made by the login, and by nobody else."""
    parent = os.path.dirname(root)
    if os.path.dirname(parent) != "/run/user" and parent != os.environ.get("XDG_RUNTIME_DIR"):
        return KvmrunError(f"cannot make {root}", f"mkdir {quoted(parent)}", reason=f"there is no {parent}")
    fix = "log in by ssh or at a console rather than by su or sudo; or set KVMRUN_RUN_DIR to a directory of your own"
    if os.path.isdir("/run/systemd/system") and os.geteuid():
        fix = f"sudo loginctl enable-linger {os.geteuid()} makes it and keeps it; or {fix}"
    reason = f"there is no {parent}: pam_systemd makes it at login, or XDG_RUNTIME_DIR names another directory"
    return KvmrunError(f"cannot make {root}", fix, reason=reason)


def make_private(path: str) -> None:
    """A directory of ours at `path`, 0700 whatever the umask. Raises Refused when it is anything else."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        raise  # another command has just removed the parent: whoever holds the lock begins again
    except PermissionError:
        fix = f"{AS_ROOT}; or set KVMRUN_RUN_DIR to a directory of your own"
        raise NotPermitted(f"you may not make {path}", fix) from None
    except OSError as error:
        raise KvmrunError(f"cannot make {path}", host_fix(error), reason=os.strerror(error.errno or 0)) from None
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise Refused(
            f"{path} is not ours",
            "set KVMRUN_RUN_DIR to a directory of yours",
            reason="it should be a directory that belongs to you",
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        os.chmod(path, 0o700)


@contextmanager
def locked(directory: str, what: str, *, shared: bool = False, limit: float | None = None) -> Iterator[int]:
    """Hold the short lock of a guest's or network's directory, so that no other command changes it meanwhile.

    The lock's descriptor is the value, for those who convert it. Raises Busy after `limit` seconds, or after
    the usual ones, as far as the command has so much time.

    A directory nobody lives in is removed with its locks on the way out; whoever waited for the lock of a removed
    directory notices and starts again with a new one.
    """
    held: list[int] = []
    try:
        try:
            _hold(directory, what, held, shared=shared, limit=remaining(OP_LIMIT) if limit is None else limit)
        except OSError as error:
            raise refused_by_host(f"lock {what}", error) from None
        try:
            yield held[0]
        finally:
            _leave(directory, held[0])
    finally:
        for fd in held:
            os.close(fd)


def _hold(directory: str, what: str, held: list[int], *, shared: bool, limit: float) -> None:
    """Take the lock; its descriptor is in `held` whenever it is open, also where a signal ends this at any moment."""
    deadline = time.monotonic() + limit
    root = os.path.dirname(os.path.dirname(directory))
    while True:
        try:
            if root not in _prepared:
                prepare(root)
                _prepared.add(root)
            make_private(directory)
            held.append(lock.open_lock(f"{directory}/op"))
        except FileNotFoundError:
            _prepared.discard(root)
            if time.monotonic() < deadline:
                continue
            raise Busy(f"{what} is busy", "try again", reason=f"{directory} is made and removed all the time") from None
        lock.wait_for_lock(held[0], what, limit=deadline - time.monotonic(), shared=shared)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held[0]), os.stat(f"{directory}/op")):
                return
        os.close(held.pop())


def _leave(directory: str, fd: int) -> None:
    """Remove the directory if only locks that nobody holds are left in it, and the run directory if it was the last."""
    try:
        if set(os.listdir(directory)) - {"op", "life"} or is_locked(directory) or not lock.take_lock(fd):
            return
        for name in ("life", "op"):
            _unlink(f"{directory}/{name}")
    except (OSError, KvmrunError):  # what was to be done under the lock is done
        return
    with suppress(OSError):
        os.rmdir(directory)
    remove_if_empty(os.path.dirname(os.path.dirname(directory)))


def remove_if_empty(root: str) -> None:
    """Remove the run directory if nobody is in it; while somebody is, all of it stays as it was made."""
    parts = [f"{root}/vm", f"{root}/net"]
    with suppress(OSError):
        if any(os.listdir(path) for path in parts if os.path.isdir(path)):
            return
    for path in (*parts, root):
        with suppress(OSError):
            os.rmdir(path)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def guest_names(root: str) -> list[str]:
    """Every guest with a run directory, running or not. Raises NotPermitted when we may not look."""
    try:
        return sorted(name for name in os.listdir(f"{root}/vm") if GuestName.fits(name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        raise _not_permitted(root) from None
    except OSError as error:
        raise KvmrunError(f"cannot read {root}", reason=os.strerror(error.errno or 0)) from None


def _not_permitted(directory: str) -> NotPermitted:
    return NotPermitted(f"you may not read {directory}", AS_ROOT)


def is_locked(directory: str) -> bool:
    """Whether QEMU holds the life lock in the guest's directory. Whatever else has its name is no lock.

    Raises: NotPermitted.
    """
    try:
        return lock.is_held(f"{directory}/life")
    except PermissionError:
        raise _not_permitted(directory) from None
    except OSError:
        return False


def is_running(directory: str) -> bool:
    """Whether the guest runs: QEMU holds its lock, the one in its place or one that was taken from there."""
    return is_locked(directory) or socket_lookup.pid_by_socket(directory) > 0


def qemu_pid(directory: str, hint: int = 0) -> int:
    """The pid of the guest's QEMU, `hint` tried first; 0 when there is none we may see."""
    return process.holder(f"{directory}/life", hint) or socket_lookup.pid_by_socket(directory)


@contextmanager
def qemu_pidfd(directory: str, hint: int = 0) -> Iterator[int | None]:
    """A pidfd on the guest's QEMU, verified once it is open; None when there is none."""
    with process.pidfd_of_lock_holder(f"{directory}/life", hint) as pidfd:
        if pidfd is not None or is_locked(directory):
            yield pidfd
            return
    pidfd = process.open_pidfd_if(
        socket_lookup.pid_by_socket(directory), lambda pid: socket_lookup.pid_by_socket(directory) == pid
    )
    try:
        yield pidfd
    finally:
        if pidfd is not None:
            os.close(pidfd)


def read_record(directory: str) -> Record | None:
    """The launch record of a guest, or None when there is none that makes sense."""
    return record_file.read(f"{directory}/record", record_from_json, SCHEMA, _RECORD_LIMIT)


def write_record(path: str, record: Record) -> None:
    """Replace the launch record at `path` in one move."""
    record_file.write(path, record)


def remove_leftovers(directory: str) -> None:
    """Remove what a guest that has ended leaves in its directory; the lock files stay."""
    try:
        there = os.listdir(directory)
    except OSError:
        return
    for path in (*sorted(_LEFT.intersection(there)), *(("vnc/v", "vnc") if "vnc" in there else ())):
        with suppress(OSError):
            atomic_write.remove(f"{directory}/{path}")
