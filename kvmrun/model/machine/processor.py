"""The processors of a guest, its memory and its clock, as QEMU is told of them."""

from collections.abc import Iterator
from typing import Literal

from kvmrun.model.guest.qemu_option import Option
from kvmrun.model.value import EMPTY, Value

BALLOON = "balloon0"
MOST = 255
"""Processors of a guest: more need an interrupt controller that the guest would have to know."""


class Topology(Value):
    """How the processors of a guest are spread; each number counts within the one before."""

    sockets: int = 1
    cores: int = 1
    threads: int = 1

    def count(self) -> int:
        return self.sockets * self.cores * self.threads

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """What is wrong with it, as (key, found, wanted)."""
        wrong = [name for name in self.FIELDS if not 1 <= getattr(self, name) <= MOST]
        for name in wrong:
            yield f"topology.{name}", f"{getattr(self, name)}", f"1 to {MOST}"
        if not wrong and self.count() > MOST:
            yield "topology", f"{self}", f"at most {MOST} processors"

    def __str__(self) -> str:
        return f"{self.sockets} * {self.cores} * {self.threads} = {self.count()}"


def problems(cpus: int, topology: Topology | None) -> Iterator[tuple[str, str, str]]:
    """What is wrong with the number of processors and how they are spread, as (key, found, wanted)."""
    if topology and (wrong := list(topology.problems())):
        yield from wrong
    elif not 1 <= cpus <= MOST:
        yield "cpus", f"{cpus}", f"1 to {MOST}"
    elif topology and topology.count() != cpus:
        wanted = f"sockets * cores * threads = {cpus}, the number in cpus; without cpus the product applies"
        yield "topology", f"{topology}", wanted


def cpu_model(cpu: str | None, accel: Literal["kvm", "tcg"]) -> str:
    """The CPU model asked of QEMU; `host` needs KVM, so under TCG it becomes `max`."""
    if accel == "tcg":
        return "max" if cpu in {None, "host"} else str(cpu)
    return cpu or "host"


def options(model: str, cpus: int, topology: Topology | None, memory: int) -> Iterator[Option]:
    """Without a topology QEMU makes one socket with that many cores, on all of our machines."""
    yield Option(flag="cpu", text=model)
    yield Option(flag="smp", text=f"{cpus}", props=topology.as_dict() if topology else EMPTY)
    yield Option(flag="m", text=f"size={memory // 1024}k")


def balloon_options(bus: str) -> Iterator[Option]:
    """A balloon that is never inflated: by it the guest reports the pages that it does not use."""
    props = {"driver": f"virtio-balloon-{bus}", "id": BALLOON, "free-page-reporting": True}
    yield Option(flag="device", props=props)


def clock_options(clock: Literal["utc", "local"]) -> Iterator[Option]:
    if clock == "local":
        yield Option(flag="rtc", text="base=localtime")
