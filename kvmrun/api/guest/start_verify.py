"""The second half of a start, loaded while QEMU does its own: shake hands, write the record, let it run."""

from kvmrun.api.guest.wait_types import Wait, Watch
from kvmrun.errors import KvmrunError, hint_for
from kvmrun.host.execute.guest_executor import Hand
from kvmrun.host.process import log_reader, process
from kvmrun.host.rundir import rundir
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.paths import Place
from kvmrun.monitor.qmp import startup_check
from kvmrun.monitor.qmp.query_many import ask

_ENDS = 0.3
"""How long after a failure QEMU may take to end that was its cause, in seconds: its taps and sockets go first."""


def confirm(place: Place, hand: Hand, record: Record, *, wait: Wait | None) -> Watch | None:
    """Make sure that the guest lives and is as asked, and resume it unless it is to stay paused.

    Returns what is left to wait for.
    """
    monitor = place.socket("q")
    try:
        startup_check.check(monitor, uuid=place.uuid, accel=record.accel, limit=hand.deadline.left(startup_check.LIMIT))
        if hand.listener >= 0:
            from kvmrun.monitor.qmp import vnc_handover

            vnc_handover.show(monitor, hand.listener)
        hand.guarded()
        hand.scoped()
        used = process.usage(hand.pid)
        record = record.but(pid=hand.pid, started=used.started if used else 0, boot=process.boot_id())
        rundir.write_record(place.socket("record"), record)
        watch = wait.begin(place, running=False) if wait else None
        if not record.paused:
            startup_check.resume(monitor)
    except OSError as why:
        raise KvmrunError(f"{place.guest} did not start", hint_for(why), why=f"{why}") from None
    return watch


def reason(place: Place, hand: Hand, record: Record, error: KvmrunError) -> KvmrunError:
    """Why the start failed: `error`, or the last words of a QEMU that has ended, and taken its taps along."""
    if not process.ended(hand.pidfd, _ENDS):
        return error
    from kvmrun.plan.guest.qemu_exit import explain  # patterns: `re` costs 5 ms

    status = hand.reap()
    return explain(place.guest, status, log_reader.since(place.log, record.said))


def half_started(place: Place) -> bool:
    """End a QEMU that an interrupted start left paused before its first instruction: it is begun again."""
    record = rundir.read_record(place.directory)
    if record is not None and record.paused and record.pid:
        return False
    reply = ask({"": place.socket("q")}, ("query-status",), limit=2.0)[""].replies.get("query-status")
    if not isinstance(reply, dict) or reply.get("status") != "prelaunch":
        return False
    with rundir.opened(place.directory) as pidfd:
        return pidfd is None or process.kill(pidfd)
