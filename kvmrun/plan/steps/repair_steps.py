"""The steps of a repair, beside those of guests and networks."""

from kvmrun.model.value import Value
from kvmrun.plan.steps.guest_steps import WriteRecord
from kvmrun.plan.steps.network_steps import NetworkStep


class RemoveLeftovers(Value):
    """Remove what a guest that has ended left in its run directory, and the guard of its ports."""

    guest: str

    def __str__(self) -> str:
        return "remove what it left"


class KillHalfStarted(Value):
    """End a QEMU that never ran an instruction of its guest, because its start was cut short."""

    guest: str

    def __str__(self) -> str:
        return "end the QEMU that was never let run"


class RelinkMonitor(Value):
    """Another of its monitors also under the name of the first."""

    guest: str
    source: str

    def __str__(self) -> str:
        return f"reach it by its monitor {self.source}"


class ReissueLock(Value):
    guest: str

    def __str__(self) -> str:
        return "give it a new lock"


class ReloadGuard(Value):
    guest: str

    def __str__(self) -> str:
        return "guard its ports again"


class RestartLogger(Value):
    guest: str

    def __str__(self) -> str:
        return "give it a new logger"


GuestRepair = (
    RemoveLeftovers | KillHalfStarted | RelinkMonitor | ReissueLock | ReloadGuard | RestartLogger | WriteRecord
)
RepairStep = GuestRepair | NetworkStep
