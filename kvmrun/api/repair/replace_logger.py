"""Replacing the logger of a running guest."""

import os
import time

from kvmrun.api.guest_socket import monitor_of
from kvmrun.errors import KvmrunError
from kvmrun.host.process import log_reader, log_writer, process
from kvmrun.host.rundir import listening_socket, rundir
from kvmrun.model.machine.chardevs import CONSOLE
from kvmrun.model.paths import GuestRuntime
from kvmrun.monitor.qmp.fd_passing import QmpConnection, open_connection

_LIMIT = 10.0
_NAME = "console"


def restart_if_dead(runtime: GuestRuntime) -> bool:
    """Whether the logger of a running guest had died, and another was put in its place. The guest's lock is held.

    The console's socket is replaced along with its log: whoever was connected is disconnected. What QEMU itself says
    on its standard error stays lost until the guest is started again: that pipe cannot be exchanged.
    """
    record = rundir.read_record(runtime.directory)
    begun = record.started / process.TICKS if record else 0.0
    kept = log_reader.has_writer(runtime.log) and not log_writer.is_stalled(runtime.log)
    if kept or not os.path.exists(runtime.socket(CONSOLE)) or process.uptime() < begun + log_reader.BEGINS:
        return False
    log_writer.end_stalled(runtime.log)
    reader, writer = process.pipe()
    try:
        os.close(log_writer.start_writer(runtime.log, _account(runtime), reader))
        _await(runtime)
        with open_connection(monitor_of(runtime.directory, runtime.guest), _LIMIT) as monitor:
            _exchange(monitor, runtime, writer)
    finally:
        os.close(writer)
    return True


def _account(runtime: GuestRuntime) -> int | None:
    """Whose log it is, None for the caller: the seed, and with it the account, may have changed since the start."""
    try:
        uid = os.stat(runtime.log).st_uid
    except FileNotFoundError:
        return runtime.log_uid
    return uid if uid != os.geteuid() else None


def _await(runtime: GuestRuntime) -> None:
    deadline = time.monotonic() + _LIMIT
    while not log_reader.has_writer(runtime.log):
        if time.monotonic() > deadline:
            raise KvmrunError(f"the logger of {runtime.guest} does not start", f"look into {runtime.log}")
        time.sleep(0.01)


def _exchange(monitor: QmpConnection, runtime: GuestRuntime, writer: int) -> None:
    """Pass the pipe and a new console socket to QEMU, and make the console use both."""
    number = monitor.execute("add-fd", {"opaque": "log"}, fd=writer)["fdset-id"]
    log = {"logfile": f"/dev/fdset/{number}", "logappend": True}
    listen = {"addr": {"type": "fd", "data": {"str": _NAME}}, "server": True, "wait": False}
    with listening_socket.replacing_socket(runtime.socket(CONSOLE)) as fd:
        monitor.execute("getfd", {"fdname": _NAME}, fd=fd)
        monitor.execute("chardev-change", {"id": "c", "backend": {"type": "socket", "data": {**listen, **log}}})
    monitor.forget("log")
