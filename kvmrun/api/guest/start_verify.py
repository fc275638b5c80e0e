"""The second half of a start, loaded while QEMU starts: QMP handshake, record, resume."""

import os

from kvmrun.api.guest.wait_types import Wait, Watch
from kvmrun.api.guest_socket import monitor_of
from kvmrun.errors import KvmrunError, host_fix
from kvmrun.host.execute.guest_executor import GuestExecutor
from kvmrun.host.process import log_reader, process
from kvmrun.host.rundir import rundir
from kvmrun.model.guest.guest_state import is_half_started
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.paths import GuestRuntime
from kvmrun.monitor.qmp import startup_check
from kvmrun.monitor.qmp.query_many import query

_ENDS = 0.3
"""How long after a failure QEMU may take to end that was its cause, in seconds: its taps and sockets go first."""


def verify_and_resume(
    runtime: GuestRuntime, executor: GuestExecutor, record: Record, *, wait: Wait | None
) -> Watch | None:
    """Make sure that the guest lives and is as asked, and resume it unless it is to stay paused.

    Returns what is left to wait for.

    Raises: what `verify_started` and `resume` raise; KvmrunError where the record cannot be written.
    """
    monitor = monitor_of(runtime.directory, runtime.guest, pid=lambda: executor.pid)
    try:
        limit = executor.deadline.left(startup_check.LIMIT)
        pin = executor.firmware.pin
        also = "query-machines" if pin else ""
        told = startup_check.verify_started(monitor, uuid=runtime.uuid, accel=record.accel, also=also, limit=limit)
        if pin:
            executor.note = executor.firmware.write_pin(startup_check.machine_version(told, pin.machine))
        if executor.listener >= 0:
            from kvmrun.monitor.qmp import vnc_handover

            vnc_handover.hand_over_vnc(monitor, executor.listener)
        executor.guarded()
        executor.scoped()
        used = process.process_usage(executor.pid)
        record = record.replace(pid=executor.pid, started=used.started if used else 0, boot=process.boot_id())
        rundir.write_record(runtime.socket("record"), record)
        watch = wait.begin(runtime, running=False) if wait else None
        if not record.paused:
            startup_check.resume(monitor)
    except OSError as error:
        raise KvmrunError(f"{runtime.guest} did not start", host_fix(error), reason=f"{error}") from None
    return watch


def explain_failure(runtime: GuestRuntime, executor: GuestExecutor, record: Record, error: KvmrunError) -> KvmrunError:
    """Why the start failed: `error`, or the last words of a QEMU that has ended, and taken its taps along."""
    if not process.wait_exit(executor.pidfd, _ENDS):
        return error
    from kvmrun.plan.guest.qemu_exit import explain_exit  # only for a start that failed

    status = executor.reap()
    pin = "" if executor.firmware.pin or not os.path.exists(runtime.machine_pin) else runtime.machine_pin
    return explain_exit(runtime.guest, status, log_reader.lines_since(runtime.log, record.said), pin)


def kill_half_started(runtime: GuestRuntime) -> bool:
    """End a QEMU that an interrupted start left paused before its first instruction: it is begun again."""
    answer = query(monitor_of(runtime.directory, runtime.guest), "query-status", limit=2.0)
    if not is_half_started(answer.replies, rundir.read_record(runtime.directory)):
        return False
    with rundir.qemu_pidfd(runtime.directory) as pidfd:
        return pidfd is None or process.kill(pidfd)
