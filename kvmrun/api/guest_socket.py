"""The sockets of a running guest, each with the account that may listen on it: that of its QEMU."""

from collections.abc import Callable, Mapping
from functools import cache

from kvmrun.host.process import process
from kvmrun.host.rundir import rundir
from kvmrun.model.guest.launch_record import Record
from kvmrun.monitor.guest_socket import GuestSocket


def monitor_of(directory: str, name: str, *, pid: Callable[[], int] = lambda: 0) -> GuestSocket:
    """The monitor that commands share; `pid` gives the pid of the guest's QEMU, or 0, where the caller looks for it."""
    return GuestSocket(path=f"{directory}/q", guest=name, accounts=lambda: [_account(directory, pid())])


def socket_of(directory: str, name: str, file: str) -> GuestSocket:
    """The socket `file` in the run directory of the guest `name`."""
    return GuestSocket(path=f"{directory}/{file}", guest=name, accounts=lambda: [_account(directory)])


def pid_finder(directories: Mapping[str, str], records: Mapping[str, Record | None]) -> Callable[[str], int]:
    """A function from the name of a guest to the pid of its QEMU, 0 for none; each is looked for once."""

    @cache
    def find(name: str) -> int:
        record = records.get(name)
        return rundir.qemu_pid(directories[name], record.pid if record else 0)

    return find


def _account(directory: str, pid: int = 0) -> int:
    """The uid of the guest's QEMU, whose pid may be known; -1 when it is not found.

    Root without CAP_SYS_PTRACE does not see who holds the guest's lock. The process that the record names is QEMU where
    it began when the record says: the kernel gives out a pid again, but not with the same start.
    """
    record = rundir.read_record(directory)
    if pid := pid or rundir.qemu_pid(directory, record.pid if record else 0):
        return process.uid_of(pid)
    return process.uid_of(record.pid) if record and _is_alive(record) else -1


def _is_alive(record: Record) -> bool:
    used = process.process_usage(record.pid) if record.pid else None
    return used is not None and used.started == record.started and record.boot == process.boot_id()
