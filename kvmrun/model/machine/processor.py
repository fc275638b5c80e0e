"""The processors of a guest and its memory, as QEMU is told of them."""

from collections.abc import Iterator
from typing import Literal

from kvmrun.model.guest.qemu_argv import Option


def cpu_model(cpu: str | None, accel: Literal["kvm", "tcg"]) -> str:
    """The CPU model asked of QEMU; `host` needs KVM, so under TCG it becomes `max`."""
    if accel == "tcg":
        return "max" if cpu in {None, "host"} else str(cpu)
    return cpu or "host"


def options(model: str, cpus: int, memory: int) -> Iterator[Option]:
    yield Option(flag="cpu", text=model)
    yield Option(flag="smp", text=str(cpus))
    yield Option(flag="m", text=f"size={memory // 1024}k")
