"""Reconnecting to a running guest whose lock or first monitor was removed."""

from contextlib import suppress

from kvmrun.api.guest_socket import monitor_of
from kvmrun.errors import KvmrunError
from kvmrun.host.files import atomic_write, small_files
from kvmrun.host.rundir import listening_socket, lock
from kvmrun.monitor.guest_socket import GuestSocket
from kvmrun.monitor.qmp.fd_passing import QmpError, open_connection

_LIMIT = 10.0
_LIFE = "life"


def link_monitor(directory: str, source: str) -> None:
    """Make the monitor `source` available under the name of the first one: a second name of the same socket."""
    listening_socket.add_name(f"{directory}/{source}", "q")


def reissue_lock(directory: str, name: str) -> None:
    """Hand a new lock to a running QEMU. The guest's short lock is held.

    A descriptor that nobody uses is closed when the monitor's client leaves, and the lock would be lost with it: a
    character device that writes to it, and that nothing is attached to, keeps it as long as QEMU lives.

    Raises: KvmrunError where QEMU refuses, or another process has the new lock.
    """
    path = f"{directory}/{_LIFE}"
    with small_files.replacing(path) as fd:
        _pass_lock(monitor_of(directory, name), fd)
        if not lock.take_lock(fd):
            raise KvmrunError("its new lock is taken already", "kvmrun repair again")
        atomic_write.remove(path)


def _pass_lock(target: GuestSocket, fd: int) -> None:
    with open_connection(target, _LIMIT) as monitor:
        with suppress(QmpError):  # of an earlier time: that lock is lost, too
            monitor.execute("chardev-remove", {"id": _LIFE})
        number = monitor.execute("add-fd", {"opaque": _LIFE}, fd=fd)["fdset-id"]
        backend = {"type": "file", "data": {"out": f"/dev/fdset/{number}", "append": True}}
        monitor.execute("chardev-add", {"id": _LIFE, "backend": backend})
        monitor.forget(_LIFE)
