"""The scope of a guest: where systemd runs, a unit of its own, which outlives the login and holds the limits."""

from collections.abc import Iterable

from kvmrun.errors import HostLacks
from kvmrun.model.guest.guest import Guest
from kvmrun.model.scalars import Size
from kvmrun.model.value import Value

_MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")


class EnterScope(Value):
    """Move QEMU and its logger into a transient scope. With limits the guest does not run until they hold."""

    guest: str
    unit: str
    memory: Size | None
    cpu: int | None

    def __str__(self) -> str:
        limits = [f"at most {self.memory}"] if self.memory else []
        limits += [f"{self.cpu} % of a core"] if self.cpu else []
        return f"move it into the scope {self.unit}" + (f", {' and '.join(limits)}" if limits else "")

    @property
    def limited(self) -> bool:
        return bool(self.memory or self.cpu)


def enter(guest: Guest, *, systemd: bool) -> EnterScope | None:
    """The step for `guest`, None where no systemd runs. Raises HostLacks for limits nobody would keep."""
    if systemd:
        unit = f"kvmrun-{guest.name}.scope"
        return EnterScope(guest=guest.name, unit=unit, memory=guest.limits.memory, cpu=guest.limits.cpu)
    if guest.limits.any():
        fix = f"take [limits] out of {guest.name}.toml, or start it where systemd runs"
        raise HostLacks(
            f"{guest.name} has limits, and nothing on this host enforces them", fix, reason="no systemd runs"
        )
    return None


def call(step: EnterScope, pids: Iterable[int]) -> list[str]:
    """The words of busctl after its own flags; org.freedesktop.systemd1(5) has the call and its properties.

    The scope ends after the unit that may have started the guest, so that at shutdown the guest is asked first.
    """
    numbers = [str(pid) for pid in pids]
    properties = [
        ["Description", "s", f"kvmrun: guest {step.guest}"],
        ["PIDs", "au", str(len(numbers)), *numbers],
        ["CollectMode", "s", "inactive-or-failed"],
        ["Before", "as", "1", f"kvmrun@{step.guest}.service"],
    ]
    if step.memory:
        properties += [["MemoryAccounting", "b", "true"], ["MemoryMax", "t", str(int(step.memory))]]
    if step.cpu:
        properties += [["CPUAccounting", "b", "true"], ["CPUQuotaPerSecUSec", "t", str(step.cpu * 10_000)]]
    words = [word for one in properties for word in one]
    return [
        "call",
        *_MANAGER,
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
        step.unit,
        "fail",
        str(len(properties)),
        *words,
        "0",
    ]
