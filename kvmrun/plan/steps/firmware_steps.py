"""What the start of a guest does for its machine, its firmware and its TPM."""

from kvmrun.model.firmware.machine_type import MachineType
from kvmrun.model.value import Value


class PinMachine(Value):
    """Write down at `path` which version of `machine` the guest has: the newest of this QEMU, which tells it."""

    path: str
    machine: MachineType

    def __str__(self) -> str:
        return f"write down which version of the machine {self.machine} it has, in {self.path}"


FirmwareStep = PinMachine
