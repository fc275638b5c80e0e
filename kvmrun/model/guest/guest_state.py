"""What state a guest is in, by what its QEMU replied: the only place where the reply to query-status is read."""

from collections.abc import Mapping

from kvmrun.model.guest.launch_record import Record
from kvmrun.model.printable import printable

STATES = (
    *("running", "paused", "shutdown", "stopped", "unresponsive", "degraded", "stale", "invalid", "io-error"),
    *("prelaunch", "unknown"),
)
"""The states of a guest that mean something to kvmrun; what else QEMU says of its own is shown in its words."""

HALTED = {
    "internal-error": ("KVM could not continue to run it", "kvmrun reset {0} restarts it, kvmrun kill {0} ends it"),
    "guest-panicked": ("its kernel panicked", "kvmrun log {0} shows why, kvmrun reset {0} boots it again"),
    "watchdog": ("its watchdog has expired", "kvmrun reset {0} boots it again"),
}
"""States of QEMU in which the processor does not run and will not by itself: why, and what to do."""


def halted(name: str, state: str) -> tuple[str, str]:
    """Why the guest of that name does not run in one of these states, and what to do."""
    reason, fix = HALTED[state]
    return reason, fix.format(name)


def qemu_state(replies: Mapping[str, object]) -> str:
    """The run state in QEMU's words (RunState of its QMP schema), printable; "" where the replies have none."""
    reply = replies.get("query-status")
    status = reply.get("status") if isinstance(reply, dict) else None
    return "" if status is None else printable(status, 40)


def is_half_started(replies: Mapping[str, object], record: Record | None) -> bool:
    """Whether QEMU waits for a start that did not finish. One that was started paused has its number recorded."""
    return qemu_state(replies) == "prelaunch" and not (record and record.paused and record.pid)


def degraded_state(state: str) -> str:
    """The state of a guest with something wrong; one that is paused stays what it is."""
    return "degraded" if state == "running" else state


def guest_state(
    name: str, silence: str, replies: Mapping[str, object], record: Record | None, *, limit: float
) -> tuple[str, str | None]:
    """The state by its evidence, and what is wrong with it.

    `silence` says why there is no answer, "" for none, and `limit` how many seconds were waited for it.
    """
    if silence == "busy":
        return "running", "its monitor is busy with another command"
    if silence == "stranger":
        return "unresponsive", f"another account answers on its monitor; kvmrun kill {name} ends it"
    if silence == "gone":
        return "unresponsive", f"its monitor is closed; kvmrun kill {name} ends it"
    if silence:
        return "unresponsive", f"its monitor did not answer in {limit:g} s ({silence})"
    state, identity = qemu_state(replies) or "unknown", replies.get("query-uuid")
    if record and isinstance(identity, dict) and identity.get("UUID") != record.uuid:
        return state, f"it answers with another UUID: {printable(identity.get('UUID'), 60)}"
    if is_half_started(replies, record):
        return state, f"a start that did not finish; kvmrun {name} begins again"
    if state == "prelaunch":
        return "paused", None
    if state == "io-error":
        return state, f"a drive could not be written; make room, then kvmrun resume {name}"
    if state in HALTED:
        return state, "; ".join(halted(name, state))
    return state, None
