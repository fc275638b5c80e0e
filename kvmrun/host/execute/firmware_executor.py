"""Performs the steps of a guest's start that are about its machine, its firmware and its TPM."""

from collections.abc import Callable
from typing import assert_never

from kvmrun.errors import KvmrunError, host_reason
from kvmrun.host.files import atomic_write
from kvmrun.host.firmware import machine_pin
from kvmrun.host.firmware.running_tpm import RunningTpm
from kvmrun.model.deadline import Deadline
from kvmrun.model.guest.qemu_option import Handle, Log
from kvmrun.model.machine.machine_type import MachineType
from kvmrun.plan.steps.firmware_steps import FirmwareStep, MakeVariables, PinMachine, StartTpm

Undo = Callable[[], None]


class FirmwareExecutor:
    """Does these steps of one guest. `table` gets what QEMU is to have; `output` makes the pipe of its log."""

    def __init__(
        self, deadline: Deadline, table: dict[Handle, list[int]], output: Callable[[Log], tuple[int, int]]
    ) -> None:
        self.pin: PinMachine | None = None
        self.tpm: RunningTpm | None = None
        self._table = table
        self._output = output
        self._deadline = deadline

    def __call__(self, step: FirmwareStep) -> Undo | None:
        match step:
            case PinMachine():
                self.pin = step  # once QEMU has told the version
            case MakeVariables():
                return self._make_variables(step)
            case StartTpm():
                return self._start_tpm(step)
            case _:
                assert_never(step)
        return None

    def _start_tpm(self, step: StartTpm) -> Undo:
        from kvmrun.host.firmware import tpm_start  # only for a guest with a TPM

        self.tpm = tpm_start.start_tpm(step, self._output(step.log), self._deadline)
        self._table[step.channel] = [self.tpm.channel]
        return self.tpm.end

    def end_tpm(self) -> None:
        """End the TPM of a QEMU that has ended."""
        if self.tpm:
            self.tpm.end()

    def close(self) -> None:
        """Leave the TPM to QEMU, with which it ends."""
        if self.tpm:
            self.tpm.close()

    def _make_variables(self, step: MakeVariables) -> Undo:
        from kvmrun.host.firmware import uefi_variables  # only at the first start

        uefi_variables.make_variables(step, self._deadline)
        return lambda: atomic_write.remove(step.path)

    def write_pin(self, machine: MachineType) -> str:
        """Write down the version of the machine. The guest runs all the same: what is in the way is returned."""
        if self.pin is None or machine.has_versions():
            return ""
        try:
            machine_pin.write_pin(self.pin.path, machine)
        except (OSError, KvmrunError) as error:
            reason = host_reason(error) if isinstance(error, OSError) else f"{error}"
            return f"its machine {machine} is not written down, and may be another one with a newer QEMU: {reason}"
        return ""
