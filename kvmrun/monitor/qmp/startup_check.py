"""The first words with a guest just started, still paused: is it ours, is it as asked, then let it run."""

from typing import Any

from kvmrun.errors import HostLacks, KvmrunError, Refused, Unresponsive
from kvmrun.model.guest.guest_state import qemu_state
from kvmrun.model.machine.machine_type import MachineType, pinned_machine
from kvmrun.model.printable import printable
from kvmrun.monitor.guest_socket import GuestSocket
from kvmrun.monitor.qmp.query_many import Reply, query

OLDEST = (7, 2)
LIMIT = 30.0
"""How long QEMU may take until it answers, in seconds: images on a slow disk, a machine under load."""


class QemuExited(KvmrunError):
    """QEMU ended before it answered."""


def verify_started(monitor: GuestSocket, *, uuid: str, accel: str, also: str = "", limit: float = LIMIT) -> Any:
    """Make sure that the guest of `monitor` is the one with `uuid`, on the accelerator asked for.

    Returns the answer to one more question, `also`, None where there is none.

    Raises QemuExited, Unresponsive; Refused for another guest or account; HostLacks for a QEMU that is too old, or that
    runs without KVM after all.
    """
    questions = ("query-status", "query-uuid", "query-kvm", *([also] if also else []))
    answer = query(monitor, *questions, limit=limit)
    _answered(answer, limit)
    if answer.version < OLDEST:
        found = ".".join(map(str, answer.version))
        raise HostLacks(
            f"QEMU {found} is too old", "install QEMU 7.2 or later", reason="its sandbox and JSON options are needed"
        )
    if (other := answer.field("query-uuid", "UUID")) != uuid:
        raise Refused("another guest answers", "kvmrun --list", reason=f"its UUID is {printable(other)}, not {uuid}")
    enabled = answer.field("query-kvm", "enabled")
    if enabled is not (accel == "kvm"):
        fix = 'check args in the definition, or choose accel = "tcg"'
        raise HostLacks(
            f"QEMU does not run on {accel}", fix, reason=f"query-kvm says enabled = {printable(enabled, 60)}"
        )
    return answer.replies.get(also)


def machine_version(answer: object, machine: MachineType) -> MachineType:
    """The version that QEMU takes `machine` for, by its answer to query-machines; `machine` where it does not say."""
    for one in answer if isinstance(answer, list) else []:
        if isinstance(one, dict) and one.get("alias") == machine:
            return pinned_machine(machine, f"{one.get('name')}")
    return machine


def resume(monitor: GuestSocket, *, limit: float = 5.0) -> str:
    """Let the guest run and return the state it is in then, by its QMP name.

    Raises: KvmrunError where QEMU refuses; what `verify_started` raises of a QEMU that does not answer.
    """
    answer = query(monitor, "cont", "query-status", limit=limit)
    _answered(answer, limit)
    if error := answer.errors.get("cont"):
        raise KvmrunError("QEMU would not run the guest", reason=printable(error))
    return qemu_state(answer.replies)


def _answered(answer: Reply, limit: float) -> None:
    if answer.silence == "gone":
        raise QemuExited("QEMU ended before it answered")
    if answer.silence == "stranger":
        raise Refused("another account answers on the monitor", "kvmrun --list")
    if answer.silence:
        raise Unresponsive(
            f"QEMU did not answer within {limit:g} s", "try again when the host is less busy", reason=answer.silence
        )
