"""Performs the steps of a guest's start that are about its machine, its firmware and its TPM."""

from kvmrun.errors import KvmrunError, host_reason
from kvmrun.host.firmware import machine_pin
from kvmrun.model.firmware.machine_type import MachineType
from kvmrun.plan.steps.firmware_steps import FirmwareStep, PinMachine


class FirmwareExecutor:
    """Does these steps of one guest."""

    def __init__(self) -> None:
        self.pin: PinMachine | None = None

    def __call__(self, step: FirmwareStep) -> None:
        self.pin = step  # once QEMU has told the version

    def write_pin(self, machine: MachineType) -> str:
        """Write down the version of the machine. The guest runs all the same: what is in the way is returned."""
        if self.pin is None or machine.has_versions():
            return ""
        try:
            machine_pin.write_pin(self.pin.path, machine)
        except (OSError, KvmrunError) as error:
            reason = host_reason(error) if isinstance(error, OSError) else f"{error}"
            return f"another QEMU may give it another machine than {machine}: {reason}"
        return ""
