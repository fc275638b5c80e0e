"""What the start of a guest does for its machine, its firmware and its TPM."""

from kvmrun.model.firmware.descriptor import Flash
from kvmrun.model.guest.qemu_option import Log, TpmSocket
from kvmrun.model.machine.machine_type import MachineType
from kvmrun.model.value import Value


class PinMachine(Value):
    """Write down at `path` which version of `machine` the guest has: the newest of this QEMU, which tells it."""

    path: str
    machine: MachineType

    def __str__(self) -> str:
        return f"write down which version of the machine {self.machine} it has, in {self.path}"


class MakeVariables(Value):
    """The UEFI variables of a guest, from the template of its firmware, for account `uid` (None: the caller)."""

    path: str
    template: Flash
    uid: int | None

    def __str__(self) -> str:
        return f"make UEFI variables {self.path} from {self.template.path}"


class StartTpm(Value):
    """The TPM of a guest, as account `uid` (None: the caller). It holds `lock`, keeps its state in `directory`, is
    reached by QEMU over `channel`, and its words go to `log`.
    """

    guest: str
    directory: str
    lock: str
    channel: TpmSocket
    log: Log
    uid: int | None

    def __str__(self) -> str:
        account = f", as uid {self.uid}" if self.uid is not None else ""
        return f"start its TPM, which keeps its state in {self.directory}{account}"


FirmwareStep = PinMachine | MakeVariables | StartTpm
